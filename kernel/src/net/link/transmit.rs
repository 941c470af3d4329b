//! The way out: a slot and a packet are set aside, a frame is written into the packet, and bursts go to
//! the NIC.
//!
//! Called by [`device`](crate::net::device) for smoltcp, and for the replies that go past it. A frame is
//! written only after [`Link::reserve`] or [`Link::reserve_reply`] said that it can be sent.
#![forbid(unsafe_code)]

use alloc::vec::Vec;
use core::num::NonZeroU16;

use drivers::net::QueueId;
use pbufpool::Packet;

use super::{Link, SPARES};
use crate::net::counters::Counters;
use crate::net::offload;
use crate::net::spread::pair_of;

/// Frames handed to the NIC at once when more are written in one turn.
const TX_BATCH: usize = 64;

impl Link {
    /// Makes sure that a frame of any length can be sent; says whether one can.
    pub(in crate::net) fn reserve(&mut self) -> bool {
        if let Some(large) = &self.pools.large
            && self.large_spare.is_none()
        {
            self.large_spare = large.alloc().ok();
            self.stalled |= self.large_spare.is_none();
        }
        let any = self.large_spare.is_some() || self.pools.large.is_none();
        any && self.reserve_reply()
    }

    /// Makes sure that a frame up to the MTU can be sent, which a reply always is; says whether
    /// one can.
    pub(in crate::net) fn reserve_reply(&mut self) -> bool {
        if self.tx_room == 0 {
            self.stalled = true;
            return false;
        }
        if self.spares.is_empty() {
            self.fetch_spares();
        }
        !self.spares.is_empty()
    }

    /// Takes packets for the next frames from the pool, no more than there are slots.
    #[inline(never)]
    fn fetch_spares(&mut self) {
        let wanted = self.tx_room.min(SPARES);
        let fetched = self.pools.tx.alloc_vec(wanted, &mut self.spares);
        // What has been read may be of the same pool.
        if fetched.count == 0 && self.spent.clear() > 0 {
            let _ = self.pools.tx.alloc_vec(wanted, &mut self.spares);
        }
        self.stalled |= self.spares.is_empty();
    }

    /// Takes the packet that [`reserve_reply`](Self::reserve_reply) set aside, for a frame of at most
    /// the MTU behind [`headroom`](Self::headroom) bytes.
    pub(in crate::net) fn take_spare(&mut self) -> Option<Packet> {
        self.spares.pop()
    }

    /// Puts it back: nothing was written.
    pub(in crate::net) fn put_spare(&mut self, packet: Packet) {
        self.spares.push(packet);
    }

    /// Bytes in front of a frame.
    pub(in crate::net) fn headroom(&self) -> usize {
        self.headroom
    }

    /// Sends a frame of `len` bytes, written by `write` where the NIC will read it, to be cut into
    /// segments of `segment` bytes of payload, if so. To be called after [`reserve`](Self::reserve).
    pub(in crate::net) fn send<R>(
        &mut self,
        counters: &mut Counters,
        len: usize,
        segment: Option<NonZeroU16>,
        write: impl FnOnce(&mut [u8]) -> R,
    ) -> R {
        self.notes.sent(len);
        // `reserve` put one there.
        let mut packet = match segment {
            Some(_) => self.large_spare.take(),
            None => self.spares.pop(),
        };
        let place = packet.as_mut().and_then(|packet| {
            packet.set_span(self.headroom, len).ok()?;
            packet.data_mut()
        });
        let (mut nowhere, fits) = (Vec::new(), place.is_some());
        let frame = match place {
            Some(place) => place,
            None => discard(counters, len, &mut nowhere),
        };
        let result = write(frame);
        if fits {
            self.notes.written(frame);
        }
        if let Some(mut packet) = packet.filter(|_| fits) {
            offload::complete(&mut packet, &self.capabilities, segment);
            self.send_packet(packet, counters);
        }
        result
    }

    /// Sends a frame for which a slot was set aside, and of which the NIC has been asked all that it
    /// is to do.
    pub(in crate::net) fn send_packet(&mut self, packet: Packet, counters: &mut Counters) {
        let pair = pair_of(packet.data(), self.to_send.len());
        counters.tx_frames += 1;
        self.tx_room -= 1;
        self.to_send[pair].push_back(packet);
        self.written += 1;
        if self.written >= TX_BATCH {
            self.hand_over();
        }
    }

    /// Gives the NIC what was written, as far as it has room.
    #[inline(never)]
    pub(super) fn hand_over(&mut self) {
        if self.written == 0 {
            return;
        }
        let mut taken = 0;
        for (queue, waiting) in self.to_send.iter_mut().enumerate() {
            if !waiting.is_empty() {
                taken += self.nic.tx_burst(QueueId(queue as u16), waiting);
            }
        }
        self.written -= taken;
        self.handed += taken;
    }
}

/// A frame longer than a buffer: smoltcp keeps to the MTU, so only a `pool.buffer` too small for
/// it gets here. It is written into memory that nobody reads, and counted. (One place writes frames,
/// whichever way they go: the writer is all of smoltcp's that emits them, and long.)
#[cold]
#[inline(never)]
fn discard<'a>(counters: &mut Counters, len: usize, nowhere: &'a mut Vec<u8>) -> &'a mut [u8] {
    counters.tx_oversize += 1;
    nowhere.resize(len, 0);
    nowhere
}
