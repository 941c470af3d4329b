//! What smoltcp does not say of itself, noticed in the frames that it sends: whether it asked for a
//! neighbour, left a socket's data unsent, and how it addressed somebody.
//!
//! [`Link::send`] shows each frame; whoever called smoltcp asks afterwards. A note is gone once it was
//! taken (but the length, which the next frame replaces).
#![forbid(unsafe_code)]

use smoltcp::wire::{IpAddress, Ipv4Address};

use super::Link;
use crate::net::udp::{Ethernet, header_to};

/// The notes.
#[derive(Default)]
pub(super) struct Notes {
    /// A neighbour's hardware address was asked for since this was last taken.
    asked: bool,
    /// Transmit tokens that sockets took and did not use since this was last taken.
    unused: u32,
    /// Bytes of the frame that smoltcp wrote last.
    last_length: usize,
    /// Whose frames are looked for.
    watched: Option<Watch>,
}

/// Whom frames are looked for to, and the header of the last one.
struct Watch {
    address: Ipv4Address,
    header: Option<Ethernet>,
}

impl Notes {
    /// A token is used, for a frame of `len` bytes.
    #[inline(always)]
    pub(super) fn sent(&mut self, len: usize) {
        self.unused = self.unused.saturating_sub(1);
        self.last_length = len;
    }

    /// Looks at the frame that was written.
    #[inline(always)]
    pub(super) fn written(&mut self, frame: &[u8]) {
        self.asked |= asks_for_neighbour(frame);
        if let Some(Watch { address, header }) = &mut self.watched {
            *header = header_to(frame, *address).or(*header);
        }
    }
}

impl Link {
    /// Whether a neighbour was asked for since the last call.
    pub(in crate::net) fn take_asked(&mut self) -> bool {
        core::mem::take(&mut self.notes.asked)
    }

    /// Notes that a socket took a token; [`send`](Self::send) takes the note back.
    pub(in crate::net) fn note_taken(&mut self) {
        self.notes.unused += 1;
    }

    /// Whether a socket wanted to send since the last call, but left its token unused: the next
    /// hop's address is not known, and smoltcp may not ask for it yet.
    pub(in crate::net) fn take_unused(&mut self) -> bool {
        core::mem::take(&mut self.notes.unused) > 0
    }

    /// Bytes of the frame that smoltcp wrote last, headers included.
    pub(in crate::net) fn last_length(&self) -> usize {
        self.notes.last_length
    }

    /// Remembers with which Ethernet header the next frames to `address` are sent.
    pub(in crate::net) fn watch(&mut self, address: IpAddress) {
        self.notes.watched = match address {
            IpAddress::Ipv4(address) => Some(Watch {
                address,
                header: None,
            }),
            IpAddress::Ipv6(_) => None,
        };
    }

    /// The last one of those, if there was any; no more are remembered.
    pub(in crate::net) fn take_watched(&mut self) -> Option<Ethernet> {
        self.notes.watched.take()?.header
    }
}

/// Whether a frame asks for a hardware address: an ARP request or a neighbour solicitation.
fn asks_for_neighbour(frame: &[u8]) -> bool {
    match frame.get(12..14) {
        Some([0x08, 0x06]) => frame.get(21) == Some(&1),
        Some([0x86, 0xdd]) => frame.get(20) == Some(&58) && frame.get(54) == Some(&135),
        _ => false,
    }
}
