//! Buffers and their out-of-line records.
//!
//! A buffer is a fixed-size object in a DMA segment; its [`BufCtl`] sits in an array beside the
//! region and holds address, device address and *use count*: 0 raw, 1 exclusive, more when
//! light clones share it. The count is atomic, yet an exclusive holder never pays for a
//! read-modify-write: whoever reads 1 is the only one who could change it.

use crate::cache::{Kind, NoMemory, Returned};
use crate::fault::{FaultPoint, Faults};
use crate::platform::DmaAddr;
use crate::slab::Slot;
use crate::sync::{AtomicU32, Ordering};
use alloc::boxed::Box;
use core::cell::UnsafeCell;
use core::ptr::NonNull;

/// The record of one buffer.
pub(crate) struct BufCtl {
    /// First byte; valid while the buffer is out of the slab.
    pub(crate) base: NonNull<u8>,
    /// The same, as a device sees it.
    pub(crate) dma: DmaAddr,
    /// Bytes.
    pub(crate) limit: u32,
    /// Index in the region.
    pub(crate) index: u32,
    /// Segment it lies in.
    pub(crate) segment: u32,
    /// From the large region.
    pub(crate) large: bool,
    uses: UseCount,
}

/// How many buflets refer to a buffer.
#[derive(Debug)]
pub(crate) struct UseCount(AtomicU32);

impl UseCount {
    pub(crate) fn new(uses: u32) -> Self {
        Self(AtomicU32::new(uses))
    }
    /// Uses now.
    pub(crate) fn get(&self) -> u32 {
        self.0.load(Ordering::Acquire)
    }
    /// The caller, the buffer's only holder, sets the count.
    pub(crate) fn set(&self, uses: u32) {
        self.0.store(uses, Ordering::Relaxed);
    }
    /// A holder adds a use. It must have its buflet to itself meanwhile (`&mut`): then whoever
    /// reads 1 is the only one who could change the count, and a store will do.
    #[inline(always)]
    pub(crate) fn share(&self) {
        // Acquire: the store ends the release sequences of those who dropped their uses, so
        // their accesses must come before mine, and with mine before whoever frees.
        if self.get() == 1 {
            self.set(2);
            return;
        }
        let before = self.0.fetch_add(1, Ordering::Relaxed);
        debug_assert!(before != 0, "shared a raw buffer");
    }
    /// A holder drops its use unless it is the last one; `true` if it did.
    #[inline(always)]
    pub(crate) fn release_unless_last(&self) -> bool {
        let mut uses = self.0.load(Ordering::Relaxed);
        while uses > 1 {
            // Release: my accesses come before whoever frees.
            match self
                .0
                .compare_exchange_weak(uses, uses - 1, Ordering::Release, Ordering::Relaxed)
            {
                Ok(_) => return true,
                Err(now) => uses = now,
            }
        }
        false
    }

    /// A holder drops its use; `true` for the last one, who then owns the buffer alone.
    pub(crate) fn release(&self) -> bool {
        if self.get() == 1 {
            self.set(0);
            return true;
        }
        // Release: my accesses come before whoever frees; Acquire: if that is me, after all others'.
        self.0.fetch_sub(1, Ordering::AcqRel) == 1
    }
}

impl BufCtl {
    pub(crate) fn uses(&self) -> &UseCount {
        &self.uses
    }
}

/// What the buffer caches hold: records of raw (use count 0) buffers.
pub(crate) struct BufferKind {
    ctls: Box<[UnsafeCell<BufCtl>]>,
    faults: Faults,
}

// SAFETY: a record is written only by the one who holds its buffer (or constructs it); the
// count is atomic.
unsafe impl Send for BufferKind {}
// SAFETY: as above.
unsafe impl Sync for BufferKind {}

impl BufferKind {
    /// Records for `count` buffers of `limit` bytes.
    pub(crate) fn new(count: usize, limit: usize, large: bool, faults: Faults) -> Self {
        let ctl = |index| BufCtl {
            base: NonNull::dangling(),
            dma: DmaAddr::new(0),
            limit: limit as u32,
            index: index as u32,
            segment: 0,
            large,
            uses: UseCount::new(0),
        };
        Self {
            ctls: (0..count).map(|i| UnsafeCell::new(ctl(i))).collect(),
            faults,
        }
    }
}

impl Kind for BufferKind {
    type Object = BufCtl;

    fn construct(&self, slot: Slot, _core: usize) -> Result<NonNull<BufCtl>, NoMemory> {
        if self.faults.hit(FaultPoint::Buffer) {
            return Err(NoMemory);
        }
        let ctl = self.ctls[slot.index as usize].get();
        // SAFETY: the slab just handed this index out, so nobody else holds its record.
        unsafe {
            debug_assert_eq!((*ctl).uses.get(), 0, "allocated a buffer in use");
            (*ctl).base = slot.ptr;
            (*ctl).dma = slot.dma;
            (*ctl).segment = slot.segment;
            Ok(NonNull::new_unchecked(ctl))
        }
    }

    unsafe fn destruct(&self, ctl: NonNull<BufCtl>, _core: usize) -> (u32, Returned) {
        // SAFETY: the caller holds the buffer.
        let ctl = unsafe { ctl.as_ref() };
        debug_assert_eq!(ctl.uses.get(), 0, "freed a buffer in use");
        (ctl.index, Returned(0))
    }
}
