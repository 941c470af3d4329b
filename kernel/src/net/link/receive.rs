//! The way in: frames of the burst in hand, given out one at a time as one slice each.
//!
//! Called by the turn and the dispatch. What was read is kept, and goes back to the pool in one run when
//! the turn ends.
#![forbid(unsafe_code)]

use pbufpool::Packet;

use super::Link;
use crate::net::counters::{Counters, Refusal};

impl Link {
    /// The next received packet, as one contiguous slice.
    ///
    /// A chain whose parts do not lie back to back is copied into one buffer, and counted:
    /// smoltcp reads nothing but slices. Without memory for the copy the packet is dropped, and
    /// the next one is tried.
    pub fn next(&mut self, counters: &mut Counters) -> Option<Packet> {
        loop {
            let packet = self.received.pop_front()?;
            if packet.buflet_count() <= 1 || packet.contiguous().is_some() {
                return Some(packet);
            }
            match self.pools.linearise(packet) {
                Ok(packet) => {
                    counters.copies_rx += 1;
                    return Some(packet);
                }
                Err(_) => counters.refuse(Refusal::NoRoom),
            }
        }
    }

    /// Puts a packet back that could not be dealt with now; it is the next one again.
    pub fn put_back(&mut self, packet: Packet) {
        self.received.push_front(packet);
    }

    /// Takes a packet that has been read.
    #[inline(always)]
    pub(in crate::net) fn spend(&mut self, packet: Packet) {
        self.spent.push_back(packet);
    }

    /// Whether received packets are still in hand.
    pub fn has_received(&self) -> bool {
        !self.received.is_empty()
    }
}

/// The frame that a packet from [`Link::next`] holds; that is contiguous.
#[inline(always)]
pub(in crate::net) fn slice(packet: &Packet) -> &[u8] {
    if packet.buflet_count() <= 1 {
        packet.data()
    } else {
        slice_of_many(packet)
    }
}

#[inline(never)]
fn slice_of_many(packet: &Packet) -> &[u8] {
    packet.contiguous().unwrap_or(packet.data())
}
