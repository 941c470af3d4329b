//! What every test file needs: pools on heap memory, and the check that nothing is left.
#![allow(dead_code, unreachable_pub)] // each test file uses its own part

use pbufpool::test_utils::{HeapDma, Threads};
use pbufpool::{Packet, PacketQueue, Pool, PoolConfig};

/// A pool with its memory and its platform.
pub struct Rig {
    pub pool: Pool,
    pub dma: &'static HeapDma,
    pub cpu: &'static Threads,
}

/// A regular configuration with magazines of 4.
pub fn regular(packets: usize) -> PoolConfig {
    PoolConfig::new("test")
        .packets(packets)
        .magazine_capacity(4)
}

/// An on-demand configuration: chains of up to 8, large buffers, magazines of 4.
pub fn on_demand(packets: usize) -> PoolConfig {
    regular(packets).on_demand(true).max_frags(8).large(65536)
}

impl Rig {
    /// A pool on a machine of two cores.
    pub fn new(config: PoolConfig) -> Self {
        Self::on(config, Threads::leaked(2))
    }

    pub fn on(config: PoolConfig, cpu: &'static Threads) -> Self {
        let dma = HeapDma::leaked();
        let pool = Pool::new(config, dma, cpu).expect("a valid configuration");
        Self { pool, dma, cpu }
    }

    /// `n` packets.
    pub fn take(&self, n: usize) -> PacketQueue {
        let mut queue = PacketQueue::new();
        let burst = self.pool.alloc_burst(n, &mut queue);
        assert!(burst.is_complete(), "{burst:?}");
        queue
    }

    /// A packet whose data is `bytes`, `headroom` into its first buffer.
    pub fn packet(&self, headroom: usize, bytes: &[u8]) -> Packet {
        let mut packet = self.pool.alloc().expect("a free packet");
        fill(&mut packet, headroom, bytes);
        packet
    }

    /// Nothing is with clients.
    pub fn assert_idle(&self) {
        let stats = self.pool.stats();
        let out = (
            stats.packets_in_use,
            stats.buffers_in_use,
            stats.large_in_use,
        );
        assert_eq!(
            out,
            (0, 0, 0),
            "outstanding (packets, buffers, large buffers)"
        );
        assert_eq!(
            (stats.buflets.in_use, stats.large_buflets.in_use),
            (0, 0),
            "buflets"
        );
        assert_eq!(
            stats.metas.slab.bad_frees + stats.buffer_cache.slab.bad_frees,
            0
        );
    }

    /// Nothing is with clients, and the last handle leaves no segment behind.
    pub fn finish(self) {
        self.assert_idle();
        let Self { pool, dma, .. } = self;
        drop(pool);
        assert_eq!(dma.live_segments(), 0, "segments outlive the pool");
    }
}

pub fn fill(packet: &mut Packet, headroom: usize, bytes: &[u8]) {
    packet
        .set_span(headroom, bytes.len())
        .expect("fits the buffer");
    packet.data_mut().expect("exclusive").copy_from_slice(bytes);
}

/// Runs `f` on another core to its end.
pub fn on_other_core<T: Send>(f: impl FnOnce() -> T + Send) -> T {
    std::thread::scope(|s| s.spawn(f).join().expect("no panic on the other core"))
}
