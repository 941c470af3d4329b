//! The split virtqueue in memory (virtio 1.2, 2.7).
//!
//! One block: descriptor table, available ring, used ring, each aligned as the specification
//! asks. All of it is atomics; nothing in it is believed.
#![deny(unsafe_code)]

use core::sync::atomic::{AtomicU16, AtomicU32, AtomicU64};

use pbufpool::DmaMemory;

use crate::ring::memory::{DeviceVisible, RingMemory, Shared};
use crate::virtio::transport::QueueAddresses;

/// A descriptor (2.7.5). Written by the driver only, and never read back.
#[repr(C)]
#[derive(Debug)]
pub(super) struct Descriptor {
    pub(super) address: AtomicU64,
    pub(super) len: AtomicU32,
    pub(super) flags: AtomicU16,
    pub(super) next: AtomicU16,
}

const _: () = assert!(size_of::<Descriptor>() == 16);

/// The chain goes on at `next`.
pub(super) const NEXT: u16 = 1;
/// The device may write to the buffer.
pub(super) const WRITE: u16 = 2;

/// An element of the used ring (2.7.8). Written by the device.
#[repr(C)]
#[derive(Debug)]
pub(super) struct UsedElement {
    pub(super) id: AtomicU32,
    pub(super) len: AtomicU32,
}

#[allow(unsafe_code, reason = "structs of atomics")]
mod visible {
    use super::{Descriptor, DeviceVisible, UsedElement};
    // SAFETY: all fields are atomics.
    unsafe impl DeviceVisible for Descriptor {}
    // SAFETY: all fields are atomics.
    unsafe impl DeviceVisible for UsedElement {}
}

/// The three parts of a split queue, as arrays.
#[derive(Debug)]
pub(super) struct Layout {
    pub(super) memory: RingMemory,
    pub(super) addresses: QueueAddresses,
    descriptors: Shared<Descriptor>,
    /// flags, idx, ring[size], used_event (2.7.6).
    available: Shared<AtomicU16>,
    /// flags, idx (2.7.8).
    used_head: Shared<AtomicU16>,
    pub(super) used: Shared<UsedElement>,
    avail_event: Shared<AtomicU16>,
}

/// flags, idx, ring, used_event.
fn available_words(n: usize) -> usize {
    3 + n
}

impl Layout {
    /// Offsets of available ring, used ring and `avail_event` for `n` entries.
    fn offsets(n: usize) -> (usize, usize, usize) {
        let available = 16 * n;
        // On a cache line of its own: this one is the device's to write.
        let used = (available + 2 * available_words(n)).next_multiple_of(64);
        (available, used, used + 4 + 8 * n)
    }

    /// Bytes that a queue of `size` entries takes.
    pub(super) fn bytes(size: u16) -> usize {
        Self::offsets(size.into()).2 + 2
    }

    /// Lays out a queue of `size` entries in new memory; `None` if there is none.
    pub(super) fn new(source: &'static dyn DmaMemory, size: u16) -> Option<Self> {
        let n = usize::from(size);
        let (available, used, avail_event) = Self::offsets(n);
        let memory = RingMemory::new(source, Self::bytes(size))?;
        Some(Self {
            addresses: QueueAddresses {
                descriptors: memory.address(0),
                driver: memory.address(available),
                device: memory.address(used),
            },
            descriptors: memory.shared(0, n),
            available: memory.shared(available, available_words(n)),
            used_head: memory.shared(used, 2),
            used: memory.shared(used + 4, n),
            avail_event: memory.shared(avail_event, 1),
            memory,
        })
    }

    /// Descriptor `id`.
    #[inline(always)]
    pub(super) fn descriptor(&self, id: u16) -> &Descriptor {
        &self.descriptors.all()[usize::from(id)]
    }

    /// `avail.flags`: bit 0 asks for no interrupts, where event indices are not negotiated.
    pub(super) fn avail_flags(&self) -> &AtomicU16 {
        &self.available.all()[0]
    }

    /// `avail.idx`: where the driver will put the next entry.
    pub(super) fn avail_idx(&self) -> &AtomicU16 {
        &self.available.all()[1]
    }

    /// `avail.ring[place]`.
    pub(super) fn avail_entry(&self, place: usize) -> &AtomicU16 {
        &self.available.all()[2 + place]
    }

    /// `used_event`: interrupt when `used.idx` passes this (2.7.10).
    pub(super) fn used_event(&self) -> &AtomicU16 {
        let words = self.available.all();
        &words[words.len() - 1]
    }

    /// `used.flags`: bit 0 says that no doorbell is wanted, where event indices are not
    /// negotiated.
    pub(super) fn used_flags(&self) -> &AtomicU16 {
        &self.used_head.all()[0]
    }

    /// `used.idx`: where the device will put the next element.
    pub(super) fn used_idx(&self) -> &AtomicU16 {
        &self.used_head.all()[1]
    }

    /// `avail_event`: ring the doorbell when `avail.idx` passes this.
    pub(super) fn avail_event(&self) -> &AtomicU16 {
        &self.avail_event.all()[0]
    }
}
