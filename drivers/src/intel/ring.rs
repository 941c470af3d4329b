//! What both rings share: descriptors in memory, the slots beside them, and places in the ring.
//!
//! The card owns the descriptors from its head to the tail that it was told, which is why one is
//! always left over: a head that equals the tail means that there is nothing. A packet is lent
//! under the number of its (last) descriptor.

use pbufpool::{DmaAddr, DmaMemory, PacketQueue};

use super::descriptor::Descriptor;
use crate::ring::memory::{RingMemory, Shared};
use crate::ring::slots::Slots;

/// Lengths of rings are multiples of 128 bytes (SDM 13.4.27).
const STEP: u16 = 8;

/// Descriptors with the packets that are lent under them.
#[derive(Debug)]
pub struct DescriptorRing {
    memory: RingMemory,
    descriptors: Shared<Descriptor>,
    pub(super) slots: Slots<()>,
    size: u16,
}

impl DescriptorRing {
    /// A ring that holds at least `used` descriptors at a time. `None` if there is no memory for it.
    pub fn new(source: &'static dyn DmaMemory, used: u16) -> Option<Self> {
        let size = Self::size_for(used);
        let memory = RingMemory::new(source, Self::bytes_for(used))?;
        Some(Self {
            descriptors: memory.shared(0, size.into()),
            memory,
            slots: Slots::new(size),
            size,
        })
    }

    fn size_for(used: u16) -> u16 {
        (used + 1).next_multiple_of(STEP)
    }

    /// Bytes of memory that a ring for `used` descriptors takes.
    pub fn bytes_for(used: u16) -> usize {
        usize::from(Self::size_for(used)) * size_of::<Descriptor>()
    }

    /// Where the card finds it.
    pub fn address(&self) -> DmaAddr {
        self.memory.address(0)
    }

    /// Its length in bytes.
    pub fn bytes(&self) -> u32 {
        u32::from(self.size) * size_of::<Descriptor>() as u32
    }

    /// Descriptors in it.
    pub fn size(&self) -> u16 {
        self.size
    }

    /// The descriptor at `place`.
    #[inline(always)]
    pub fn at(&self, place: u16) -> &Descriptor {
        &self.descriptors.all()[usize::from(place)]
    }

    /// The place behind `place`.
    #[inline(always)]
    pub fn after(&self, place: u16) -> u16 {
        if place + 1 == self.size { 0 } else { place + 1 }
    }

    /// The place before `place`.
    #[inline(always)]
    pub fn before(&self, place: u16) -> u16 {
        if place == 0 { self.size - 1 } else { place - 1 }
    }

    /// Steps from `from` to `to`.
    #[inline(always)]
    pub fn steps(&self, from: u16, to: u16) -> u16 {
        if to >= from {
            to - from
        } else {
            to + self.size - from
        }
    }

    /// Takes back every packet and frees the memory.
    ///
    /// # Safety
    /// The card was reset after it was last told of the ring, or never was: it uses neither the
    /// ring nor the packets any more.
    #[allow(unsafe_code, reason = "takes packets back from a card that was reset")]
    pub unsafe fn reclaim(mut self, into: &mut PacketQueue) {
        // SAFETY: as the caller promises.
        unsafe {
            self.slots.take_all(into);
            self.memory.free();
        }
    }
}
