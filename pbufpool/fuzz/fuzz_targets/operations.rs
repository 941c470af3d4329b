//! Sequences of pool operations, with faults injected on the way. Whatever happens, nothing is
//! left at the end, and every span stays in its buffer.
#![no_main]

use libfuzzer_sys::arbitrary::{self, Arbitrary};
use libfuzzer_sys::fuzz_target;
use pbufpool::fault::{FaultPlan, FaultPoint};
use pbufpool::test_utils::{HeapDma, Threads};
use pbufpool::{Gather, Packet, PacketQueue, Pool, PoolConfig};
use std::sync::{Arc, OnceLock};

#[derive(Arbitrary, Debug)]
enum Op {
    Alloc {
        n: u8,
        k: u8,
    },
    Large,
    Bytes {
        len: u32,
    },
    Drop {
        at: u8,
    },
    DropFrom {
        at: u8,
    },
    Append {
        to: u8,
        from: u8,
    },
    Gather {
        from: u8,
    },
    Lone {
        to: u8,
        large: bool,
        start: u16,
        len: u16,
    },
    Light {
        at: u8,
    },
    LightBurst {
        from: u8,
    },
    Heavy {
        at: u8,
    },
    Linearise {
        at: u8,
    },
    Span {
        at: u8,
        n: u8,
        offset: u16,
        len: u16,
    },
    Front {
        at: u8,
        push: bool,
        n: u16,
    },
    Finalize {
        at: u8,
    },
    Fault {
        point: u8,
        nth: u8,
    },
    Purge,
    Reap,
    Maintain {
        seconds: u8,
    },
}

static WORLD: OnceLock<(&'static HeapDma, &'static Threads)> = OnceLock::new();

fuzz_target!(|input: (u8, Vec<Op>)| {
    let (capacity, ops) = input;
    let (dma, cpu) = *WORLD.get_or_init(|| (HeapDma::leaked(), Threads::leaked(1)));
    let plan = Arc::new(FaultPlan::new());
    let config = PoolConfig::new("fuzz")
        .packets(24)
        .on_demand(true)
        .max_frags(8)
        .large(16384)
        .magazine_capacity(usize::from(capacity % 6))
        .faults(plan.clone());
    let pool = Pool::new(config, dma, cpu).expect("valid");
    let mut held: Vec<Packet> = Vec::new();
    let mut now = 0;
    for op in ops {
        let n = held.len();
        let pick = |at: u8| (n > 0).then(|| usize::from(at) % n.max(1));
        match op {
            Op::Alloc { n, k } => {
                let mut queue = PacketQueue::new();
                let burst = pool.alloc_burst_buflets(n.into(), k.into(), &mut queue);
                assert_eq!(burst.count, queue.len());
                held.extend(queue);
            }
            Op::Large => held.extend(pool.alloc_large()),
            Op::Bytes { len } => held.extend(pool.alloc_bytes(len as usize)),
            Op::Drop { at } => drop(pick(at).map(|at| held.swap_remove(at))),
            Op::DropFrom { at } => {
                if let Some(at) = pick(at) {
                    let mut queue: PacketQueue = held.drain(at..).collect();
                    pool.free_queue(&mut queue);
                }
            }
            Op::Append { to, from } => {
                if let (Some(to), Some(from)) = (pick(to), pick(from))
                    && to != from
                {
                    let other = held.remove(from);
                    let to = if from < to { to - 1 } else { to };
                    if let Err(e) = held[to].append(other) {
                        held.push(e.packet);
                    }
                }
            }
            // All from one on, for as long as they go together.
            Op::Gather { from } => {
                if let Some(from) = pick(from) {
                    let mut parts = held.split_off(from).into_iter();
                    let mut gather = parts.next().map(Gather::new).expect("picked");
                    for part in parts {
                        if let Err(e) = gather.push(part) {
                            held.push(e.packet);
                        }
                    }
                    held.push(gather.finish());
                }
            }
            Op::Lone {
                to,
                large,
                start,
                len,
            } => {
                if let (Some(to), Ok(mut buflet)) = (pick(to), pool.alloc_buflet(large)) {
                    let _ = buflet.set_window(start.into(), len.into());
                    let _ = held[to].append_buflet(buflet);
                }
            }
            Op::Light { at } => {
                let clone = pick(at).and_then(|at| held[at].clone_light().ok());
                held.extend(clone);
            }
            Op::LightBurst { from } => {
                if let Some(from) = pick(from) {
                    let mut clones = Vec::new();
                    let burst = pool.clone_light_vec(&mut held[from..], &mut clones);
                    assert_eq!(burst.count, clones.len());
                    held.extend(clones);
                }
            }
            Op::Heavy { at } => {
                let clone = pick(at).and_then(|at| held[at].clone_heavy().ok());
                held.extend(clone);
            }
            Op::Linearise { at } => {
                if let Some(at) = pick(at) {
                    let packet = held.swap_remove(at);
                    held.push(packet.linearise(&pool).unwrap_or_else(|(packet, _)| packet));
                }
            }
            Op::Span { at, n, offset, len } => {
                if let Some(mut buflet) = pick(at).and_then(|at| held[at].buflet_mut(n.into())) {
                    let _ = buflet.set_span(offset.into(), len.into());
                    buflet.data_mut().into_iter().for_each(|data| data.fill(n));
                }
            }
            Op::Front { at, push, n } => {
                if let Some(at) = pick(at) {
                    let _ = match push {
                        true => held[at].push_front(n.into()).map(|new| new.fill(1)),
                        false => held[at].pull_front(n.into()),
                    };
                }
            }
            Op::Finalize { at } => {
                if let Some(at) = pick(at) {
                    let packet = match held.swap_remove(at).finalize() {
                        Ok(done) => done.reopen(),
                        Err(rejected) => rejected.packet,
                    };
                    held.push(packet);
                }
            }
            Op::Fault { point, nth } => {
                plan.fail_nth(FaultPoint::ALL[usize::from(point) % 6], nth.into());
            }
            Op::Purge => pool.purge(),
            Op::Reap => pool.reap(false),
            Op::Maintain { seconds } => {
                now += u64::from(seconds) * 1000;
                pool.maintain(now);
            }
        }
        assert_eq!(pool.stats().packets_in_use, held.len());
    }
    for packet in &held {
        assert_eq!(packet.buflets().count(), packet.buflet_count());
        assert!(packet.buflets().all(|b| b.offset() + b.len() <= b.limit()));
        if packet.is_dropped() {
            continue;
        }
        let parts: Vec<&[u8]> = packet.buflets().map(|b| b.data()).collect();
        let whole = parts.concat();
        assert_eq!(packet.len(), whole.len());
        assert!(packet.contiguous().is_none_or(|slice| slice == whole));
    }
    if ops_end_with_pool_first(&held) {
        drop(pool);
        drop(held);
    } else {
        drop(held);
        let stats = pool.stats();
        assert_eq!(
            (
                stats.packets_in_use,
                stats.buffers_in_use,
                stats.large_in_use
            ),
            (0, 0, 0)
        );
        drop(pool);
    }
    assert_eq!(dma.live_segments(), 0);
});

/// Either order of going must do; the packets decide.
fn ops_end_with_pool_first(held: &[Packet]) -> bool {
    held.len() % 2 == 1
}
