//! Housekeeping on an injected clock, and giving memory back.
#![forbid(unsafe_code)]

use super::{Inner, Pool};
use crate::cache::Returned;
use crate::sync::Ordering;

/// Working sets are updated, and resizes decided, this often.
pub const UPDATE_MS: u64 = 11_000;

impl Pool {
    /// Call now and then with the uptime in milliseconds: every 11 s this updates the working
    /// sets, reaps what lies outside them, and lets contended magazines grow. `true` if it did.
    pub fn maintain(&self, now_ms: u64) -> bool {
        let inner = self.inner();
        let last = inner.last_update.load(Ordering::Relaxed);
        let due = now_ms.saturating_sub(last) >= UPDATE_MS;
        let mine = due
            && inner
                .last_update
                .compare_exchange(last, now_ms, Ordering::Relaxed, Ordering::Relaxed)
                .is_ok();
        if mine {
            inner.each_cache(|update| update.update());
        }
        mine
    }

    /// Gives memory back: with `purge` every cached object, else the depots and this core's
    /// previous magazines.
    pub fn reap(&self, purge: bool) {
        self.inner().each_cache(|cache| cache.reap_now(purge));
    }

    /// The machine is short of memory: purges, unless an episode is running already.
    pub fn memory_pressure(&self) {
        let inner = self.inner();
        if !inner.reaping.swap(true, Ordering::Acquire) {
            self.reap(true);
            inner.reaping.store(false, Ordering::Release);
        }
    }

    /// Adds depot contention as if other cores had held the lock.
    #[cfg(feature = "test-utils")]
    pub fn pretend_contention(&self, times: u64) {
        self.inner().each_cache(|cache| {
            cache.pretend_contention(times);
            Returned(0)
        });
    }
}

/// One cache of a pool, whatever it holds.
pub(crate) trait Keeper {
    fn update(&self) -> Returned;
    fn reap_now(&self, purge: bool) -> Returned;
    #[cfg(feature = "test-utils")]
    fn pretend_contention(&self, times: u64);
}

struct OnCore<'a, K: crate::cache::Kind>(&'a crate::cache::Cache<K>, usize);

impl<K: crate::cache::Kind> Keeper for OnCore<'_, K> {
    fn update(&self) -> Returned {
        let mut returned = self.0.update(self.1);
        returned += self.0.reap(self.1);
        returned
    }
    fn reap_now(&self, purge: bool) -> Returned {
        self.0.reap_now(self.1, purge)
    }
    #[cfg(feature = "test-utils")]
    fn pretend_contention(&self, times: u64) {
        self.0.pretend_contention(times);
    }
}

impl Inner {
    /// Runs `f` on every cache: metadata and buflets before the buffers they give back.
    fn each_cache(&self, f: impl Fn(&dyn Keeper) -> Returned) {
        let core = self.core();
        self.return_some(f(&OnCore(&self.metas, core)));
        for cache in [&self.buflets, &self.large_buflets].into_iter().flatten() {
            self.return_some(f(&OnCore(cache, core)));
        }
        self.return_some(f(&OnCore(&*self.buffers, core)));
        if let Some(cache) = &self.large_buffers {
            self.return_some(f(&OnCore(&**cache, core)));
        }
    }
}
