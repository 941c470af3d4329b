//! Instruction counts of the packet path, for callgrind: `cargo build --release --example
//! instructions -p pbufpool --features test-utils`, then run the binary under
//! `valgrind --tool=callgrind` with a case name and a round count; the difference of two counts
//! divided by the objects moved is the cost of one.

use pbufpool::test_utils::{HeapDma, Threads};
use pbufpool::{PacketQueue, Pool, PoolConfig};

const BULK: usize = 32;

fn pool(on_demand: bool) -> Pool {
    let config = PoolConfig::new("bench").packets(2048).on_demand(on_demand);
    // Magazines of 128, unless the third argument says otherwise; `table` = by object size.
    let config = match std::env::args().nth(3).as_deref() {
        Some("table") => config,
        Some(n) => config.magazine_capacity(n.parse().expect("a capacity")),
        None => config.magazine_capacity(128),
    };
    let config = if on_demand {
        config.max_frags(8).buffer_magazines(true)
    } else {
        config
    };
    Pool::new(config, HeapDma::leaked(), Threads::leaked(1)).expect("valid configuration")
}

fn bulk(pool: &Pool, k: u16, n: usize, rounds: usize) {
    let mut queue = PacketQueue::new();
    for _ in 0..rounds {
        assert!(pool.alloc_burst_buflets(n, k, &mut queue).is_complete());
        pool.free_queue(&mut queue);
    }
}

fn vec(pool: &Pool, k: u16, n: usize, rounds: usize) {
    let mut packets = Vec::with_capacity(n);
    for _ in 0..rounds {
        assert!(pool.alloc_vec_buflets(n, k, &mut packets).is_complete());
        pool.free_vec(&mut packets);
    }
}

fn buffers(pool: &Pool, n: usize, rounds: usize) {
    let mut batch = pool.buffer_batch();
    for _ in 0..rounds {
        assert!(batch.alloc(n).is_complete());
        batch.free();
    }
}

fn clones(pool: &Pool, n: usize, rounds: usize) {
    let mut queue = PacketQueue::new();
    assert!(pool.alloc_burst(n, &mut queue).is_complete());
    let mut sources: Vec<_> = queue.collect();
    let mut clones = PacketQueue::new();
    for _ in 0..rounds {
        for source in &mut sources {
            clones.push_back(source.clone_light().expect("free metadata"));
        }
        pool.free_queue(&mut clones);
    }
}

fn vec_clones(pool: &Pool, n: usize, rounds: usize) {
    let mut sources = Vec::new();
    assert!(pool.alloc_vec(n, &mut sources).is_complete());
    let mut clones = Vec::with_capacity(n);
    for _ in 0..rounds {
        assert_eq!(pool.clone_light_vec(&mut sources, &mut clones).count, n);
        pool.free_vec(&mut clones);
    }
}

fn main() {
    let mut args = std::env::args().skip(1);
    let case = args.next().unwrap_or_else(|| "bulk32".into());
    let rounds: usize = args.next().and_then(|r| r.parse().ok()).unwrap_or(1000);
    match case.as_str() {
        "bulk32" => bulk(&pool(false), 1, BULK, rounds),
        "bulk1" => bulk(&pool(false), 1, 1, rounds),
        "single" => {
            let pool = pool(false);
            for _ in 0..rounds {
                drop(pool.alloc().expect("free packets"));
            }
        }
        "demand32" => bulk(&pool(true), 1, BULK, rounds),
        "chain3" => bulk(&pool(true), 3, BULK, rounds),
        "vec32" => vec(&pool(false), 1, BULK, rounds),
        "vec1" => vec(&pool(false), 1, 1, rounds),
        "vec-demand32" => vec(&pool(true), 1, BULK, rounds),
        "vec-chain3" => vec(&pool(true), 3, BULK, rounds),
        "buffers32" => buffers(&pool(true), BULK, rounds),
        "vec-clone" => vec_clones(&pool(true), BULK, rounds),
        "clone" => clones(&pool(true), BULK, rounds),
        other => panic!("unknown case {other}"),
    }
}
