//! The pools of one NIC: one that feeds its receive ring, one for frames to send, and one of large
//! buffers for what is cut into segments or was merged from them.
//!
//! They are apart for two reasons. A ring whose buffers come from a pool of its own gets the same
//! buffers back, so their order lasts and a merged frame is one slice in memory. And neither
//! direction can take the other's last buffer, but of the large ones. `main` makes them; [`Link`](super::Link) and the
//! driver hold them.
#![forbid(unsafe_code)]

use pbufpool::{Packet, Pool, PoolStats};

/// The pools of a NIC.
#[derive(Clone, Debug)]
pub struct Pools {
    /// Feeds the receive ring.
    pub rx: Pool,
    /// Frames to send, up to the MTU.
    pub tx: Pool,
    /// Packets of one buffer that holds the longest frame there is, if there is memory for them:
    /// frames to be cut, and merged frames that lie in pieces.
    pub large: Option<Pool>,
}

/// The pools' figures, together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PoolsStats {
    /// Packets that there are.
    pub packets: usize,
    /// Packets outside the pools.
    pub in_use: usize,
    /// Packets that were asked for and not there.
    pub failures: u64,
    /// Chains copied into one buffer.
    pub linearised: u64,
    /// Their bytes.
    pub linearised_bytes: u64,
}

impl Pools {
    /// One pool for both ways, and no large buffers.
    pub fn shared(pool: Pool) -> Self {
        Self {
            rx: pool.clone(),
            tx: pool,
            large: None,
        }
    }

    /// Each pool once.
    fn each(&self) -> impl Iterator<Item = &Pool> {
        let tx = (!self.tx.is_same(&self.rx)).then_some(&self.tx);
        [Some(&self.rx), tx, self.large.as_ref()]
            .into_iter()
            .flatten()
    }

    /// Lets each pool look after its magazines.
    pub(super) fn maintain(&self, now_ms: u64) {
        for pool in self.each() {
            pool.maintain(now_ms);
        }
    }

    /// What all pools count.
    pub fn stats(&self) -> PoolsStats {
        let add = |sum: PoolsStats, one: PoolStats| PoolsStats {
            packets: sum.packets + one.packets,
            in_use: sum.in_use + one.packets_in_use,
            failures: sum.failures + one.alloc_failures,
            linearised: sum.linearised + one.linearised,
            linearised_bytes: sum.linearised_bytes + one.linearised_bytes,
        };
        let stats = self.each().map(Pool::stats);
        stats.fold(PoolsStats::default(), add)
    }

    /// The same packet in one buffer.
    ///
    /// # Errors
    /// The packet as it was: there is no buffer that is large enough, or none is free.
    pub(super) fn linearise(&self, packet: Packet) -> Result<Packet, Packet> {
        let pool = match &self.large {
            Some(large) if packet.len() > self.tx.buffer_size() => large,
            _ => &self.tx,
        };
        packet.linearise(pool).map_err(|(packet, _)| packet)
    }
}
