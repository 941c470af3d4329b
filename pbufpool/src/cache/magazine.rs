//! A magazine: a stack of constructed, free objects with a fixed capacity. A magazine of
//! capacity 0 stands for "none": it is full and empty at once, so no case is special.

use alloc::vec::Vec;
use core::ptr::NonNull;

/// A stack that never grows past the capacity it was made with.
pub(crate) struct Magazine<T> {
    rounds: Vec<NonNull<T>>,
}

// SAFETY: the objects in a magazine are free: they belong to the cache, to no thread.
unsafe impl<T> Send for Magazine<T> {}

impl<T> Magazine<T> {
    /// The absent magazine.
    pub(crate) const fn none() -> Self {
        Self { rounds: Vec::new() }
    }

    /// An empty magazine; `None` if the heap has no room for it.
    pub(crate) fn with_capacity(capacity: usize) -> Option<Self> {
        let mut rounds = Vec::new();
        rounds.try_reserve_exact(capacity).ok()?;
        Some(Self { rounds })
    }

    #[inline(always)]
    pub(crate) fn len(&self) -> usize {
        self.rounds.len()
    }

    #[inline(always)]
    pub(crate) fn is_empty(&self) -> bool {
        self.rounds.is_empty()
    }

    /// Whether this is a magazine at all.
    #[inline(always)]
    pub(crate) fn exists(&self) -> bool {
        self.rounds.capacity() != 0
    }

    /// Pushes `object`; `false` if full.
    #[inline(always)]
    pub(crate) fn push(&mut self, object: NonNull<T>) -> bool {
        let room = self.rounds.len() < self.rounds.capacity();
        if room {
            self.rounds.push(object);
        }
        room
    }

    #[inline(always)]
    pub(crate) fn pop(&mut self) -> Option<NonNull<T>> {
        self.rounds.pop()
    }

    /// Where pushes would go: start and end of the free space.
    #[inline(always)]
    pub(crate) fn spare(&mut self) -> (*mut NonNull<T>, *mut NonNull<T>) {
        let spare = self.rounds.spare_capacity_mut().as_mut_ptr_range();
        (spare.start.cast(), spare.end.cast())
    }

    /// Counts what was written from the start of [`Magazine::spare`] up to `end`.
    ///
    /// # Safety
    /// All rounds between the two are written, and nothing was pushed or popped since.
    #[inline(always)]
    pub(crate) unsafe fn commit(&mut self, end: *mut NonNull<T>) -> usize {
        let (start, _) = self.spare();
        // SAFETY: `end` lies in the spare part, and the rounds up to it are written.
        unsafe {
            let n = end.offset_from(start) as usize;
            self.rounds.set_len(self.rounds.len() + n);
            n
        }
    }

    /// Hands the top `n` objects (at most [`Magazine::len`]) to `f`, oldest first in the slice.
    #[inline(always)]
    pub(crate) fn pop_run(&mut self, n: usize, f: impl FnOnce(&[NonNull<T>])) {
        let rest = self.rounds.len() - n;
        f(&self.rounds[rest..]);
        self.rounds.truncate(rest);
    }
}
