//! Memory that a ring and its device share.
//!
//! One contiguous block holds a ring's structures. Rust code sees it only as [`Shared`] arrays of
//! atomics, since the device may change any bit at any time. The block outlives the device's use
//! of it: whoever owns a ring stops the device before dropping the ring, or leaks the block.

use core::fmt;
use core::marker::PhantomData;
use core::ptr::NonNull;
use core::sync::atomic::{AtomicU16, AtomicU32, AtomicU64};

use pbufpool::{DmaAddr, DmaMemory, Segment};

const PAGE: usize = 4096;

/// A zeroed block of shared memory.
pub struct RingMemory {
    source: &'static dyn DmaMemory,
    segment: Segment,
}

impl RingMemory {
    /// Takes at least `len` bytes from `source`, page aligned; `None` if it has none.
    pub fn new(source: &'static dyn DmaMemory, len: usize) -> Option<Self> {
        let segment = source.alloc(len.next_multiple_of(PAGE), PAGE)?;
        Some(Self { source, segment })
    }

    /// The device's address of the byte at `offset`.
    pub fn address(&self, offset: usize) -> DmaAddr {
        self.segment.dma().add(offset)
    }

    /// `count` elements at `offset`.
    ///
    /// # Panics
    /// If they do not lie inside the block, aligned: a layout computed wrongly, not a device.
    pub fn shared<T: DeviceVisible>(&self, offset: usize, count: usize) -> Shared<T> {
        assert!(
            offset.is_multiple_of(align_of::<T>()),
            "misaligned ring structure"
        );
        assert!(
            offset + count * size_of::<T>() <= self.segment.len(),
            "ring structure overflows"
        );
        // SAFETY: inside the segment.
        let base = unsafe { self.segment.base().add(offset) }.cast();
        Shared {
            base,
            count,
            _elements: PhantomData,
        }
    }

    /// Gives the block back.
    ///
    /// # Safety
    /// 1. The device does not use the block any more.
    /// 2. No [`Shared`] of it is used after this.
    pub unsafe fn free(self) {
        // SAFETY: the segment came from this source, and the caller has given up all views.
        unsafe { self.source.free(&self.segment) };
    }
}

impl fmt::Debug for RingMemory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RingMemory({:?})", self.segment)
    }
}

/// Types that may lie in memory which a device writes: atomics, and structs of nothing else.
///
/// # Safety
/// Every bit pattern is a value, and all fields are atomics.
pub unsafe trait DeviceVisible {}
// SAFETY: an atomic integer.
unsafe impl DeviceVisible for AtomicU16 {}
// SAFETY: an atomic integer.
unsafe impl DeviceVisible for AtomicU32 {}
// SAFETY: an atomic integer.
unsafe impl DeviceVisible for AtomicU64 {}

/// An array in shared memory.
#[derive(Debug)]
pub struct Shared<T> {
    base: NonNull<T>,
    count: usize,
    _elements: PhantomData<T>,
}

// SAFETY: only shared references to atomics come out of it.
unsafe impl<T: Sync> Send for Shared<T> {}
// SAFETY: as above.
unsafe impl<T: Sync> Sync for Shared<T> {}

impl<T: DeviceVisible> Shared<T> {
    /// Its elements.
    #[inline]
    pub fn all(&self) -> &[T] {
        // SAFETY: `RingMemory::shared` checked bounds and alignment; the block lives as long as
        // its ring; the elements are atomics, so the device may write beside us.
        unsafe { core::slice::from_raw_parts(self.base.as_ptr(), self.count) }
    }
}
