//! The pool under test as a contender: packets of a regular and of an on-demand pool, bursts
//! that travel as one queue, and lone buffers.
#![forbid(unsafe_code)]

use pbufpool::test_utils::{HeapDma, Threads};
use pbufpool::{Packet, PacketQueue, Pool, PoolConfig};

use super::ring::{Rx, Tx};
use super::source::{Bulk, Single, Source, Stack};

/// As many as the peer's pools hold.
const PACKETS: usize = 8192;
/// Two of these a core: DPDK's cache holds 256.
const MAGAZINE: usize = 128;
/// Buflets of the chains that are measured.
pub(super) const CHAIN: u16 = 3;

/// How a pool's magazines are set up.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Magazines {
    /// None: every object goes to the slab and is constructed anew. Free segments are kept, as the
    /// peer keeps its memory.
    Off,
    /// As large as the peer's cache.
    Set,
    /// As large as the pool's own table says, growing under contention.
    Default,
}

/// Which sort of pool.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Sort {
    /// Each packet keeps its buffer.
    Regular,
    /// Packets get buflets when they are allocated.
    OnDemand,
    /// On demand, with magazines for lone buffers too.
    Buffers,
}

/// A pool for two cores.
pub(super) fn pool(sort: Sort, magazines: Magazines) -> Pool {
    let on_demand = sort != Sort::Regular;
    let config = PoolConfig::new("bench")
        .packets(PACKETS)
        .buffer_size(2048)
        .on_demand(on_demand)
        .buffer_magazines(sort == Sort::Buffers && magazines != Magazines::Off)
        .max_frags(if on_demand { CHAIN } else { 1 });
    let config = match magazines {
        Magazines::Off => config.magazines(false).spare_segments(true),
        Magazines::Set => config.magazine_capacity(MAGAZINE),
        Magazines::Default => config,
    };
    Pool::new(config, HeapDma::leaked(), Threads::leaked(2)).expect("a valid configuration")
}

impl Bulk for PacketQueue {
    #[inline]
    fn size(&self) -> usize {
        self.len()
    }
    #[inline]
    fn send(&mut self, tx: &mut Tx<Packet>) -> usize {
        tx.push_each(self.len(), self)
    }
    #[inline]
    fn receive(&mut self, n: usize, rx: &mut Rx<Packet>) -> usize {
        rx.pop_each(n, |packet| self.push_back(packet))
    }
}

/// Packets, each with its buffer; bursts in a vector.
pub(super) struct Packets<'a>(pub(super) &'a Pool);

impl Source for Packets<'_> {
    type Item = Packet;
    type Burst = Stack<Packet>;

    #[inline]
    fn take_one(&self) -> Option<Packet> {
        self.0.alloc().ok()
    }
    #[inline]
    fn give_one(&self, packet: Packet) {
        drop(packet);
    }
    #[inline]
    fn take(&self, n: usize, burst: &mut Stack<Packet>) -> usize {
        self.0.alloc_vec(n, &mut burst.0).count
    }
    #[inline]
    fn give(&self, burst: &mut Stack<Packet>) {
        self.0.free_vec(&mut burst.0);
    }
}

/// The same; bursts in a queue.
pub(super) struct Queued<'a>(pub(super) &'a Pool);

impl Source for Queued<'_> {
    type Item = Packet;
    type Burst = PacketQueue;

    #[inline]
    fn take_one(&self) -> Option<Packet> {
        self.0.alloc().ok()
    }
    #[inline]
    fn give_one(&self, packet: Packet) {
        drop(packet);
    }
    #[inline]
    fn take(&self, n: usize, burst: &mut PacketQueue) -> usize {
        self.0.alloc_burst(n, burst).count
    }
    #[inline]
    fn give(&self, burst: &mut PacketQueue) {
        self.0.free_queue(burst);
    }
}

/// Bursts of packets: each is one queue, and travels from core to core as one word-sized move.
pub(super) struct WholeBursts<'a> {
    pub(super) pool: &'a Pool,
    pub(super) bulk: usize,
}

impl Single for WholeBursts<'_> {
    type Item = PacketQueue;

    #[inline]
    fn get(&self) -> Option<PacketQueue> {
        let mut queue = PacketQueue::new();
        // A burst that came out short is given back: an item is always `bulk` packets.
        self.pool
            .alloc_burst(self.bulk, &mut queue)
            .is_complete()
            .then_some(queue)
    }
    #[inline]
    fn put(&self, mut queue: PacketQueue) {
        self.pool.free_queue(&mut queue);
    }
}
