//! The packed virtqueue in memory (virtio 1.2, 2.8).
//!
//! One block: the descriptor ring, and two words with which each side says when it wants to be
//! notified. All of it is atomics; nothing in it is believed.

use core::sync::atomic::{AtomicU16, AtomicU32, AtomicU64};

use pbufpool::DmaMemory;

use crate::ring::memory::{DeviceVisible, RingMemory, Shared};
use crate::virtio::transport::QueueAddresses;

/// A descriptor (2.8.13): the driver makes it available, the device overwrites it as used.
#[repr(C)]
#[derive(Debug)]
pub(super) struct Descriptor {
    pub(super) address: AtomicU64,
    pub(super) len: AtomicU32,
    pub(super) id: AtomicU16,
    pub(super) flags: AtomicU16,
}

const _: () = assert!(size_of::<Descriptor>() == 16);

// SAFETY: all fields are atomics.
unsafe impl DeviceVisible for Descriptor {}

/// The chain goes on in the next descriptor.
pub(super) const NEXT: u16 = 1;
/// The device may write to the buffer.
pub(super) const WRITE: u16 = 2;
/// Equal to the driver's wrap counter: available (2.8.1).
pub(super) const AVAIL: u16 = 1 << 7;
/// Equal to the device's wrap counter, as [`AVAIL`] then is: used.
pub(super) const USED: u16 = 1 << 15;

/// When one side wants to be notified (2.8.14).
#[derive(Debug)]
pub(super) struct Event {
    words: Shared<AtomicU16>,
}

impl Event {
    /// A [`Place`](crate::ring::place::Place) in bits; it counts with [`AT_PLACE`].
    pub(super) fn place(&self) -> &AtomicU16 {
        &self.words.all()[0]
    }
    /// [`ALWAYS`], [`NEVER`] or [`AT_PLACE`].
    pub(super) fn flags(&self) -> &AtomicU16 {
        &self.words.all()[1]
    }
}

/// Notify at every event.
pub(super) const ALWAYS: u16 = 0;
/// Do not notify.
pub(super) const NEVER: u16 = 1;
/// Notify when the place is passed; only with `EVENT_IDX`.
pub(super) const AT_PLACE: u16 = 2;

/// The three parts of a packed queue.
#[derive(Debug)]
pub(super) struct Layout {
    pub(super) memory: RingMemory,
    pub(super) addresses: QueueAddresses,
    descriptors: Shared<Descriptor>,
    /// When the driver wants an interrupt.
    pub(super) driver: Event,
    /// When the device wants a doorbell.
    pub(super) device: Event,
}

impl Layout {
    /// Bytes that a queue of `size` entries takes.
    pub(super) fn bytes(size: u16) -> usize {
        16 * usize::from(size) + 8
    }

    /// Lays out a queue of `size` entries in new memory; `None` if there is none.
    pub(super) fn new(source: &'static dyn DmaMemory, size: u16) -> Option<Self> {
        let n = usize::from(size);
        let memory = RingMemory::new(source, Self::bytes(size))?;
        let event = |at| Event {
            words: memory.shared(at, 2),
        };
        Some(Self {
            addresses: QueueAddresses {
                descriptors: memory.address(0),
                driver: memory.address(16 * n),
                device: memory.address(16 * n + 4),
            },
            descriptors: memory.shared(0, n),
            driver: event(16 * n),
            device: event(16 * n + 4),
            memory,
        })
    }

    /// The descriptor in place `slot`.
    #[inline(always)]
    pub(super) fn descriptor(&self, slot: u16) -> &Descriptor {
        &self.descriptors.all()[usize::from(slot)]
    }
}
