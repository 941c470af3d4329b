//! What a frame to send asks of a card of the igb family (82576 7.2.2, I210 7.2.2).
//!
//! [`request`](super::request) has checked the frame and prepared its headers. These cards have
//! contexts by number, two for each queue: one is kept for checksums and one for segments, so that
//! they do not push each other out. What differs from frame to frame is in the data descriptors.
#![forbid(unsafe_code)]

use bitflags::bitflags;

use super::{Context, Request, TCP_CHECKSUM};
use crate::intel::ETHERNET;
use crate::intel::descriptor::Tx;
use crate::net::VlanId;

/// Offset of the checksum field in a UDP header.
const UDP_CHECKSUM: u16 = 6;
/// Numbers of the contexts.
const SUMS: u8 = 0;
const SEGMENTS: u8 = 1;

bitflags! {
    /// The upper word of an advanced transmit descriptor, data or context, where it differs from
    /// those of the other families. Its numbers are not among the flags.
    #[derive(Clone, Copy, PartialEq, Eq, Debug)]
    pub struct Advanced: u64 {
        /// Context: IPv4.
        const IPV4 = 1 << 10;
        /// Context: TCP; without it, UDP.
        const TCP = 1 << 11;
        /// Type: context.
        const CONTEXT = 0b0010 << 20;
        /// Type: data.
        const DATA = 0b0011 << 20;
        /// Data: cut into segments.
        const TSE = 1 << 31;
    }
}

/// Where numbers begin in the words of a descriptor.
const LOW_MAC_LEN: u32 = 9;
const LOW_TAG: u32 = 16;
const HIGH_INDEX: u32 = 36;
const HIGH_TCP_LEN: u32 = 40;
const HIGH_PAYLOAD: u32 = 46;
const HIGH_MSS: u32 = 48;

/// The commands of a data descriptor. `payload` are the bytes of all segments, or of the frame.
fn command(payload: usize, more: u64) -> u64 {
    let always = Advanced::DATA.bits() | (Tx::DEXT | Tx::IFCS).bits();
    always | more | (payload as u64) << HIGH_PAYLOAD
}

fn context(start: u64, index: u8, more: u64) -> Context {
    let ethernet = ETHERNET as u64;
    let ip = start - ethernet;
    Context {
        place: index,
        low: ip | ethernet << LOW_MAC_LEN,
        high: Advanced::CONTEXT.bits() | Tx::DEXT.bits() | u64::from(index) << HIGH_INDEX | more,
    }
}

/// A frame of `len` bytes that asks for nothing.
#[inline]
pub(super) fn plain(len: usize) -> Request {
    Request {
        context: None,
        command: command(len, 0),
        segments: false,
    }
}

/// A frame of `len` bytes with a checksum from `start` on, `offset` bytes into the header there.
/// `None` if it is of no protocol that the card knows.
#[inline]
pub(super) fn checksum(start: u64, offset: u16, len: usize) -> Option<Request> {
    let protocol = match offset {
        TCP_CHECKSUM => Advanced::TCP,
        UDP_CHECKSUM => Advanced::empty(),
        _ => return None,
    };
    let index = u64::from(SUMS) << HIGH_INDEX;
    Some(Request {
        context: Some(context(start, SUMS, protocol.bits())),
        command: command(len, Tx::TXSM.bits() | index),
        segments: false,
    })
}

/// A frame of `len` bytes to be cut behind its first `headers` bytes; its TCP header is at `start`.
#[inline]
pub(super) fn segments(v4: bool, start: u64, headers: u64, mss: u16, len: usize) -> Request {
    let (kind, insert) = if v4 {
        (Advanced::TCP | Advanced::IPV4, Tx::TXSM | Tx::IXSM)
    } else {
        (Advanced::TCP, Tx::TXSM)
    };
    let lengths = (headers - start) << HIGH_TCP_LEN | u64::from(mss) << HIGH_MSS;
    let index = u64::from(SEGMENTS) << HIGH_INDEX;
    let more = Advanced::TSE.bits() | insert.bits() | index;
    Request {
        context: Some(context(start, SEGMENTS, kind.bits() | lengths)),
        command: command(len - headers as usize, more),
        segments: true,
    }
}

/// The same frame, tagged: the tag is in the context, which a frame without any other wish then needs.
#[inline]
pub(super) fn tagged(request: Request, vlan: VlanId) -> Request {
    let ethernet = ETHERNET as u64;
    let mut told = request.context.unwrap_or(context(ethernet, SUMS, 0));
    told.low |= u64::from(vlan.get()) << LOW_TAG;
    Request {
        context: Some(told),
        command: request.command | Tx::VLE.bits(),
        ..request
    }
}
