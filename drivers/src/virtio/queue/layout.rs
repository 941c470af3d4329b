//! The split virtqueue in memory (virtio 1.2, 2.7).
//!
//! One block: descriptor table, available ring, used ring, each aligned as the specification
//! asks; the legacy interface asks for a page between the last two. All of it is atomics; nothing in
//! it is believed.
#![deny(unsafe_code)]

use core::sync::atomic::Ordering::Relaxed;
use core::sync::atomic::{AtomicU16, AtomicU32, AtomicU64};

use pbufpool::{DmaAddr, DmaMemory};

use super::indirect::{Shape, TableEntry, Tables};
use super::pieces::Piece;
use super::staged::Place;
use crate::ring::memory::{DeviceVisible, RingMemory, Shared};
use crate::virtio::transport::QueueAddresses;

/// A descriptor (2.7.5). Written by the driver only, and never read back.
#[repr(C)]
#[derive(Debug)]
pub(super) struct Descriptor {
    address: AtomicU64,
    /// 32 bits length, 16 bits flags, 16 bits next.
    rest: AtomicU64,
}

const _: () = assert!(size_of::<Descriptor>() == 16);

/// Everything in a descriptor but the address.
#[inline(always)]
pub(super) fn rest(len: u32, flags: u16, next: u16) -> u64 {
    u64::from(len) | u64::from(flags) << 32 | u64::from(next) << 48
}

impl Place for Descriptor {
    #[inline(always)]
    fn write(&self, address: u64, rest: u64) {
        self.address.store(address, Relaxed);
        self.rest.store(rest, Relaxed);
    }
}

impl TableEntry for Descriptor {
    fn set(&self, piece: Piece, next: Option<u16>) {
        let more = if next.is_some() { NEXT } else { 0 };
        let flags = piece.flags() | more;
        let rest = rest(piece.len, flags, next.unwrap_or(0));
        self.write(piece.address, rest);
    }
}

/// The chain goes on at `next`.
pub(super) const NEXT: u16 = 1;
/// The device may write to the buffer.
pub(super) const WRITE: u16 = 2;

/// An element of the used ring (2.7.8). Written by the device.
#[repr(C)]
#[derive(Debug)]
pub(super) struct UsedElement {
    id: AtomicU32,
    len: AtomicU32,
}

impl UsedElement {
    /// Id and length, each read once: a second read could give another answer.
    #[inline(always)]
    pub(super) fn read(&self) -> (u32, u32) {
        (self.id.load(Relaxed), self.len.load(Relaxed))
    }
}

#[allow(unsafe_code, reason = "structs of atomics")]
mod visible {
    use super::{Descriptor, DeviceVisible, UsedElement};
    // SAFETY: all fields are atomics.
    unsafe impl DeviceVisible for Descriptor {}
    // SAFETY: all fields are atomics.
    unsafe impl DeviceVisible for UsedElement {}
}

/// Alignment of the used ring: 4 would do (2.7), but this cache line is the device's to write.
const ALIGN: usize = 64;
/// Alignment of the used ring, and of the whole, with the legacy interface (2.7.2).
pub(in crate::virtio) const LEGACY_ALIGN: usize = 4096;

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
    /// Bytes of the three parts.
    bytes: usize,
}

/// flags, idx, ring, used_event.
fn available_words(n: usize) -> usize {
    3 + n
}

/// Offsets of available and used ring for `n` entries.
fn offsets(n: usize, align: usize) -> (usize, usize) {
    let available = 16 * n;
    let used = (available + 2 * available_words(n)).next_multiple_of(align);
    (available, used)
}

/// Where the parts of a legacy queue of `size` entries are that begins at `base`; `None` if it
/// would not end inside the address space.
pub(in crate::virtio) fn legacy_addresses(base: u64, size: u16) -> Option<QueueAddresses> {
    base.checked_add(Layout::bytes(size, LEGACY_ALIGN) as u64)?;
    let (available, used) = offsets(size.into(), LEGACY_ALIGN);
    let base = DmaAddr::new(base);
    Some(QueueAddresses {
        descriptors: base,
        driver: base.add(available),
        device: base.add(used),
    })
}

impl Layout {
    /// Bytes that a queue of `size` entries takes.
    fn bytes(size: u16, align: usize) -> usize {
        let n = usize::from(size);
        offsets(n, align).1 + 4 + 8 * n + 2
    }

    /// Bytes that a queue of `size` entries takes.
    pub(super) fn modern_bytes(size: u16) -> usize {
        Self::bytes(size, ALIGN)
    }

    /// The same with the legacy interface.
    pub(super) fn legacy_bytes(size: u16) -> usize {
        Self::bytes(size, LEGACY_ALIGN)
    }

    /// Lays out a queue of `size` entries, with `tables` behind it, in new memory; `None` if there is none.
    pub(super) fn modern(source: &'static dyn DmaMemory, size: u16, tables: Shape) -> Option<Self> {
        Self::new(source, size, ALIGN, tables)
    }

    /// The same for the legacy interface.
    pub(super) fn legacy(source: &'static dyn DmaMemory, size: u16, tables: Shape) -> Option<Self> {
        Self::new(source, size, LEGACY_ALIGN, tables)
    }

    fn new(source: &'static dyn DmaMemory, size: u16, align: usize, tables: Shape) -> Option<Self> {
        let n = usize::from(size);
        let (available, used) = offsets(n, align);
        let avail_event = used + 4 + 8 * n;
        let bytes = Self::bytes(size, align);
        let memory = RingMemory::new(source, tables.bytes_behind(bytes))?;
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
            bytes,
            memory,
        })
    }

    /// The tables behind it.
    pub(super) fn tables(&self, shape: Shape) -> Tables<Descriptor> {
        Tables::new(&self.memory, self.bytes, shape)
    }

    /// The descriptors, by id.
    #[inline(always)]
    pub(super) fn descriptors(&self) -> &[Descriptor] {
        self.descriptors.all()
    }

    /// `avail.flags`: bit 0 asks for no interrupts, where event indices are not negotiated.
    pub(super) fn avail_flags(&self) -> &AtomicU16 {
        &self.available.all()[0]
    }

    /// `avail.idx`: where the driver will put the next entry.
    pub(super) fn avail_idx(&self) -> &AtomicU16 {
        &self.available.all()[1]
    }

    /// `avail.ring`.
    #[inline(always)]
    pub(super) fn avail_ring(&self) -> &[AtomicU16] {
        let words = self.available.all();
        &words[2..words.len() - 1]
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
