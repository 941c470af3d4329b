//! Giving objects back in bursts: the core's section is entered once, and the giving loop
//! writes straight into the loaded magazine's free space.
//!
//! Called by the pool's free paths. Invariant: what was written to a [`Spare`] counts once the
//! giver that made it gets it back, and no sooner.

use super::core_slot::Section;
use super::magazine::Magazine;
use super::{Cache, Kind, Returned};
use crate::fault::FaultPoint;
use crate::sync::bump;
use core::ptr::NonNull;

/// Gives objects back in one go: the core's section is entered once.
pub(crate) struct Giver<'a, K: Kind> {
    cache: &'a Cache<K>,
    core: usize,
    section: Option<Section<'a, K::Object>>,
    pub(super) given: usize,
    returned: Returned,
}

/// The free space of the loaded magazine, kept by the giving loop in registers. What it wrote
/// counts when the giver gets it back.
pub(crate) struct Spare<T> {
    at: *mut NonNull<T>,
    end: *mut NonNull<T>,
}

impl<T> Clone for Spare<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Spare<T> {}

impl<T> Spare<T> {
    #[inline(always)]
    pub(crate) fn none() -> Self {
        Self {
            at: core::ptr::null_mut(),
            end: core::ptr::null_mut(),
        }
    }

    /// Whether `n` more objects fit.
    #[inline(always)]
    pub(crate) fn has_room(&self, n: usize) -> bool {
        self.at as usize + n * size_of::<NonNull<T>>() <= self.end as usize
    }

    /// Writes `object`; `false` if there is no room.
    #[inline(always)]
    pub(crate) fn put(&mut self, object: NonNull<T>) -> bool {
        let room = self.at != self.end;
        if room {
            // SAFETY: there is room.
            unsafe { self.put_unchecked(object) };
        }
        room
    }

    /// Writes as many of `objects` as there is room for; returns the others.
    #[inline(always)]
    pub(crate) fn put_run<'a>(&mut self, objects: &'a [NonNull<T>]) -> &'a [NonNull<T>] {
        let room = (self.end as usize - self.at as usize) / size_of::<NonNull<T>>();
        let (run, rest) = objects.split_at(room.min(objects.len()));
        // SAFETY: there is room for the run, in a magazine that only the giver's section uses.
        unsafe {
            core::ptr::copy_nonoverlapping(run.as_ptr(), self.at, run.len());
            self.at = self.at.add(run.len());
        }
        rest
    }

    /// Writes `object`.
    ///
    /// # Safety
    /// There is room for it.
    #[inline(always)]
    pub(crate) unsafe fn put_unchecked(&mut self, object: NonNull<T>) {
        // SAFETY: `at` lies before the end of the loaded magazine's spare part, which the
        // giver's section keeps for us.
        unsafe {
            self.at.write(object);
            self.at = self.at.add(1);
        }
    }
}

impl<'a, K: Kind> Giver<'a, K> {
    /// A giver inside `section`, if the core's slot let it in.
    #[inline(always)]
    pub(super) fn new(
        cache: &'a Cache<K>,
        core: usize,
        section: Option<Section<'a, K::Object>>,
    ) -> Self {
        Self {
            cache,
            core,
            section,
            given: 0,
            returned: Returned(0),
        }
    }

    /// The room there is; nothing outside a section.
    #[inline(always)]
    pub(crate) fn spare(&mut self) -> Spare<K::Object> {
        match &mut self.section {
            Some(section) => {
                let (at, end) = section.loaded.spare();
                Spare { at, end }
            }
            None => Spare::none(),
        }
    }

    /// Gives `object` back, constructed.
    #[inline(always)]
    pub(crate) fn give(&mut self, spare: &mut Spare<K::Object>, object: NonNull<K::Object>) {
        if !spare.put(object) {
            *spare = self.give_slow(*spare, object);
        }
    }

    /// Counts what was written to `spare`, which is void from then on.
    #[inline(always)]
    fn commit(&mut self, spare: Spare<K::Object>) {
        if let Some(section) = &mut self.section
            && !spare.at.is_null()
        {
            // SAFETY: `spare` came from this magazine, whose rounds nobody else touched since,
            // and `put` wrote everything up to `at`.
            self.given += unsafe { section.loaded.commit(spare.at) };
        }
    }

    /// Leaves the section for a while, so that other code may use the pool on this core.
    #[cold]
    pub(crate) fn pause(&mut self, spare: &mut Spare<K::Object>) {
        self.commit(*spare);
        *spare = Spare::none();
        self.section = None;
    }

    /// Leaves the section. Counters come first: if everything went into magazines, leaving is
    /// the last touch of a pool that may be gone the next moment.
    #[inline(always)]
    pub(crate) fn finish(mut self, spare: Spare<K::Object>) -> Returned {
        self.commit(spare);
        bump(&self.cache.cores[self.core].frees, self.given);
        drop(self.section);
        self.returned
    }

    #[cold]
    #[inline(never)]
    pub(super) fn give_slow(
        &mut self,
        spare: Spare<K::Object>,
        object: NonNull<K::Object>,
    ) -> Spare<K::Object> {
        self.commit(spare);
        self.given += 1;
        if self.section.is_none() {
            self.section = self.cache.cores[self.core].enter();
        }
        loop {
            if let Some(section) = &mut self.section
                && section.loaded.push(object)
            {
                break;
            }
            if !self.make_room() {
                self.section = None;
                self.returned += self.cache.unmake(self.core, object);
                break;
            }
        }
        self.spare()
    }

    /// Puts a magazine with room in `loaded`; `false` if only the slab is left.
    fn make_room(&mut self) -> bool {
        let Some(section) = &mut self.section else {
            return false;
        };
        let pair = &mut **section;
        if pair.previous.exists() && pair.previous.is_empty() {
            core::mem::swap(&mut pair.loaded, &mut pair.previous);
            return true;
        }
        let mut depot = self.cache.lock_depot();
        if let Some(empty) = depot.empty.pop() {
            let full = core::mem::replace(
                &mut pair.previous,
                core::mem::replace(&mut pair.loaded, empty),
            );
            if full.exists() {
                depot.full.push(full);
            }
            depot.exchanges += 1;
            return true;
        }
        drop(depot);
        self.add_empty()
    }

    /// Allocates an empty magazine, outside the section, and puts it in the depot.
    fn add_empty(&mut self) -> bool {
        self.section = None;
        let capacity = self.cache.capacity();
        let refused = capacity == 0 || self.cache.params.faults.hit(FaultPoint::Magazine);
        let magazine = if refused {
            None
        } else {
            Magazine::with_capacity(capacity)
        };
        self.section = self.cache.cores[self.core].enter();
        match (magazine, &self.section) {
            // Inside the section no resize runs, so the capacity holds still.
            (Some(m), Some(_)) if self.cache.capacity() == capacity => {
                self.cache.lock_depot().empty.push(m);
                true
            }
            _ => false,
        }
    }
}
