//! The loops on one core.
#![forbid(unsafe_code)]

use std::hint::black_box;

use pbufpool::{Packet, PacketQueue, Pool};

use super::ours::CHAIN;
use super::source::Source;

/// Takes `bulk` objects and gives them back, `bursts` times; one at a time through the calls
/// for one.
pub(super) fn take_and_give<S: Source>(source: &S, bulk: usize, bursts: usize) {
    if bulk == 1 {
        for _ in 0..bursts {
            let item = source.take_one().expect("the pool is large enough");
            source.give_one(black_box(item));
        }
        return;
    }
    let mut burst = S::Burst::default();
    for _ in 0..bursts {
        let got = source.take(bulk, black_box(&mut burst));
        assert_eq!(got, bulk, "the pool is large enough");
        source.give(black_box(&mut burst));
    }
}

/// Packets of three buflets, in a vector.
pub(super) fn chains(pool: &Pool, bulk: usize, bursts: usize) {
    let mut packets = Vec::with_capacity(bulk);
    for _ in 0..bursts {
        let burst = pool.alloc_vec_buflets(bulk, CHAIN, black_box(&mut packets));
        assert_eq!(burst.count, bulk, "the pool is large enough");
        pool.free_vec(black_box(&mut packets));
    }
}

/// The same, in a queue.
pub(super) fn queued_chains(pool: &Pool, bulk: usize, bursts: usize) {
    let mut queue = PacketQueue::new();
    for _ in 0..bursts {
        let burst = pool.alloc_burst_buflets(bulk, CHAIN, black_box(&mut queue));
        assert_eq!(burst.count, bulk, "the pool is large enough");
        pool.free_queue(black_box(&mut queue));
    }
}

/// One light clone of each of `bulk` packets, and all clones freed.
pub(super) fn clones(pool: &Pool, bulk: usize, bursts: usize) {
    if bulk == 1 {
        let mut source = pool.alloc().expect("the pool is large enough");
        for _ in 0..bursts {
            let clone = black_box(&mut source).clone_light();
            drop(black_box(clone.expect("the pool is large enough")));
        }
        return;
    }
    with_sources(pool, bulk, bursts, |sources, clones| {
        let burst = pool.clone_light_vec(sources, clones);
        assert_eq!(burst.count, sources.len(), "the pool is large enough");
    });
}

/// The same, one call a clone.
pub(super) fn single_clones(pool: &Pool, bulk: usize, bursts: usize) {
    if bulk == 1 {
        return clones(pool, bulk, bursts);
    }
    with_sources(pool, bulk, bursts, |sources, clones| {
        for source in sources {
            clones.push(source.clone_light().expect("the pool is large enough"));
        }
    });
}

fn with_sources(
    pool: &Pool,
    bulk: usize,
    bursts: usize,
    mut clone: impl FnMut(&mut [Packet], &mut Vec<Packet>),
) {
    let mut sources = Vec::new();
    let burst = pool.alloc_vec(bulk, &mut sources);
    assert_eq!(burst.count, bulk, "the pool is large enough");
    let mut clones: Vec<Packet> = Vec::with_capacity(bulk);
    for _ in 0..bursts {
        clone(black_box(&mut sources), &mut clones);
        pool.free_vec(black_box(&mut clones));
    }
}

/// Buffers without packets.
pub(super) fn buffers(pool: &Pool, bulk: usize, bursts: usize) {
    if bulk == 1 {
        for _ in 0..bursts {
            drop(black_box(
                pool.alloc_buffer().expect("the pool is large enough"),
            ));
        }
        return;
    }
    let mut batch = pool.buffer_batch();
    for _ in 0..bursts {
        let burst = black_box(&mut batch).alloc(bulk);
        assert_eq!(burst.count, bulk, "the pool is large enough");
        black_box(&mut batch).free();
    }
}
