//! The pool: its caches, its shared handle, and how its life ends.
//!
//! [`Inner`] counts, in `live`, one reference for the set of handles and one for every object
//! that is out of the slabs. Packets on the hot path come from and go to magazines, so they do
//! not touch the count. When the last handle goes, the magazines are emptied and stay shut: what
//! is then still counted is with clients, their frees go to the slabs one by one, and the last
//! of them destroys the pool. Destroying a pool under a living packet cannot be expressed.
//!
//! Teardown order follows ownership: metadata and buflet caches hold the buffer caches, and the
//! context is the last field.

mod alloc;
mod audit;
pub(crate) mod chain;
pub(crate) mod free;
mod kinds;
mod lone;
mod maintain;
mod stats;
mod wait;

pub use alloc::{AllocError, Burst, BurstStatus};
#[cfg(feature = "audit")]
pub use audit::Holder;
pub use lone::{AppendBufletError, Buffer, LoneBuflet};
pub use maintain::UPDATE_MS;
pub use stats::PoolStats;

use crate::buffer::BufferKind;
use crate::buflet::{Extent, flag};
use crate::cache::{Cache, CacheParams, Returned, sizing};
use crate::config::{Checked, ConfigError, PoolConfig};
use crate::fault::Faults;
use crate::ledger::Shared;
use crate::packet::Packet;
use crate::platform::{DmaMemory, Platform};
use crate::queue::PacketQueue;
use crate::slab::{Slabs, Source};
use crate::sync::{AtomicBool, AtomicPtr, AtomicU64, AtomicUsize, Mutex, Ordering, fence};
use ::alloc::boxed::Box;
use ::alloc::sync::Arc;
use audit::Audit;
use core::fmt;
use core::ptr::NonNull;
use kinds::{BufletKind, MetaKind};
pub(crate) use stats::Counters;

/// A shared handle of a pool. Cloning it is cheap; the pool goes when the last handle and the
/// last packet are gone.
pub struct Pool {
    inner: NonNull<Inner>,
}

// SAFETY: `Inner` is made of caches and counters that any core may use.
unsafe impl Send for Pool {}
// SAFETY: as above.
unsafe impl Sync for Pool {}

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
    handles: AtomicUsize,
    live: Arc<AtomicUsize>,
    closed: AtomicBool,
    faults: Faults,
    /// Made by the first who asks for it.
    pub(crate) ledger: Mutex<Option<Arc<Shared>>>,
    last_update: AtomicU64,
    reaping: AtomicBool,
}

impl Pool {
    /// Builds a pool. Memory is taken later, segment by segment, as packets are needed.
    ///
    /// # Errors
    /// [`ConfigError`] names the setting that cannot be, or both sides of a conflict.
    pub fn new(
        config: PoolConfig,
        memory: &'static dyn DmaMemory,
        platform: &'static dyn Platform,
    ) -> Result<Self, ConfigError> {
        let config = config.check(platform)?;
        let inner = NonNull::from(Box::leak(Box::new(Inner::new(config, memory, platform))));
        // SAFETY: just leaked, shared with nobody.
        unsafe { inner.as_ref() }.adopt(inner);
        Ok(Self { inner })
    }

    #[inline(always)]
    pub(crate) fn inner(&self) -> &Inner {
        // SAFETY: a handle keeps the pool alive.
        unsafe { self.inner.as_ref() }
    }

    /// Name given at configuration.
    pub fn name(&self) -> &str {
        &self.inner().config.name
    }

    /// Bytes of a default buffer.
    pub fn buffer_size(&self) -> usize {
        self.inner().config.buffer_size
    }

    /// Bytes of a large buffer; `None` if there are none.
    pub fn large_size(&self) -> Option<usize> {
        self.inner().config.large_size
    }

    /// Longest chain.
    pub fn max_frags(&self) -> u16 {
        self.inner().config.max_frags
    }

    /// Whether buffers are attached on demand.
    pub fn is_on_demand(&self) -> bool {
        self.inner().config.on_demand
    }

    /// Gives back every packet of `queue` in one go; returns how many. Packets of other pools go
    /// to their own.
    #[inline]
    pub fn free_queue(&self, queue: &mut PacketQueue) -> usize {
        queue.clear()
    }

    /// Gives back every packet of an array, whose slots end empty; returns how many.
    pub fn free_array(&self, slots: &mut [Option<Packet>]) -> usize {
        slots
            .iter_mut()
            .filter_map(Option::take)
            .collect::<PacketQueue>()
            .clear()
    }

    /// Marks the pool closed: no new client may bind; what exists keeps working.
    /// Returns `false` if it was closed before.
    pub fn close(&self) -> bool {
        !self.inner().closed.swap(true, Ordering::Relaxed)
    }

    /// Whether [`Pool::close`] was called.
    pub fn is_closed(&self) -> bool {
        self.inner().closed.load(Ordering::Relaxed)
    }

    /// Another handle for a new client; `None` once the pool is closed.
    pub fn bind(&self) -> Option<Self> {
        (!self.is_closed()).then(|| self.clone())
    }

    /// Empties the magazines of all cores into the slabs and gives unused segments back.
    pub fn purge(&self) {
        self.inner().purge();
    }

    /// Counters of every layer.
    pub fn stats(&self) -> PoolStats {
        self.inner().stats()
    }
}

impl Clone for Pool {
    fn clone(&self) -> Self {
        self.inner().handles.fetch_add(1, Ordering::Relaxed);
        Self { inner: self.inner }
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        let inner = self.inner();
        if inner.handles.fetch_sub(1, Ordering::AcqRel) != 1 {
            return;
        }
        // Loans first: they are packets and buflets like any other.
        let ledger = inner.ledger.lock().take();
        if let Some(ledger) = ledger {
            ledger.purge(None);
        }
        let mut returned = inner.shut();
        returned += Returned(1);
        // SAFETY: the references counted are given up here, and `self` goes.
        unsafe { Inner::release(self.inner, returned) }
    }
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool")
            .field("name", &self.name())
            .finish_non_exhaustive()
    }
}

impl Inner {
    fn new(
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
            Slabs::new(geometry, source, read_only)
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
    fn adopt(&self, inner: NonNull<Inner>) {
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

    /// Whether magazines hold anything that a purge could free.
    fn has_cached(&self) -> bool {
        self.metas.has_cached()
            || [&self.buflets, &self.large_buflets]
                .into_iter()
                .flatten()
                .any(Cache::has_cached)
            || self.buffers.has_cached()
    }

    /// Exhausted: purges if that can help; `true` if it is worth another try.
    #[cold]
    fn reclaim(&self) -> bool {
        let worthwhile = self.has_cached();
        if worthwhile {
            self.purge();
        }
        worthwhile
    }

    /// Closes the magazine layers for good.
    fn shut(&self) -> Returned {
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

// The configuration sizes its regions by the capacity table.
pub(crate) use sizing::{initial as initial_capacity, largest as largest_capacity};
