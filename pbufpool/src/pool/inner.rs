//! The pool behind its handles: how it is put together, reclaims, and ends.

use super::Counters;
use super::audit::Audit;
use super::kinds::{BufletKind, MetaKind};
use crate::buffer::BufferKind;
use crate::buflet::{Extent, flag};
use crate::cache::{Cache, CacheParams, Kind, Returned};
use crate::config::Checked;
use crate::fault::Faults;
use crate::ledger::Shared;
use crate::platform::{DmaMemory, Platform};
use crate::slab::{Slabs, Source};
use crate::sync::{AtomicBool, AtomicPtr, AtomicU64, AtomicUsize, Mutex, Ordering, fence};
use ::alloc::boxed::Box;
use ::alloc::sync::Arc;
use core::ptr::NonNull;

/// The pool itself.
pub(crate) struct Inner {
    pub(crate) metas: Cache<MetaKind>,
    pub(crate) buflets: Option<Cache<BufletKind>>,
    pub(crate) large_buflets: Option<Cache<BufletKind>>,
    pub(crate) buffers: Arc<Cache<BufferKind>>,
    pub(crate) large_buffers: Option<Arc<Cache<BufferKind>>>,
    pub(crate) platform: &'static dyn Platform,
    /// What a fresh packet's embedded buflet gets; the count is filled in.
    pub(crate) fresh_packet: Extent,
    pub(crate) fresh_buflet: Extent,
    pub(crate) fresh_large: Extent,
    pub(crate) config: Checked,
    pub(crate) counters: Counters,
    pub(crate) audit: Audit,
    pub(super) handles: AtomicUsize,
    live: Arc<AtomicUsize>,
    pub(super) closed: AtomicBool,
    pub(super) faults: Faults,
    /// Made by the first who asks for it.
    pub(crate) ledger: Mutex<Option<Arc<Shared>>>,
    pub(super) last_update: AtomicU64,
    pub(super) reaping: AtomicBool,
}

impl Inner {
    pub(super) fn new(
        config: Checked,
        memory: &'static dyn DmaMemory,
        platform: &'static dyn Platform,
    ) -> Self {
        let live = Arc::new(AtomicUsize::new(1));
        let faults = config.faults(platform);
        let slabs = |geometry, hooks, read_only| {
            let source = Source {
                memory,
                hooks,
                direction: config.direction,
                faults: faults.clone(),
            };
            let slabs = Slabs::new(geometry, source, read_only);
            slabs.keep_spare(config.spare_segments);
            slabs
        };
        let params = |magazines, size, aggressive| CacheParams {
            capacity: config.capacity(magazines, size),
            dynamic: config.dynamic,
            aggressive,
            live: live.clone(),
            faults: faults.clone(),
            platform,
        };
        let g = &config.geometry;
        let buffer_cache = |geometry: crate::region::Geometry, limit, large, magazines| {
            let kind = BufferKind::new(geometry.count(), limit, large, faults.clone());
            let slabs = slabs(geometry, config.hooks.clone(), config.cpu_read_only);
            Arc::new(Cache::new(
                kind,
                slabs,
                params(magazines, geometry.object_size, false),
            ))
        };
        let buffers = buffer_cache(g.buffers, config.buffer_size, false, config.striding);
        let large_buffers = g
            .large
            .map(|l| buffer_cache(l, config.large_size.unwrap_or(0), true, false));
        let buflet_cache =
            |geometry: crate::region::Geometry, from: &Arc<Cache<BufferKind>>, large| {
                let kind = BufletKind {
                    pool: AtomicPtr::new(core::ptr::null_mut()),
                    buffers: from.clone(),
                    flags: config.buflet_flags(),
                    faults: faults.clone(),
                };
                let size = geometry.object_size;
                Cache::new(
                    kind,
                    slabs(geometry, None, false),
                    params(config.magazines, size, large),
                )
            };
        let metas = MetaKind {
            pool: AtomicPtr::new(core::ptr::null_mut()),
            buffers: (!config.on_demand).then(|| buffers.clone()),
            flags: config.buflet_flags(),
            faults: faults.clone(),
            sub_objects: config.sub_objects.clone(),
        };
        let kernel_only = if config.kernel_only {
            flag::KERNEL_ONLY
        } else {
            0
        };
        let own = if config.on_demand {
            0
        } else {
            config.buffer_size
        };
        let external = config.buflet_flags() | flag::EXTERNAL;
        Self {
            fresh_packet: Extent::fresh(own, config.buflet_flags() | kernel_only, 0),
            fresh_buflet: Extent::fresh(config.buffer_size, external, 0),
            fresh_large: Extent::fresh(config.large_size.unwrap_or(0), external | flag::LARGE, 0),
            metas: Cache::new(
                metas,
                slabs(g.metas, None, false),
                params(config.magazines, g.metas.object_size, false),
            ),
            buflets: g.buflets.map(|b| buflet_cache(b, &buffers, false)),
            large_buflets: g.large_buflets.and_then(|b| {
                large_buffers
                    .as_ref()
                    .map(|from| buflet_cache(b, from, true))
            }),
            buffers,
            large_buffers,
            platform,
            counters: Counters::default(),
            audit: Audit::new(g.metas.count()),
            handles: AtomicUsize::new(1),
            live: live.clone(),
            closed: AtomicBool::new(false),
            ledger: Mutex::new(None),
            last_update: AtomicU64::new(platform.uptime_ms()),
            reaping: AtomicBool::new(false),
            config,
            faults,
        }
    }

    /// Tells the constructors where the pool lies.
    pub(super) fn adopt(&self, inner: NonNull<Inner>) {
        self.metas
            .kind
            .pool
            .store(inner.as_ptr(), Ordering::Release);
        for cache in [&self.buflets, &self.large_buflets].into_iter().flatten() {
            cache.kind.pool.store(inner.as_ptr(), Ordering::Release);
        }
    }

    /// The core that runs.
    #[inline(always)]
    pub(crate) fn core(&self) -> usize {
        self.platform.core_id()
    }

    /// The cache for default or large buflets; a regular pool has neither.
    pub(crate) fn buflet_cache(&self, large: bool) -> Option<&Cache<BufletKind>> {
        if large {
            self.large_buflets.as_ref()
        } else {
            self.buflets.as_ref()
        }
    }

    /// The cache that a buffer came from.
    pub(crate) fn buffer_cache(&self, large: bool) -> &Cache<BufferKind> {
        match (large, &self.large_buffers) {
            (true, Some(cache)) => cache,
            _ => &self.buffers,
        }
    }

    /// Purges every cache attached to a region, since buffers also hide in the magazines of
    /// metadata and buflets. The caller holds a reference, so the pool stays.
    pub(crate) fn purge(&self) {
        let core = self.core();
        let mut returned = self.metas.purge(core).unwrap_or_default();
        for cache in [&self.buflets, &self.large_buflets].into_iter().flatten() {
            returned += cache.purge(core).unwrap_or_default();
        }
        returned += self.buffers.purge(core).unwrap_or_default();
        if let Some(cache) = &self.large_buffers {
            returned += cache.purge(core).unwrap_or_default();
        }
        self.return_some(returned);
    }

    /// No metadata: purges the caches that share its region's memory, if they hold anything.
    /// `true` if another try is worthwhile. A pool that is simply used up is not purged again
    /// and again: there is nothing cached then.
    #[cold]
    #[inline(never)]
    pub(super) fn reclaim_packets(&self) -> bool {
        let packets = self.purge_if_cached(&self.metas);
        let buffers = !self.config.on_demand && self.purge_if_cached(&self.buffers);
        packets || buffers
    }

    /// No buflet, or no buffer: the same for the caches whose magazines hold such buffers.
    #[cold]
    #[inline(never)]
    pub(super) fn reclaim_buffers(&self, large: bool) -> bool {
        let buflets = self
            .buflet_cache(large)
            .is_some_and(|c| self.purge_if_cached(c));
        let buffers = self.purge_if_cached(self.buffer_cache(large));
        buflets || buffers
    }

    fn purge_if_cached<K: Kind>(&self, cache: &Cache<K>) -> bool {
        let cached = cache.has_cached();
        if cached {
            self.return_some(cache.purge(self.core()).unwrap_or_default());
        }
        cache.slabs.release_spare() || cached
    }

    /// Closes the magazine layers for good.
    pub(super) fn shut(&self) -> Returned {
        let core = self.core();
        let mut returned = self.metas.close(core);
        for cache in [&self.buflets, &self.large_buflets].into_iter().flatten() {
            returned += cache.close(core);
        }
        returned += self.buffers.close(core);
        if let Some(cache) = &self.large_buffers {
            returned += cache.close(core);
        }
        returned
    }

    /// Gives references back while the caller holds another one.
    pub(crate) fn return_some(&self, returned: Returned) {
        if returned.0 != 0 {
            let before = self.live.fetch_sub(returned.0, Ordering::Release);
            debug_assert!(before > returned.0, "pool released under its user");
        }
    }

    /// Gives references back; the last one destroys the pool.
    ///
    /// # Safety
    /// The caller held these references and touches the pool no more.
    #[inline(always)]
    pub(crate) unsafe fn release(this: NonNull<Inner>, returned: Returned) {
        if returned.0 != 0 {
            // SAFETY: the references that are being returned keep the pool alive up to here.
            unsafe { Self::release_some(this, returned) }
        }
    }

    #[cold]
    unsafe fn release_some(this: NonNull<Inner>, returned: Returned) {
        // SAFETY: as the caller promises.
        let live = unsafe { &this.as_ref().live };
        if live.fetch_sub(returned.0, Ordering::Release) == returned.0 {
            fence(Ordering::Acquire);
            // SAFETY: no handle, and every object is back in its slab: nobody has a pointer.
            drop(unsafe { Box::from_raw(this.as_ptr()) });
        }
    }
}
