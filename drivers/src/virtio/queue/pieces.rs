//! How a packet is cut into descriptors: one for each buflet that has data, and two for the one in
//! which the part that the device reads ends and the part that it may write begins. Where the header
//! needs a descriptor of its own, there is a cut behind it as well.
#![forbid(unsafe_code)]

use pbufpool::{Buflet, Packet};

use super::layout::WRITE;

/// What one descriptor says of a buffer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Piece {
    pub(super) address: u64,
    /// Bytes; never 0, since devices take that for a broken driver.
    pub(super) len: u32,
    /// The device may write, and shall not read.
    pub(super) writable: bool,
}

impl Piece {
    /// All data of `buflet`, the only one of its packet, if it is one piece: the device reads the first
    /// `readable` bytes.
    #[inline(always)]
    pub(in crate::virtio) fn whole(buflet: &Buflet, readable: usize) -> Option<Self> {
        let len = buflet.len();
        let whole = len > 0 && (readable == 0 || readable >= len);
        whole.then(|| Self::of(buflet, readable == 0))
    }

    /// All data of `buflet`, the only one of its packet, of which the device only reads; not empty.
    #[inline(always)]
    pub(in crate::virtio) fn to_read(buflet: &Buflet) -> Self {
        debug_assert!(!buflet.is_empty(), "a descriptor of no bytes");
        Self::of(buflet, false)
    }

    #[inline(always)]
    fn of(buflet: &Buflet, writable: bool) -> Self {
        Self {
            address: buflet.dma_addr().as_u64(),
            len: buflet.len() as u32,
            writable,
        }
    }

    /// Bytes.
    #[inline(always)]
    pub(in crate::virtio) fn len(self) -> usize {
        self.len as usize
    }

    /// The flags of its descriptor.
    #[inline(always)]
    pub(super) fn flags(self) -> u16 {
        if self.writable { WRITE } else { 0 }
    }

    /// Bytes that the device may write.
    #[inline(always)]
    pub(super) fn writable_bytes(self) -> u32 {
        if self.writable { self.len } else { 0 }
    }
}

/// The pieces of `packet`, whose first `readable` bytes are for the device to read. No piece has
/// bytes on both sides of `header`.
pub(super) fn pieces(
    packet: &Packet,
    readable: usize,
    header: usize,
) -> impl Iterator<Item = Piece> {
    let mut before = 0;
    packet
        .buflets()
        .flat_map(move |buflet| {
            let len = buflet.len();
            let inside = |cut: usize| cut.saturating_sub(before).min(len);
            let writable_from = inside(readable);
            let (first, second) = (inside(readable.min(header)), inside(readable.max(header)));
            before += len;
            let piece = |from: usize, to: usize| Piece {
                address: buflet.dma_addr().add(from).as_u64(),
                len: (to - from) as u32,
                writable: from >= writable_from,
            };
            [piece(0, first), piece(first, second), piece(second, len)]
        })
        .filter(|piece| piece.len > 0)
}

/// The packet as one piece, if that is what it is: the way of nearly all of them.
#[inline(always)]
pub(super) fn only_piece(packet: &Packet, readable: usize) -> Option<Piece> {
    let first = packet.first().filter(|_| packet.buflet_count() == 1)?;
    Piece::whole(first, readable)
}

/// Bytes of `packet` behind the first `readable`: what the device may write.
pub(super) fn writable_bytes(packet: &Packet, readable: usize) -> u32 {
    packet.len().saturating_sub(readable) as u32
}
