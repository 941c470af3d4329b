//! What lies in the rings: sixteen bytes, which the driver fills in and the card writes back.
//!
//! A descriptor is two 64-bit words. The upper one is all that has to be read: in each format it
//! has the bit that says "done", and everything that counts. Nothing is read but through
//! [`written_back`] and [`is_done`].
#![deny(unsafe_code)]

use core::sync::atomic::AtomicU64;
use core::sync::atomic::Ordering::Relaxed;

use bitflags::bitflags;

use crate::ring::barrier;
use crate::ring::memory::DeviceVisible;

/// One descriptor.
#[repr(C)]
#[derive(Debug)]
pub struct Descriptor {
    /// A buffer's address; the fields of a context.
    pub low: AtomicU64,
    /// Commands and, afterwards, status.
    pub high: AtomicU64,
}

const _: () = assert!(size_of::<Descriptor>() == 16);

#[allow(unsafe_code, reason = "a struct of atomics")]
mod visible {
    use super::{Descriptor, DeviceVisible};
    // SAFETY: all fields are atomics.
    unsafe impl DeviceVisible for Descriptor {}
}

impl Descriptor {
    /// Writes both words; the upper one clears what the card said about the last use.
    #[inline(always)]
    pub fn write(&self, low: u64, high: u64) {
        self.low.store(low, Relaxed);
        self.high.store(high, Relaxed);
    }
}

/// How received frames are described.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RxFormat {
    /// SDM 3.2.3: length, checksum, status, errors, tag.
    Legacy,
    /// 82574 7.1.5: status and errors, length, tag.
    Extended,
}

bitflags! {
    /// What the card says of a received frame: status in bits 0 to 7, errors in bits 24 to 31. The
    /// bits are the same in both formats.
    #[derive(Clone, Copy, PartialEq, Eq, Debug)]
    pub struct RxStatus: u32 {
        /// The descriptor is done.
        const DD = 1;
        /// The frame ends here.
        const EOP = 1 << 1;
        /// Nothing is said of checksums.
        const IXSM = 1 << 2;
        /// The frame had a VLAN tag. It is not in the buffer, if the card was told to take it off.
        const VP = 1 << 3;
        /// The UDP checksum was looked at.
        const UDPCS = 1 << 4;
        /// The TCP (or UDP) checksum was looked at.
        const TCPCS = 1 << 5;
        /// The checksum of the IPv4 header was looked at.
        const IPCS = 1 << 6;
        /// Bad frame check sequence, or bad alignment.
        const CE = 1 << 24;
        /// Bad symbol.
        const SE = 1 << 25;
        /// Bad sequence.
        const SEQ = 1 << 26;
        /// Bad carrier extension.
        const CXE = 1 << 28;
        /// The TCP or UDP checksum is wrong.
        const TCPE = 1 << 29;
        /// The checksum of the IPv4 header is wrong.
        const IPE = 1 << 30;
        /// Bad data.
        const RXE = 1 << 31;
    }
}

impl RxStatus {
    /// The frame is damaged.
    pub const DAMAGED: Self = Self::CE
        .union(Self::SE)
        .union(Self::SEQ)
        .union(Self::CXE)
        .union(Self::RXE);

    /// Whether the card has checked the transport checksum and found it right.
    pub fn is_verified(self) -> bool {
        let looked = self.intersects(Self::TCPCS.union(Self::UDPCS));
        looked && !self.intersects(Self::IXSM.union(Self::TCPE).union(Self::IPE))
    }
}

/// What the card wrote into a receive descriptor: any bits.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct WrittenBack {
    /// Status and errors.
    pub status: RxStatus,
    /// Bytes in the buffer, by the card's account.
    pub len: u16,
    /// The VLAN tag, if [`RxStatus::VP`] says that there was one.
    pub tag: u16,
}

impl RxFormat {
    /// What the card said of a descriptor; `None` while it is the card's.
    #[inline]
    pub fn written_back(self, descriptor: &Descriptor) -> Option<WrittenBack> {
        let done = match self {
            Self::Legacy => 1 << 32,
            Self::Extended => 1,
        };
        if descriptor.high.load(Relaxed) & done == 0 {
            return None;
        }
        // The bit comes last, or with all else: only what is read after it counts.
        barrier::observe();
        let high = descriptor.high.load(Relaxed);
        Some(match self {
            Self::Legacy => WrittenBack {
                status: RxStatus::from_bits_retain(
                    (high >> 32) as u32 & 0xff | ((high >> 40) as u32) << 24,
                ),
                len: high as u16,
                tag: (high >> 48) as u16,
            },
            Self::Extended => WrittenBack {
                status: RxStatus::from_bits_retain(high as u32),
                len: (high >> 32) as u16,
                tag: (high >> 48) as u16,
            },
        })
    }
}

bitflags! {
    /// The upper word of a transmit descriptor, data or context. Its numbers are not among the flags.
    /// The igb family has other flags for the checksums of a context and for segments
    /// ([`Advanced`](super::offload::advanced::Advanced)).
    #[derive(Clone, Copy, PartialEq, Eq, Debug)]
    pub struct Tx: u64 {
        /// Extended type: data. Without it, a context.
        const DATA = 1 << 20;
        /// The frame ends here.
        const EOP = 1 << 24;
        /// Context: TCP.
        const TCP = 1 << 24;
        /// Append the frame check sequence.
        const IFCS = 1 << 25;
        /// Context: IPv4.
        const IPV4 = 1 << 25;
        /// Cut into segments.
        const TSE = 1 << 26;
        /// Write back when done.
        const RS = 1 << 27;
        /// An extended descriptor.
        const DEXT = 1 << 29;
        /// Insert a VLAN tag.
        const VLE = 1 << 30;
        /// Done.
        const DD = 1 << 32;
        /// Insert the checksum of the IPv4 header.
        const IXSM = 1 << 40;
        /// Insert the TCP or UDP checksum.
        const TXSM = 1 << 41;
    }
}

/// Most bytes of one transmit descriptor. All cards take more, but of none do common drivers ask it.
pub const MOST_PIECE: usize = 4096;

/// Whether the card is done with a transmit descriptor that asked for it to be said.
#[inline]
pub fn is_done(descriptor: &Descriptor) -> bool {
    let done = descriptor.high.load(Relaxed) & Tx::DD.bits() != 0;
    barrier::observe();
    done
}
