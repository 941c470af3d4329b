//! A packet as one 64-bit word, for rings and tables: address, kind in bits 0-1, layer in bits
//! 2-3. The word owns nothing: who turns a packet into one answers for turning it back.

use super::Packet;
use super::meta::Meta;
use crate::config::{Layer, PacketKind};
use core::num::NonZeroU64;
use core::ptr::NonNull;

/// The packed form.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PacketHandle(NonZeroU64);

const KIND: u64 = 0b11;
const LAYER: u64 = 0b11 << 2;

impl PacketHandle {
    /// Reads a word; `None` if it is no handle.
    pub fn from_u64(word: u64) -> Option<Self> {
        let valid = matches!(word & KIND, 1 | 2) && matches!((word & LAYER) >> 2, 1 | 2);
        let address = word & !(KIND | LAYER);
        let aligned = address.is_multiple_of(align_of::<Meta>() as u64);
        NonZeroU64::new(word)
            .filter(|_| valid && aligned && address != 0)
            .map(Self)
    }

    /// The word.
    pub fn as_u64(self) -> u64 {
        self.0.get()
    }

    /// What it stands for.
    pub fn kind(self) -> PacketKind {
        if self.as_u64() & KIND == 1 {
            PacketKind::Quantum
        } else {
            PacketKind::Packet
        }
    }

    /// Where its data starts.
    pub fn layer(self) -> Layer {
        if (self.as_u64() & LAYER) >> 2 == 1 {
            Layer::Payload
        } else {
            Layer::Raw
        }
    }

    /// The address alone: its low four bits are 0.
    pub fn untagged(self) -> u64 {
        self.as_u64() & !(KIND | LAYER)
    }

    /// The packet again.
    ///
    /// # Safety
    /// The handle came from [`Packet::into_handle`] and is turned back once.
    pub unsafe fn into_packet(self) -> Packet {
        let meta = core::ptr::with_exposed_provenance_mut::<Meta>(self.untagged() as usize);
        // SAFETY: as the caller promises, this is the metadata of an owned packet.
        unsafe { Packet::from_meta(NonNull::new_unchecked(meta)) }
    }
}

impl Packet {
    /// Gives up the packet for its packed form.
    pub fn into_handle(self) -> PacketHandle {
        let config = &self.meta().inner().config;
        let kind = match config.kind {
            PacketKind::Quantum => 1,
            PacketKind::Packet => 2,
        };
        let layer = match config.layer {
            Layer::Payload => 1 << 2,
            Layer::Raw => 2 << 2,
        };
        let address = self.into_meta().as_ptr().expose_provenance() as u64;
        PacketHandle(NonZeroU64::new(address | kind | layer).unwrap_or(NonZeroU64::MIN))
    }
}
