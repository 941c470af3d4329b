//! The object cache: per-core magazines in front of a depot in front of slabs (Bonwick and
//! Adams' design).
//!
//! *Take:* pop from the loaded magazine; else swap it with a full previous one; else exchange
//! an empty for a full one at the depot; else allocate from the slab and construct.
//! *Give:* push on the loaded magazine; else swap with an empty previous one; else exchange a
//! full for an empty one at the depot; else allocate an empty magazine; else destruct to the slab.
//! Constructors run only from slab to use and destructors only from use to slab: what sits in a
//! magazine is constructed. Capacity 0 turns the magazine layer off.
//!
//! Called by [`crate::pool`]. Invariant: an object is in exactly one place: slab, one magazine,
//! or with a client. Every object out of the slabs holds one reference on the pool
//! ([`Returned`]); the caller gives those back as its very last touch.

pub(crate) mod core_slot;
pub(crate) mod depot;
mod giver;
pub(crate) mod magazine;
mod reclaim;
pub(crate) mod sizing;

use crate::fault::Faults;
use crate::platform::Platform;
use crate::slab::{Slabs, Slot};
use crate::sync::{AtomicU64, AtomicUsize, Mutex, MutexGuard, Ordering, bump};
use alloc::boxed::Box;
use alloc::sync::Arc;
use core::ptr::NonNull;
use core_slot::{CoreSlot, Section};
use depot::Depot;
pub(crate) use giver::{Giver, Spare};
pub use reclaim::CacheStats;

/// The slab layer had no object, or a constructor failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct NoMemory;

/// References on the pool that went back to the slabs and are still to be released.
#[derive(Clone, Copy, Debug, Default)]
#[must_use = "the pool's reference count must be told"]
pub(crate) struct Returned(pub(crate) usize);

impl core::ops::AddAssign for Returned {
    fn add_assign(&mut self, other: Self) {
        self.0 += other.0;
    }
}

/// What a cache holds and how it is made.
pub(crate) trait Kind: Send + Sync {
    /// What clients get a pointer to.
    type Object;

    /// Makes an object in a raw slot; on failure the slot is raw again.
    fn construct(&self, slot: Slot, core: usize) -> Result<NonNull<Self::Object>, NoMemory>;

    /// Unmakes an object; returns its slot's index and the references that nested frees returned.
    ///
    /// # Safety
    /// `object` came from [`Kind::construct`] and nothing uses it any more.
    unsafe fn destruct(&self, object: NonNull<Self::Object>, core: usize) -> (u32, Returned);

    /// Makes an object without what its constructor would attach; the caller attaches that.
    /// A kind that has nothing to attach just constructs.
    fn construct_bare(&self, slot: Slot, core: usize) -> Result<NonNull<Self::Object>, NoMemory> {
        self.construct(slot, core)
    }
}

/// How a cache is set up.
pub(crate) struct CacheParams {
    /// First magazine capacity; 0 = no magazines.
    pub(crate) capacity: usize,
    /// Capacity grows under contention.
    pub(crate) dynamic: bool,
    /// A non-purging reap purges as well.
    pub(crate) aggressive: bool,
    /// Counts objects out of the slabs, over all caches of a pool.
    pub(crate) live: Arc<AtomicUsize>,
    pub(crate) faults: Faults,
    pub(crate) platform: &'static dyn Platform,
}

/// A cache of constructed objects.
pub(crate) struct Cache<K: Kind> {
    cores: Box<[CoreSlot<K::Object>]>,
    depot: Mutex<Depot<K::Object>>,
    capacity: AtomicUsize,
    pub(crate) kind: K,
    pub(crate) slabs: Slabs,
    params: CacheParams,
    /// Held by the one purge or resize that runs.
    control: Mutex<reclaim::Control>,
    contention: AtomicU64,
    failures: AtomicU64,
}

impl<K: Kind> Cache<K> {
    pub(crate) fn new(kind: K, slabs: Slabs, params: CacheParams) -> Self {
        let heavy = !params.platform.barrier_all_cores();
        let room = match params.capacity {
            0 => 0,
            n => slabs.geometry().count() / n + 2,
        };
        Self {
            cores: (0..params.platform.cores())
                .map(|_| CoreSlot::new(heavy))
                .collect(),
            depot: Mutex::new(Depot::new(room)),
            capacity: AtomicUsize::new(params.capacity),
            kind,
            slabs,
            control: Mutex::new(reclaim::Control::default()),
            contention: AtomicU64::new(0),
            failures: AtomicU64::new(0),
            params,
        }
    }

    /// Takes up to `n` objects and hands them to `f` in runs, to be used last to first (the
    /// youngest object is the warmest); returns how many there were. `f` must not use this cache. When even the slabs are empty, `exhausted` is asked once whether it made
    /// another try worthwhile.
    #[inline]
    pub(crate) fn take(
        &self,
        core: usize,
        n: usize,
        exhausted: impl Fn() -> bool,
        mut f: impl FnMut(&[NonNull<K::Object>]),
    ) -> usize {
        let slot = &self.cores[core];
        let mut got = 0;
        if let Some(mut section) = slot.enter() {
            loop {
                let run = section.loaded.len().min(n - got);
                section.loaded.pop_run(run, &mut f);
                got += run;
                if got == n || !self.reload(&mut section) {
                    break;
                }
            }
        }
        bump(&slot.allocs, got);
        let mut retried = false;
        while got < n {
            if let Some(object) = self.make(core) {
                f(&[object]);
                got += 1;
                bump(&slot.allocs, 1);
            } else if retried || !exhausted() {
                break;
            } else {
                retried = true;
            }
        }
        got
    }

    /// Takes one object.
    #[inline(always)]
    pub(crate) fn take_one(
        &self,
        core: usize,
        exhausted: impl Fn() -> bool,
    ) -> Option<NonNull<K::Object>> {
        let slot = &self.cores[core];
        let mut object = None;
        if let Some(mut section) = slot.enter() {
            object = section.loaded.pop();
        }
        if object.is_none() {
            object = self.take_one_slow(core, exhausted);
        }
        bump(&slot.allocs, usize::from(object.is_some()));
        object
    }

    #[cold]
    #[inline(never)]
    fn take_one_slow(
        &self,
        core: usize,
        exhausted: impl Fn() -> bool,
    ) -> Option<NonNull<K::Object>> {
        if let Some(mut section) = self.cores[core].enter()
            && self.reload(&mut section)
            && let Some(object) = section.loaded.pop()
        {
            return Some(object);
        }
        let object = self.make(core);
        if object.is_none() && exhausted() {
            return self.make(core);
        }
        object
    }

    /// Starts giving objects back.
    #[inline(always)]
    pub(crate) fn giver(&self, core: usize) -> Giver<'_, K> {
        let section = self.cores[core].enter();
        Giver::new(self, core, section)
    }

    /// Gives one object back.
    #[inline]
    pub(crate) fn give_one(&self, core: usize, object: NonNull<K::Object>) -> Returned {
        let slot = &self.cores[core];
        bump(&slot.frees, 1);
        if let Some(mut section) = slot.enter()
            && section.loaded.push(object)
        {
            return Returned(0);
        }
        self.give_one_slow(core, object)
    }

    #[cold]
    #[inline(never)]
    fn give_one_slow(&self, core: usize, object: NonNull<K::Object>) -> Returned {
        let mut giver = self.giver(core);
        giver.give_slow(Spare::none(), object);
        giver.given = 0;
        giver.finish(Spare::none())
    }

    /// Destructs one object straight to the slab, past the magazines.
    pub(crate) fn give_uncached(&self, core: usize, object: NonNull<K::Object>) -> Returned {
        bump(&self.cores[core].frees, 1);
        self.unmake(core, object)
    }

    /// Refills `loaded`, which is empty: from `previous`, else from the depot.
    #[cold]
    #[inline(never)]
    fn reload(&self, section: &mut Section<'_, K::Object>) -> bool {
        let pair = &mut **section;
        if !pair.previous.is_empty() {
            core::mem::swap(&mut pair.loaded, &mut pair.previous);
            return true;
        }
        if !pair.loaded.exists() && !pair.previous.exists() && self.capacity() == 0 {
            return false;
        }
        let mut depot = self.lock_depot();
        let Some(full) = depot.full.pop() else {
            return false;
        };
        let empty = core::mem::replace(
            &mut pair.previous,
            core::mem::replace(&mut pair.loaded, full),
        );
        if empty.exists() {
            depot.empty.push(empty);
        }
        depot.exchanges += 1;
        true
    }

    /// Slab to use.
    #[cold]
    #[inline(never)]
    fn make(&self, core: usize) -> Option<NonNull<K::Object>> {
        self.make_with(|slot| self.kind.construct(slot, core))
    }

    /// Slab to use, past the magazines: the object is bare, its user attaches the rest.
    #[cold]
    pub(crate) fn make_bare(&self, core: usize) -> Option<NonNull<K::Object>> {
        let made = self.make_with(|slot| self.kind.construct_bare(slot, core));
        bump(&self.cores[core].allocs, usize::from(made.is_some()));
        made
    }

    fn make_with(
        &self,
        construct: impl FnOnce(Slot) -> Result<NonNull<K::Object>, NoMemory>,
    ) -> Option<NonNull<K::Object>> {
        let made = self.slabs.alloc().and_then(|slot| match construct(slot) {
            Ok(object) => Some(object),
            Err(NoMemory) => {
                let freed = self.slabs.free(slot.index);
                debug_assert!(freed.is_ok(), "raw slot refused: {freed:?}");
                None
            }
        });
        match made {
            Some(_) => _ = self.params.live.fetch_add(1, Ordering::Relaxed),
            None => _ = self.failures.fetch_add(1, Ordering::Relaxed),
        }
        made
    }

    /// Use to slab.
    #[cold]
    #[inline(never)]
    fn unmake(&self, core: usize, object: NonNull<K::Object>) -> Returned {
        // SAFETY: objects of this cache were made by its kind, and the giver gave up its use.
        let (index, mut returned) = unsafe { self.kind.destruct(object, core) };
        match self.slabs.free(index) {
            Ok(()) => returned += Returned(1),
            // The object is lost on purpose: handing it out again could alias a live one. The
            // slab counted it.
            Err(e) => debug_assert!(false, "corrupt object given back: {e:?}"),
        }
        returned
    }

    /// The magazine capacity now.
    pub(crate) fn capacity(&self) -> usize {
        self.capacity.load(Ordering::Relaxed)
    }

    /// Whether magazines hold anything; exact while no other core is at work.
    pub(crate) fn has_cached(&self) -> bool {
        let out = self.cores.iter().fold(0u64, |sum, c| {
            let (frees, allocs) = (
                c.frees.load(Ordering::Relaxed),
                c.allocs.load(Ordering::Relaxed),
            );
            sum.wrapping_add(allocs).wrapping_sub(frees)
        });
        self.slabs.stats().in_use as u64 != out
    }

    fn lock_depot(&self) -> MutexGuard<'_, Depot<K::Object>> {
        if let Some(depot) = self.depot.try_lock() {
            return depot;
        }
        if self.params.dynamic {
            self.contention.fetch_add(1, Ordering::Relaxed);
        }
        self.depot.lock()
    }
}
