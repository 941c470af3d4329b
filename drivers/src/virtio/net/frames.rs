//! What makes completions a packet, and a packet a frame to send: every check of one frame.
#![forbid(unsafe_code)]

use pbufpool::{
    Buflet, BufletMut, Gather, GsoKind, Offload, Packet, PacketQueue, PartialChecksum, RxChecksum,
};

use super::header::{self, HEADER_LEN, MOST_FRAME};
use crate::net::DropReason;
use crate::virtio::Features;
use crate::virtio::queue::{Completion, Piece, Supply};

/// Ethernet header, and the shortest frame that says anything.
const ETHERNET: usize = 14;

/// What a frame may be.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rules {
    pub(super) features: Features,
    /// Largest layer-3 packet that is not cut into segments.
    pub(super) mtu: usize,
    /// Bytes of the device's header.
    pub(super) header_len: usize,
    /// Buffers that the transmit ring has room for.
    pub(super) tx_ring: u16,
}

/// The first buffer of a received frame; later all of them.
pub(super) struct FirstPart {
    /// Its bytes, without the device's header.
    pub(super) packet: Packet,
    header: [u8; HEADER_LEN],
    /// Buffers of the frame, this one included, by the device's account: any number.
    pub(super) parts: u16,
    /// Whether the device filled the buffer, as it has to if there are more.
    pub(super) full: bool,
}

/// A received frame.
pub(super) struct Whole {
    pub(super) packet: Packet,
    /// Its bytes.
    pub(super) len: usize,
    /// It was merged of segments.
    pub(super) merged: bool,
}

/// A frame to send, behind its header.
pub(super) struct Prepared {
    pub(super) packet: Packet,
    /// Its bytes, without the header.
    pub(super) len: usize,
    /// It is to be cut into segments.
    pub(super) cut: bool,
}

/// The packets of one buffer at the front of a queue, made ready to be sent.
pub(super) struct SingleFrames<'a> {
    from: &'a mut PacketQueue,
    rules: &'a Rules,
    /// Bytes of those that there were.
    pub(super) bytes: usize,
    /// The packet at which they end.
    pub(super) other: Option<Packet>,
}

impl<'a> SingleFrames<'a> {
    /// Those of `from`.
    pub(super) fn new(from: &'a mut PacketQueue, rules: &'a Rules) -> Self {
        Self {
            from,
            rules,
            bytes: 0,
            other: None,
        }
    }
}

impl Supply for SingleFrames<'_> {
    #[inline(always)]
    fn next(&mut self, _: usize) -> Option<(Packet, Option<Piece>)> {
        let mut packet = self.from.pop_front()?;
        let Some(piece) = self.rules.prepare_single(&mut packet) else {
            self.other = Some(packet);
            return None;
        };
        self.bytes += piece.len() - HEADER_LEN;
        Some((packet, Some(piece)))
    }
}

/// Adds the next buffer of a merged frame, or says why the frame is dropped. Each but the `last` has to
/// be full (5.1.6.4.1).
#[inline]
pub(super) fn add_part(
    frame: &mut Gather,
    completion: Completion,
    last: bool,
) -> Result<(), DropReason> {
    let Completion { mut packet, len } = completion;
    // The whole buffer was posted, from its first byte on.
    if packet.first().map(Buflet::len) != Some(len) {
        if len == 0 || !last {
            return Err(DropReason::RxBadMerge);
        }
        packet.set_span(0, len).map_err(|_| DropReason::RxTooLong)?;
    }
    let added = frame.push(packet);
    added.map_err(|_| DropReason::RxBadMerge) // a longer chain than the pool allows
}

impl Rules {
    /// Makes a frame of its only buffer, if its header is sound and says at most something of the
    /// checksum, as most do; returns its length. `None` leaves the packet as it was, for
    /// [`Rules::first_part`] to look at.
    #[inline(always)]
    pub(super) fn single_frame(&self, completion: &mut Completion) -> Option<usize> {
        let len = completion.len.checked_sub(self.header_len)?;
        let mut buflet = completion.packet.plain_mut()?;
        let header = buflet.data().first_chunk()?;
        if header::buffers(header, self.features) != 1 || len < ETHERNET {
            return None;
        }
        if !header::is_silent(header) {
            let header = *header;
            return self.noted_frame(&mut completion.packet, header, len);
        }
        buflet.set_span(self.header_len, len).ok()?;
        Some(len)
    }

    /// The same for a plain packet whose header says something of a frame of `len` bytes.
    #[inline(never)]
    fn noted_frame(
        &self,
        packet: &mut Packet,
        header: [u8; HEADER_LEN],
        len: usize,
    ) -> Option<usize> {
        if header::names_segments(&header) {
            return None;
        }
        let checksum = header::checksum(&header, len, self.features).ok()?;
        packet.set_span(self.header_len, len).ok()?;
        if checksum != RxChecksum::Unverified {
            packet.offload_mut().rx_checksum = checksum;
        }
        Some(len)
    }

    /// Reads the header in the first buffer of a frame, or says why the buffer is dropped.
    #[inline(always)]
    pub(super) fn first_part(&self, completion: Completion) -> Result<FirstPart, DropReason> {
        let Completion { mut packet, len } = completion;
        let posted = packet.len();
        let data = len.checked_sub(self.header_len);
        let data = data.ok_or(DropReason::RxBadHeader)?;
        // With a shorter header, what is behind it comes along and is not looked at.
        let header = packet.data().first_chunk().copied();
        let header = header.ok_or(DropReason::RxBadHeader)?;
        packet
            .set_span(self.header_len, data)
            .map_err(|_| DropReason::RxTooLong)?;
        Ok(FirstPart {
            packet,
            parts: header::buffers(&header, self.features),
            header,
            full: len == posted,
        })
    }

    /// Makes a packet of a frame whose parts are all there, or says why it is dropped.
    #[inline(always)]
    pub(super) fn whole(&self, first: FirstPart) -> Result<Whole, DropReason> {
        let FirstPart {
            mut packet, header, ..
        } = first;
        let len = packet.len();
        if len < ETHERNET {
            return Err(DropReason::RxRunt);
        }
        let (checksum, gso) = header::parse(&header, len, self.features)?;
        if checksum != RxChecksum::Unverified || gso.is_some() {
            let offload = packet.offload_mut();
            offload.rx_checksum = checksum;
            offload.gso = gso;
        }
        let merged = gso.is_some();
        Ok(Whole {
            packet,
            len,
            merged,
        })
    }

    /// Puts the header in front of a packet of one buffer that asks for its checksum at most, as most
    /// do. `None` leaves the packet as it was, for [`Rules::prepare`].
    #[inline(always)]
    fn prepare_single(&self, packet: &mut Packet) -> Option<Piece> {
        match packet.plain_mut() {
            Some(buflet) => self.put_header(buflet, header::PLAIN),
            None => self.prepare_noted(packet),
        }
    }

    /// The same for a packet of which something is noted. Apart, so that the plain ones do not pay for it.
    #[inline(never)]
    fn prepare_noted(&self, packet: &mut Packet) -> Option<Piece> {
        let Offload {
            tx_checksum, gso, ..
        } = *packet.offload();
        let buflet = packet.single_mut()?;
        if gso.is_some() || !self.can_sum(tx_checksum, buflet.len()) {
            return None;
        }
        self.put_header(buflet, header::asking_for(tx_checksum))
    }

    /// Puts `header` in front of a frame, if both fit; returns the two as one piece.
    #[inline(always)]
    fn put_header(&self, mut buflet: BufletMut<'_>, header: [u8; HEADER_LEN]) -> Option<Piece> {
        let len = buflet.len();
        let fits = len >= ETHERNET && len <= self.mtu + ETHERNET;
        if !fits || self.header_len != HEADER_LEN {
            return None;
        }
        let room = buflet.push_front(HEADER_LEN).ok()?;
        // What is right already is left alone: the device keeps the cache line.
        if *room != header {
            room.copy_from_slice(&header);
        }
        Some(Piece::to_read(&buflet))
    }

    /// Puts the header in front of a frame, or says why it cannot be sent.
    #[inline(never)]
    pub(super) fn prepare(&self, mut packet: Packet) -> Result<Prepared, DropReason> {
        let len = packet.len();
        let offload = packet.offload();
        let plain = offload.tx_checksum.is_none() && offload.gso.is_none();
        let cut = offload.gso.is_some();
        let longest = if cut { MOST_FRAME } else { self.mtu + ETHERNET };
        if !(ETHERNET..=longest).contains(&len) {
            return Err(DropReason::TxBadLength);
        }
        if packet.buflet_count() > usize::from(self.tx_ring) {
            return Err(DropReason::TxTooManyBuflets);
        }
        let header = if plain {
            header::PLAIN
        } else if self.can_offload(&packet) {
            header::build(packet.offload())
        } else {
            return Err(DropReason::TxBadOffload);
        };
        let Ok(room) = packet.push_front(self.header_len) else {
            return Err(DropReason::TxNoHeadroom);
        };
        room.copy_from_slice(&header[..self.header_len]);
        Ok(Prepared { packet, len, cut })
    }

    /// Whether the device computes such a checksum of a frame of `len` bytes.
    #[inline(always)]
    fn can_sum(&self, checksum: Option<PartialChecksum>, len: usize) -> bool {
        checksum.is_none_or(|PartialChecksum { start, offset }| {
            let end = usize::from(start) + usize::from(offset) + 2;
            self.features.contains(Features::CSUM) && end <= len
        })
    }

    fn can_offload(&self, packet: &Packet) -> bool {
        let offload = packet.offload();
        let checksum = self.can_sum(offload.tx_checksum, packet.len());
        let segments = offload.gso.is_none_or(|gso| {
            let needed = match gso.kind {
                GsoKind::TcpV4 => Features::HOST_TSO4,
                GsoKind::TcpV6 => Features::HOST_TSO6,
                GsoKind::Udp => return false,
            };
            // Each segment has its checksum from the device (5.1.6.2.1).
            self.features.contains(needed)
                && offload.tx_checksum.is_some()
                && gso.mss > 0
                && usize::from(gso.header_len) < packet.len()
        });
        checksum && segments
    }
}
