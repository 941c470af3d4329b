//! Counters of a pool, and the snapshot that a status page prints.
#![forbid(unsafe_code)]

use super::Inner;
use crate::cache::{Cache, CacheStats};
use crate::sync::{AtomicU64, Ordering};
use alloc::sync::Arc;

/// What is counted outside the caches; none of it on the hot path.
#[derive(Default)]
pub(crate) struct Counters {
    pub(crate) alloc_failures: AtomicU64,
    pub(crate) linearised: AtomicU64,
    pub(crate) linearised_bytes: AtomicU64,
    pub(crate) leaked: AtomicU64,
    pub(crate) rejected: AtomicU64,
}

/// A snapshot; exact while nobody else is at work.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PoolStats {
    /// `pp.<name>`.
    pub name: Arc<str>,
    /// Packets the pool was configured for, capacity rule included.
    pub packets: usize,
    /// Packets with clients, lent ones included.
    pub packets_in_use: usize,
    /// Default buffers the pool was configured for.
    pub buffers: usize,
    /// Default buffers in packets (and buflets) that are with clients.
    pub buffers_in_use: usize,
    /// Bytes of a default buffer.
    pub buffer_size: usize,
    /// Large buffers configured.
    pub large_buffers: usize,
    /// Large buffers with clients.
    pub large_in_use: usize,
    /// Bytes of a large buffer; 0 if there are none.
    pub large_size: usize,
    /// Longest chain.
    pub max_frags: u16,
    /// Segments that exist now, of all regions.
    pub live_segments: usize,
    /// Bytes in them.
    pub live_bytes: usize,
    /// Allocations that failed or came short.
    pub alloc_failures: u64,
    /// Chains copied into one buffer.
    pub linearised: u64,
    /// Bytes of those copies.
    pub linearised_bytes: u64,
    /// Packets leaked because a `Lent` was dropped.
    pub leaked: u64,
    /// Packets that a check marked dropped.
    pub rejected: u64,
    /// The metadata cache.
    pub metas: CacheStats,
    /// The buflet cache; zero in a regular pool.
    pub buflets: CacheStats,
    /// The large buflet cache.
    pub large_buflets: CacheStats,
    /// The buffer cache: its clients are metadata and buflets, cached ones included.
    pub buffer_cache: CacheStats,
    /// The large buffer cache.
    pub large_buffer_cache: CacheStats,
}

impl Inner {
    pub(crate) fn stats(&self) -> PoolStats {
        let load = |c: &AtomicU64| c.load(Ordering::Relaxed);
        let metas = self.metas.stats();
        let buflets = self.buflets.as_ref().map(Cache::stats).unwrap_or_default();
        let large_buflets = self
            .large_buflets
            .as_ref()
            .map(Cache::stats)
            .unwrap_or_default();
        let buffer_cache = self.buffers.stats();
        let large_buffer_cache = self
            .large_buffers
            .as_ref()
            .map(|c| c.stats())
            .unwrap_or_default();
        let cached = |c: &CacheStats| c.cached;
        let hidden = if self.config.on_demand {
            cached(&buflets)
        } else {
            cached(&metas)
        };
        let g = &self.config.geometry;
        let sized = [
            (metas.slab.live_segments, g.metas.segment_size),
            (
                buflets.slab.live_segments,
                g.buflets.map_or(0, |b| b.segment_size),
            ),
            (
                large_buflets.slab.live_segments,
                g.large_buflets.map_or(0, |b| b.segment_size),
            ),
            (buffer_cache.slab.live_segments, g.buffers.segment_size),
            (
                large_buffer_cache.slab.live_segments,
                g.large.map_or(0, |b| b.segment_size),
            ),
        ];
        PoolStats {
            name: self.config.full_name.clone(),
            packets: metas.objects,
            packets_in_use: metas.in_use,
            buffers: buffer_cache.objects,
            buffers_in_use: buffer_cache.in_use.saturating_sub(hidden),
            buffer_size: self.config.buffer_size,
            large_buffers: large_buffer_cache.objects,
            large_in_use: large_buffer_cache
                .in_use
                .saturating_sub(cached(&large_buflets)),
            large_size: self.config.large_size.unwrap_or(0),
            max_frags: self.config.max_frags,
            live_segments: sized.iter().map(|s| s.0).sum(),
            live_bytes: sized.iter().map(|s| s.0 * s.1).sum(),
            alloc_failures: load(&self.counters.alloc_failures),
            linearised: load(&self.counters.linearised),
            linearised_bytes: load(&self.counters.linearised_bytes),
            leaked: load(&self.counters.leaked),
            rejected: load(&self.counters.rejected),
            metas,
            buflets,
            large_buflets,
            buffer_cache,
            large_buffer_cache,
        }
    }
}
