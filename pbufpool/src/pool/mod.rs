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
mod batch;
pub(crate) mod chain;
mod clone_vec;
pub(crate) mod free;
mod inner;
mod kinds;
mod lone;
mod maintain;
mod outcome;
mod stats;
mod vec;
mod wait;
pub(crate) mod walk;

#[cfg(feature = "audit")]
pub use audit::Holder;
pub use batch::BufferBatch;
pub use clone_vec::CloneBurst;
pub(crate) use inner::Inner;
pub use lone::{AppendBufletError, Buffer, LoneBuflet};
pub use maintain::UPDATE_MS;
pub use outcome::{AllocError, Burst, BurstStatus};
pub use stats::PoolStats;

use crate::cache::{Returned, sizing};
use crate::config::{ConfigError, PoolConfig, PoolContext};
use crate::packet::Packet;
use crate::platform::{DmaMemory, Platform};
use crate::queue::PacketQueue;
use crate::sync::Ordering;
use ::alloc::boxed::Box;
use ::alloc::sync::Arc;
use core::fmt;
use core::ptr::NonNull;
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

    /// Whether both are handles of one pool.
    pub fn is_same(&self, other: &Self) -> bool {
        self.inner == other.inner
    }

    /// The context given at configuration, retained for the caller.
    pub fn context(&self) -> Option<Arc<dyn PoolContext>> {
        self.inner().config.context.clone()
    }

    /// Whether buffers may not hold a whole payload, as configured.
    pub fn may_truncate(&self) -> bool {
        self.inner().config.may_truncate
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

// The configuration sizes its regions by the capacity table.
pub(crate) use sizing::{initial as initial_capacity, largest as largest_capacity};
