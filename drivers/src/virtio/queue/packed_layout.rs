//! The packed virtqueue in memory (virtio 1.2, 2.8).
//!
//! One block: the descriptor ring, and two words with which each side says when it wants to be
//! notified. All of it is atomics; nothing in it is believed.

use core::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use core::sync::atomic::{AtomicU16, AtomicU64};

use pbufpool::DmaMemory;

use super::indirect::{Shape, TableEntry, Tables};
use super::pieces::Piece;
use super::staged::Place;
use crate::ring::memory::{DeviceVisible, RingMemory, Shared};
use crate::virtio::transport::QueueAddresses;

/// A descriptor (2.8.13): the driver makes it available, the device overwrites it as used.
#[repr(C)]
#[derive(Debug)]
pub(super) struct Descriptor {
    address: AtomicU64,
    /// 32 bits length, 16 bits id, 16 bits flags: written and read in one piece, since what the flags say
    /// is about the others.
    rest: AtomicU64,
}

const _: () = assert!(size_of::<Descriptor>() == 16);

/// Everything in a descriptor but the address.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rest(u64);

impl Rest {
    /// These fields.
    #[inline(always)]
    pub(super) fn new(len: u32, id: u16, flags: u16) -> Self {
        Self(u64::from(len) | u64::from(id) << 32 | u64::from(flags) << 48)
    }
    /// In one piece.
    #[inline(always)]
    pub(super) fn bits(self) -> u64 {
        self.0
    }
    /// Bytes.
    #[inline(always)]
    pub(super) fn len(self) -> u32 {
        self.0 as u32
    }
    /// Id.
    #[inline(always)]
    pub(super) fn id(self) -> u16 {
        (self.0 >> 32) as u16
    }
    /// Flags.
    #[inline(always)]
    pub(super) fn flags(self) -> u16 {
        (self.0 >> 48) as u16
    }
}

impl Descriptor {
    /// Reads all but the address, before anything that is read later.
    #[inline(always)]
    pub(super) fn rest(&self) -> Rest {
        Rest(self.rest.load(Acquire))
    }
}

impl Place for Descriptor {
    /// All but the address behind everything that was written before.
    #[inline(always)]
    fn write(&self, address: u64, rest: u64) {
        self.address.store(address, Relaxed);
        self.rest.store(rest, Release);
    }
}

// SAFETY: all fields are atomics.
unsafe impl DeviceVisible for Descriptor {}

impl TableEntry for Descriptor {
    /// They lie one behind the other, which is all that there is to say of the next; an id means nothing here
    /// (2.8.7).
    fn set(&self, piece: Piece, _: Option<u16>) {
        let rest = Rest::new(piece.len, 0, piece.flags());
        self.write(piece.address, rest.bits());
    }
}

/// The chain goes on in the next descriptor.
pub(super) const NEXT: u16 = 1;
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

    /// Lays out a queue of `size` entries, with `tables` behind it, in new memory; `None` if there is none.
    pub(super) fn new(source: &'static dyn DmaMemory, size: u16, tables: Shape) -> Option<Self> {
        let n = usize::from(size);
        let memory = RingMemory::new(source, tables.bytes_behind(Self::bytes(size)))?;
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

    /// The tables behind it.
    pub(super) fn tables(&self, shape: Shape) -> Tables<Descriptor> {
        let size = self.descriptors().len() as u16;
        Tables::new(&self.memory, Self::bytes(size), shape)
    }

    /// The descriptors, by place.
    #[inline(always)]
    pub(super) fn descriptors(&self) -> &[Descriptor] {
        self.descriptors.all()
    }
}
