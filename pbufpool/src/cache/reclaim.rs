//! Taking objects back from the magazines: purge, reap, resize, and the counters.
//!
//! Callers hold no section. One purge or resize runs at a time (`control`); a second one
//! returns at once.

use super::core_slot::Pair;
use super::magazine::Magazine;
use super::{Cache, Kind, Returned, sizing};
use crate::slab::SlabStats;
use crate::sync::{Ordering, fence};

/// State of the rare operations.
#[derive(Default)]
pub(crate) struct Control {
    purges: u64,
    resizes: u64,
    reaps: u64,
    /// Contention count at the last update.
    contention_then: u64,
    /// The last update resized: the next one decides nothing.
    skip: bool,
    /// The slots stay shut: the pool is going away.
    closed: bool,
}

/// Counters of one cache.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CacheStats {
    /// Objects the region can hold.
    pub objects: usize,
    /// Objects with clients.
    pub in_use: usize,
    /// Constructed objects in magazines.
    pub cached: usize,
    /// Objects ever taken.
    pub allocs: u64,
    /// Objects ever given back.
    pub frees: u64,
    /// Takes served from magazines.
    pub magazine_hits: u64,
    /// Magazine capacity now.
    pub capacity: usize,
    /// Full magazines in the depot.
    pub depot_full: usize,
    /// Empty magazines in the depot.
    pub depot_empty: usize,
    /// Magazines exchanged with the depot.
    pub depot_exchanges: u64,
    /// Times the depot lock was held by another core.
    pub contention: u64,
    /// Capacity steps taken.
    pub resizes: u64,
    /// Purges run.
    pub purges: u64,
    /// Reaps run.
    pub reaps: u64,
    /// Objects that could not be made.
    pub failures: u64,
    /// The slab layer.
    pub slab: SlabStats,
}

impl<K: Kind> Cache<K> {
    /// Empties every magazine to the slabs. `None`: a purge or resize is running already.
    pub(crate) fn purge(&self, core: usize) -> Option<Returned> {
        let mut control = self.control.try_lock()?;
        control.purges += 1;
        let returned = self.drain(core, |_| {});
        self.slabs.release_spare();
        self.reopen(&control);
        Some(returned)
    }

    /// Empties every magazine and keeps the magazine layer shut for good.
    pub(crate) fn close(&self, core: usize) -> Returned {
        let mut control = self.control.lock();
        control.closed = true;
        self.slabs.keep_spare(false);
        self.drain(core, |_| {})
    }

    /// Gives memory back: with `purge`, or in an aggressive cache, everything; else the whole
    /// depot and this core's previous magazine, while loaded magazines stay.
    pub(crate) fn reap_now(&self, core: usize, purge: bool) -> Returned {
        if purge || self.params.aggressive {
            return self.purge(core).unwrap_or_default();
        }
        let mut depot = self.depot.lock();
        depot.full.zero_working_set();
        depot.empty.zero_working_set();
        drop(depot);
        let mut returned = self.reap(core);
        let previous = self.cores[core]
            .enter()
            .map(|mut s| core::mem::replace(&mut s.previous, Magazine::none()));
        returned += self.empty_magazine(core, previous.unwrap_or(Magazine::none()));
        self.slabs.release_spare();
        returned
    }

    /// Frees the magazines outside the working set.
    pub(crate) fn reap(&self, core: usize) -> Returned {
        let mut depot = self.depot.lock();
        let full = depot.full.reap();
        drop(depot.empty.reap());
        drop(depot);
        self.control.lock().reaps += 1;
        let mut returned = Returned(0);
        for magazine in full {
            returned += self.empty_magazine(core, magazine);
        }
        returned
    }

    /// One update interval is over: moves the working-set marks, and raises the capacity one
    /// step if the depot lock was contended more than three times. Returns at once if a purge
    /// or resize runs.
    pub(crate) fn update(&self, core: usize) -> Returned {
        let mut depot = self.depot.lock();
        depot.full.update();
        depot.empty.update();
        drop(depot);
        let Some(mut control) = self.control.try_lock() else {
            return Returned(0);
        };
        let contention = self.contention.load(Ordering::Relaxed);
        let grew = contention - control.contention_then;
        control.contention_then = contention;
        if core::mem::take(&mut control.skip) || !self.params.dynamic || grew <= 3 {
            return Returned(0);
        }
        let size = self.slabs.geometry().object_size;
        let Some(next) = sizing::next(self.capacity(), size) else {
            return Returned(0);
        };
        let returned = self.drain(core, |cache| cache.capacity.store(next, Ordering::Relaxed));
        control.resizes += 1;
        control.skip = true;
        self.reopen(&control);
        returned
    }

    /// Adds contention as if the depot lock had been found held, for tests of resizing.
    #[cfg(feature = "test-utils")]
    pub(crate) fn pretend_contention(&self, times: u64) {
        if self.params.dynamic {
            self.contention.fetch_add(times, Ordering::Relaxed);
        }
    }

    /// A snapshot; exact while no other core is at work.
    pub(crate) fn stats(&self) -> CacheStats {
        let sum = |f: fn(&super::CoreSlot<K::Object>) -> u64| {
            self.cores.iter().map(f).fold(0u64, u64::wrapping_add)
        };
        let frees = sum(|c| c.frees.load(Ordering::Relaxed));
        let allocs = sum(|c| c.allocs.load(Ordering::Relaxed));
        let in_use = allocs.saturating_sub(frees) as usize;
        let slab = self.slabs.stats();
        let failures = self.failures.load(Ordering::Relaxed);
        let made = slab
            .allocs
            .saturating_sub(failures.saturating_sub(slab.failures));
        let depot = self.depot.lock();
        let (depot_full, depot_empty) = (depot.full.len(), depot.empty.len());
        let depot_exchanges = depot.exchanges;
        drop(depot);
        let control = self.control.lock();
        CacheStats {
            objects: self.slabs.geometry().count(),
            in_use,
            cached: slab.in_use.saturating_sub(in_use),
            allocs,
            frees,
            magazine_hits: allocs.saturating_sub(made),
            capacity: self.capacity(),
            depot_full,
            depot_empty,
            depot_exchanges,
            contention: self.contention.load(Ordering::Relaxed),
            resizes: control.resizes,
            purges: control.purges,
            reaps: control.reaps,
            failures,
            slab,
        }
    }

    /// Shuts every core out, empties all magazines and runs `while_shut`. The caller holds
    /// `control`.
    fn drain(&self, core: usize, while_shut: impl FnOnce(&Self)) -> Returned {
        self.cores.iter().for_each(super::CoreSlot::shut);
        if !self.params.platform.barrier_all_cores() {
            // The owners execute a fence of their own in this case: this is its counterpart.
            fence(Ordering::SeqCst);
        }
        let mut returned = Returned(0);
        for slot in &self.cores {
            // SAFETY: every slot is shut, the barrier ran, the caller holds `control` and is in
            // no section.
            let Pair { loaded, previous } = unsafe { slot.take_pair() };
            returned += self.empty_magazine(core, loaded);
            returned += self.empty_magazine(core, previous);
        }
        let mut depot = self.depot.lock();
        let full = depot.full.take_all();
        drop(depot.empty.take_all());
        drop(depot);
        for magazine in full {
            returned += self.empty_magazine(core, magazine);
        }
        while_shut(self);
        returned
    }

    fn reopen(&self, control: &Control) {
        if !control.closed {
            self.cores.iter().for_each(super::CoreSlot::open);
        }
    }

    fn empty_magazine(&self, core: usize, mut magazine: Magazine<K::Object>) -> Returned {
        let mut returned = Returned(0);
        while let Some(object) = magazine.pop() {
            returned += self.unmake(core, object);
        }
        returned
    }
}
