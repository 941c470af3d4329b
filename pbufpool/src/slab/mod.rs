//! Slabs: one segment each, cut into objects; the layer beneath the magazines.
//!
//! A slab is *vacant* (no memory), *partial* (on the partial list, served from the front) or
//! *full* (every object allocated, on no list). A new slab joins the front, a full slab that
//! regains an object the back, and one with nothing outstanding gives its segment back at once.
//! If asked to ([`Slabs::keep_spare`]), a region keeps one such slab, at the back of the list.
//! Allocation and free are O(1): a free list threaded through an index array, and a bitmap that
//! tells a double free from a free. Called by the cache layer only, when magazines do not
//! help; one lock around everything.
//!
//! Invariant: an object's memory exists while it is allocated, since its slab is then not
//! vacant; a slab without allocated objects has memory only if it is the one spare.

mod state;

use self::state::{NIL, State};
use crate::fault::{FaultPoint, Faults};
use crate::platform::{Direction, DmaAddr, DmaMemory, SegmentHooks};
use crate::region::{CACHE_LINE, Geometry};
use crate::sync::{AtomicBool, Mutex, Ordering};
use alloc::sync::Arc;
use core::ptr::NonNull;

/// One allocated object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slot {
    /// Index in the region.
    pub index: u32,
    /// Segment it lies in.
    pub segment: u32,
    /// Where it is.
    pub ptr: NonNull<u8>,
    /// Where a device finds it.
    pub dma: DmaAddr,
}

/// Why a free was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FreeError {
    /// The object is already free.
    DoubleFree {
        /// Its index.
        index: u32,
    },
    /// No object of this region has that index or address.
    Foreign,
}

/// Counters of one slab layer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SlabStats {
    /// Objects out of the slabs: with clients or in magazines.
    pub in_use: usize,
    /// The most there ever were.
    pub max_in_use: usize,
    /// Objects ever allocated.
    pub allocs: u64,
    /// Objects ever freed.
    pub frees: u64,
    /// Allocations that found neither an object nor a segment.
    pub failures: u64,
    /// Slabs created.
    pub creates: u64,
    /// Slabs destroyed.
    pub destroys: u64,
    /// Segments that exist now.
    pub live_segments: usize,
    /// Frees refused as double or foreign: each one is a defect in the caller.
    pub bad_frees: u64,
}

/// Where slabs get their memory and who is told of it.
pub struct Source {
    /// Contiguous memory.
    pub memory: &'static dyn DmaMemory,
    /// Map and unmap.
    pub hooks: Option<Arc<dyn SegmentHooks>>,
    /// Passed to the hooks.
    pub direction: Direction,
    /// Fault injection.
    pub faults: Faults,
}

/// The slabs of one region.
pub struct Slabs {
    geometry: Geometry,
    source: Source,
    zero_on_free: bool,
    /// Read under the lock, so a free that follows its change sees it.
    keep_spare: AtomicBool,
    state: Mutex<State>,
}

impl Slabs {
    /// Slabs without memory.
    pub fn new(geometry: Geometry, source: Source, read_only: bool) -> Self {
        let state = State::new(&geometry);
        let zero_on_free = !read_only && geometry.object_size <= 2 * CACHE_LINE;
        Self {
            geometry,
            source,
            zero_on_free,
            keep_spare: AtomicBool::new(false),
            state: Mutex::new(state),
        }
    }

    /// The region's shape.
    pub fn geometry(&self) -> &Geometry {
        &self.geometry
    }

    /// Counters.
    pub fn stats(&self) -> SlabStats {
        self.state.lock().stats
    }

    /// Keeps one slab with nothing outstanding from now on (`true`), or none: then the one
    /// that was kept goes.
    pub fn keep_spare(&self, keep: bool) {
        if self.keep_spare.swap(keep, Ordering::Relaxed) && !keep {
            self.take_spare();
        }
    }

    /// Gives the spare slab's segment back; `true` if there was one. Takes no lock where none
    /// is kept.
    pub fn release_spare(&self) -> bool {
        self.keep_spare.load(Ordering::Relaxed) && self.take_spare()
    }

    fn take_spare(&self) -> bool {
        let state = &mut *self.state.lock();
        let spare = state.spare.take();
        if let Some(number) = spare {
            state.unlink(number);
            self.destroy_slab(state, number);
        }
        spare.is_some()
    }

    /// Takes one object: from the first partial slab, else from a new slab at the lowest
    /// vacant index. `None`: every segment is full, or memory, hook or fault plan said no.
    pub fn alloc(&self) -> Option<Slot> {
        let state = &mut *self.state.lock();
        if state.front == NIL && !self.create_slab(state) {
            state.stats.failures += 1;
            return None;
        }
        let number = state.front as usize;
        let slab = &mut state.slabs[number];
        let index = slab.free_head;
        slab.free_head = state.next_free[index as usize];
        slab.in_use += 1;
        if slab.free_head == NIL {
            state.unlink(number);
        }
        if state.spare == Some(number) {
            state.spare = None;
        }
        state.mark(index, true);
        state.stats.allocs += 1;
        state.stats.in_use += 1;
        state.stats.max_in_use = state.stats.max_in_use.max(state.stats.in_use);
        state.slot(&self.geometry, index)
    }

    /// Gives one object back by its index.
    ///
    /// # Errors
    /// [`FreeError`], and nothing changes but a counter.
    pub fn free(&self, index: u32) -> Result<(), FreeError> {
        let state = &mut *self.state.lock();
        let outcome = self.free_locked(state, index);
        state.stats.bad_frees += u64::from(outcome.is_err());
        outcome
    }

    /// Gives one object back by its address.
    ///
    /// # Errors
    /// [`FreeError`], and nothing changes but a counter.
    pub fn free_ptr(&self, ptr: NonNull<u8>) -> Result<(), FreeError> {
        match self.index_of(ptr) {
            Some(index) => self.free(index),
            None => {
                self.state.lock().stats.bad_frees += 1;
                Err(FreeError::Foreign)
            }
        }
    }

    /// The index of the object that starts at `ptr`. Walks the segments: for checks, not for
    /// the packet path, where every object knows its index.
    pub fn index_of(&self, ptr: NonNull<u8>) -> Option<u32> {
        let state = self.state.lock();
        let at = ptr.as_ptr() as usize;
        state.slabs.iter().enumerate().find_map(|(number, slab)| {
            let base = slab.memory.as_ref()?.0.base().as_ptr() as usize;
            let offset = at.checked_sub(base)?.checked_sub(self.geometry.lead)?;
            let within = offset / self.geometry.object_size;
            let exact = offset % self.geometry.object_size == 0;
            (exact && within < self.geometry.per_segment)
                .then_some((number * self.geometry.per_segment + within) as u32)
        })
    }

    fn free_locked(&self, state: &mut State, index: u32) -> Result<(), FreeError> {
        if index as usize >= self.geometry.count() {
            return Err(FreeError::Foreign);
        }
        if !state.is_allocated(index) {
            return Err(FreeError::DoubleFree { index });
        }
        if self.zero_on_free
            && let Some(slot) = state.slot(&self.geometry, index)
        {
            // SAFETY: the object is allocated, so its memory exists, and the caller gave up
            // its use; it is `object_size` bytes long.
            unsafe { slot.ptr.write_bytes(0, self.geometry.object_size) };
        }
        state.mark(index, false);
        state.stats.frees += 1;
        state.stats.in_use -= 1;
        let number = self.geometry.split(index as usize).0;
        let slab = &mut state.slabs[number];
        let was_full = slab.free_head == NIL;
        state.next_free[index as usize] = slab.free_head;
        slab.free_head = index;
        slab.in_use -= 1;
        let empty = slab.in_use == 0;
        let spare = empty && self.keep_spare.load(Ordering::Relaxed) && state.spare.is_none();
        if !was_full && empty {
            state.unlink(number);
        }
        if was_full && !empty || spare {
            state.push_back(number);
        }
        match (empty, spare) {
            (true, true) => state.spare = Some(number),
            (true, false) => self.destroy_slab(state, number),
            _ => {}
        }
        Ok(())
    }

    fn create_slab(&self, state: &mut State) -> bool {
        let Some(number) =
            (state.vacant_hint..state.slabs.len()).find(|&n| state.slabs[n].memory.is_none())
        else {
            state.vacant_hint = state.slabs.len();
            return false;
        };
        if self.source.faults.hit(FaultPoint::Segment) {
            return false;
        }
        let Some(segment) = self.source.memory.alloc(self.geometry.segment_size, 4096) else {
            return false;
        };
        let dma = match &self.source.hooks {
            None => Ok(segment.dma()),
            Some(hooks) => hooks.map(&segment, number, self.source.direction),
        };
        let Ok(dma) = dma else {
            // SAFETY: the segment just came from this source and nothing refers to it.
            unsafe { self.source.memory.free(&segment) };
            return false;
        };
        let first = (number * self.geometry.per_segment) as u32;
        let last = first + self.geometry.per_segment as u32 - 1;
        for index in first..last {
            state.next_free[index as usize] = index + 1;
        }
        state.next_free[last as usize] = NIL;
        state.slabs[number].memory = Some((segment, dma));
        state.slabs[number].free_head = first;
        state.vacant_hint = number + 1;
        state.push_front(number);
        state.stats.creates += 1;
        state.stats.live_segments += 1;
        true
    }

    fn destroy_slab(&self, state: &mut State, number: usize) {
        let Some((segment, _)) = state.slabs[number].memory.take() else {
            return;
        };
        state.slabs[number].free_head = NIL;
        state.vacant_hint = state.vacant_hint.min(number);
        state.stats.destroys += 1;
        state.stats.live_segments -= 1;
        if let Some(hooks) = &self.source.hooks {
            hooks.unmap(&segment, number, self.source.direction);
        }
        // SAFETY: the segment came from this source, no object in it is allocated, and it was
        // taken out of the slab, so it is freed once.
        unsafe { self.source.memory.free(&segment) };
    }
}
