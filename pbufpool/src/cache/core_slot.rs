//! One core's two magazines, and the protocol that lets the owner use them without a lock and
//! without an atomic read-modify-write while another core can still take them away.
//!
//! The owner stores `busy`, then loads `shut`; a remote core stores `shut`, then loads `busy`.
//! Each needs its store visible before its load (Dekker), which costs a full barrier. The rare
//! side pays it for both: [`Platform::barrier_all_cores`] makes every core execute a barrier, so
//! the owner needs only to keep the compiler from reordering. After the remote core's barrier
//! either the owner's `busy` is visible to it, and it waits, or the owner's load comes later and
//! sees `shut`. Without such a means (`heavy`) the owner executes the fence itself.
//!
//! Invariant: the magazines are touched by the owner inside a [`Section`], or by a remote core
//! that shut the slot and saw `busy` clear; never by both.
//!
//! [`Platform::barrier_all_cores`]: crate::Platform::barrier_all_cores

use super::magazine::Magazine;
use crate::sync::{AtomicBool, AtomicU64, Ordering, compiler_fence, fence, relax};
use core::cell::UnsafeCell;
use core::ops::{Deref, DerefMut};

/// The two magazines of a core.
pub(crate) struct Pair<T> {
    pub(crate) loaded: Magazine<T>,
    /// Full, empty or absent.
    pub(crate) previous: Magazine<T>,
}

/// A core's part of a cache, on cache lines of its own.
#[repr(align(128))]
pub(crate) struct CoreSlot<T> {
    busy: AtomicBool,
    shut: AtomicBool,
    heavy: bool,
    /// Objects handed to and taken from clients by this core; written by it alone.
    pub(crate) allocs: AtomicU64,
    pub(crate) frees: AtomicU64,
    pair: UnsafeCell<Pair<T>>,
}

// SAFETY: the magazines hold free objects that belong to the cache, not to a thread; access to
// them follows the protocol above, and all else is atomic.
unsafe impl<T> Send for CoreSlot<T> {}
// SAFETY: as above.
unsafe impl<T> Sync for CoreSlot<T> {}

/// The owner is using its magazines.
pub(crate) struct Section<'a, T> {
    slot: &'a CoreSlot<T>,
}

impl<T> CoreSlot<T> {
    /// An open slot without magazines. `heavy`: there is no asymmetric barrier.
    pub(crate) fn new(heavy: bool) -> Self {
        Self {
            busy: AtomicBool::new(false),
            shut: AtomicBool::new(false),
            heavy,
            allocs: AtomicU64::new(0),
            frees: AtomicU64::new(0),
            pair: UnsafeCell::new(Pair {
                loaded: Magazine::none(),
                previous: Magazine::none(),
            }),
        }
    }

    /// Enters as the owner; `None` while a remote core has the slot shut.
    #[inline(always)]
    pub(crate) fn enter(&self) -> Option<Section<'_, T>> {
        debug_assert!(
            !self.busy.load(Ordering::Relaxed),
            "pool re-entered on one core"
        );
        self.busy.store(true, Ordering::Relaxed);
        match self.heavy {
            true => fence(Ordering::SeqCst),
            false => compiler_fence(Ordering::SeqCst),
        }
        if self.shut.load(Ordering::Acquire) {
            self.busy.store(false, Ordering::Release);
            return None;
        }
        Some(Section { slot: self })
    }

    /// First half of a remote take-over: from the next barrier on the owner stays out.
    pub(crate) fn shut(&self) {
        self.shut.store(true, Ordering::SeqCst);
    }

    /// Lets the owner in again.
    pub(crate) fn open(&self) {
        self.shut.store(false, Ordering::Release);
    }

    /// Waits for the owner to leave, then takes its magazines away.
    ///
    /// # Safety
    /// The caller called [`CoreSlot::shut`], then had every core execute a full barrier, holds
    /// the cache's control lock, and is not inside a section of this slot.
    pub(crate) unsafe fn take_pair(&self) -> Pair<T> {
        while self.busy.load(Ordering::Acquire) {
            relax();
        }
        let none = Pair {
            loaded: Magazine::none(),
            previous: Magazine::none(),
        };
        // SAFETY: the owner stays out while shut, it has left, and the control lock keeps other
        // remote cores out.
        unsafe { core::mem::replace(&mut *self.pair.get(), none) }
    }
}

impl<T> Deref for Section<'_, T> {
    type Target = Pair<T>;
    #[inline(always)]
    fn deref(&self) -> &Pair<T> {
        // SAFETY: the section proves that the owner is in and the slot is not shut.
        unsafe { &*self.slot.pair.get() }
    }
}

impl<T> DerefMut for Section<'_, T> {
    #[inline(always)]
    fn deref_mut(&mut self) -> &mut Pair<T> {
        // SAFETY: as for `deref`; a slot has one section at a time (Platform, obligation 1).
        unsafe { &mut *self.slot.pair.get() }
    }
}

impl<T> Drop for Section<'_, T> {
    #[inline(always)]
    fn drop(&mut self) {
        self.slot.busy.store(false, Ordering::Release);
    }
}
