//! Random sequences of operations on two cores against a simple model: which packets exist, how
//! many buflets and which bytes each has. After every sequence nothing is left.

mod common;
use common::{Rig, fill, on_demand, on_other_core};
use pbufpool::{Gather, Packet, PacketQueue};
use proptest::prelude::*;

/// What can be done; the numbers pick sizes and packets.
#[derive(Clone, Debug)]
enum Op {
    Alloc { n: usize, k: u16 },
    AllocVec { n: usize, k: u16 },
    FreeVec { from: usize },
    Large,
    Drop { at: usize },
    DropElsewhere { from: usize },
    Append { to: usize, from: usize },
    Gather { from: usize },
    Fill { at: usize, byte: u8 },
    CloneLight { at: usize },
    CloneVec { from: usize },
    CloneHeavy { at: usize },
    Linearise { at: usize },
    Write { at: usize, byte: u8 },
    Purge,
    Reap,
    Maintain { ms: u64 },
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        4 => (0..20usize, 0..5u16).prop_map(|(n, k)| Op::Alloc { n, k }),
        4 => (0..20usize, 0..5u16).prop_map(|(n, k)| Op::AllocVec { n, k }),
        2 => any::<usize>().prop_map(|from| Op::FreeVec { from }),
        1 => Just(Op::Large),
        3 => any::<usize>().prop_map(|at| Op::Drop { at }),
        2 => any::<usize>().prop_map(|from| Op::DropElsewhere { from }),
        2 => any::<(usize, usize)>().prop_map(|(to, from)| Op::Append { to, from }),
        2 => any::<usize>().prop_map(|from| Op::Gather { from }),
        3 => any::<(usize, u8)>().prop_map(|(at, byte)| Op::Fill { at, byte }),
        3 => any::<usize>().prop_map(|at| Op::CloneLight { at }),
        2 => any::<usize>().prop_map(|from| Op::CloneVec { from }),
        1 => any::<usize>().prop_map(|at| Op::CloneHeavy { at }),
        1 => any::<usize>().prop_map(|at| Op::Linearise { at }),
        3 => any::<(usize, u8)>().prop_map(|(at, byte)| Op::Write { at, byte }),
        1 => Just(Op::Purge),
        1 => Just(Op::Reap),
        1 => (0..40_000u64).prop_map(|ms| Op::Maintain { ms }),
    ]
}

/// A packet and what the model says it holds, buflet by buflet.
struct Known {
    packet: Packet,
    bytes: Vec<Vec<u8>>,
}

impl Known {
    fn check(&self) {
        let held: Vec<&[u8]> = self.packet.buflets().map(|b| b.data()).collect();
        assert_eq!(held, self.bytes);
        assert_eq!(
            self.packet.len(),
            self.bytes.iter().map(Vec::len).sum::<usize>()
        );
        if let Some(whole) = self.packet.contiguous() {
            assert_eq!(whole, self.bytes.concat());
        }
    }
}

fn step(rig: &Rig, known: &mut Vec<Known>, op: &Op) {
    let pick = |n: usize, known: &Vec<Known>| (!known.is_empty()).then(|| n % known.len().max(1));
    match *op {
        Op::Alloc { n, k } => {
            let mut queue = PacketQueue::new();
            let burst = rig.pool.alloc_burst_buflets(n, k, &mut queue);
            assert_eq!(burst.count, queue.len());
            let fresh = queue.map(|packet| Known {
                bytes: vec![vec![]; k.into()],
                packet,
            });
            known.extend(fresh);
        }
        Op::AllocVec { n, k } => {
            let mut fresh = Vec::new();
            let burst = rig.pool.alloc_vec_buflets(n, k, &mut fresh);
            assert_eq!(burst.count, fresh.len());
            assert_eq!(burst.is_complete(), burst.count == n);
            known.extend(fresh.into_iter().map(|packet| Known {
                bytes: vec![vec![]; k.into()],
                packet,
            }));
        }
        Op::FreeVec { from } => {
            if let Some(from) = pick(from, known) {
                let mut packets: Vec<_> = known.drain(from..).map(|k| k.packet).collect();
                let n = packets.len();
                assert_eq!(rig.pool.free_vec(&mut packets), n);
                assert!(packets.is_empty());
            }
        }
        Op::Large => known.extend(rig.pool.alloc_large().ok().map(|mut packet| {
            fill(&mut packet, 8, &[9; 3000]);
            Known {
                packet,
                bytes: vec![vec![9; 3000]],
            }
        })),
        Op::Drop { at } => {
            pick(at, known).map(|at| known.swap_remove(at));
        }
        Op::DropElsewhere { from } => {
            if let Some(from) = pick(from, known) {
                let queue: PacketQueue = known.drain(from..).map(|k| k.packet).collect();
                on_other_core(|| drop(queue));
            }
        }
        Op::Append { to, from } => {
            let Some(from) = pick(from, known) else {
                return;
            };
            let other = known.swap_remove(from);
            let Some(to) = pick(to, known) else { return };
            match known[to].packet.append(other.packet) {
                Ok(()) => known[to].bytes.extend(other.bytes),
                Err(e) => known.push(Known {
                    packet: e.packet,
                    bytes: other.bytes,
                }),
            }
        }
        // All from one on, for as long as they go together.
        Op::Gather { from } => {
            let Some(from) = pick(from, known) else {
                return;
            };
            let mut parts = known.drain(from..).collect::<Vec<_>>().into_iter();
            let Some(first) = parts.next() else { return };
            let mut bytes = first.bytes;
            let mut gather = Gather::new(first.packet);
            for part in parts {
                match gather.push(part.packet) {
                    Ok(()) => bytes.extend(part.bytes),
                    Err(refused) => known.push(Known {
                        packet: refused.packet,
                        bytes: part.bytes,
                    }),
                }
            }
            let packet = gather.finish();
            known.push(Known { packet, bytes });
        }
        Op::Fill { at, byte } => {
            let Some(at) = pick(at, known) else { return };
            let Known { packet, bytes } = &mut known[at];
            if packet.first().is_some_and(|b| !b.is_shared()) {
                let len = packet.first().map_or(0, |b| b.limit());
                packet.set_span(0, len).expect("the whole buffer");
                packet.data_mut().expect("exclusive").fill(byte);
                bytes[0] = vec![byte; len];
            }
        }
        Op::CloneLight { at } => {
            let Some(at) = pick(at, known) else { return };
            if let Ok(packet) = known[at].packet.clone_light() {
                let bytes = known[at].bytes.clone();
                known.push(Known { packet, bytes });
            }
        }
        Op::CloneVec { from } => {
            let Some(from) = pick(from, known) else {
                return;
            };
            let (mut sources, bytes): (Vec<_>, Vec<_>) = known
                .drain(from..)
                .map(|known| (known.packet, known.bytes))
                .unzip();
            let mut clones = Vec::new();
            let burst = rig.pool.clone_light_vec(&mut sources, &mut clones);
            assert_eq!(burst.count, clones.len());
            assert_eq!(burst.shortfall.is_none(), clones.len() == sources.len());
            let all = sources.into_iter().zip(bytes.clone());
            let all = all.chain(clones.into_iter().zip(bytes));
            known.extend(all.map(|(packet, bytes)| Known { packet, bytes }));
        }
        Op::CloneHeavy { at } => {
            let Some(at) = pick(at, known) else { return };
            if let Ok(packet) = known[at].packet.clone_heavy() {
                let bytes = known[at].bytes.clone();
                known.push(Known { packet, bytes });
            }
        }
        Op::Linearise { at } => {
            let Some(at) = pick(at, known) else { return };
            let Known { packet, bytes } = known.swap_remove(at);
            let many = packet.buflet_count() > 1;
            let known_as = match packet.linearise(&rig.pool) {
                Ok(packet) if many => Known {
                    packet,
                    bytes: vec![bytes.concat()],
                },
                Ok(packet) | Err((packet, _)) => Known { packet, bytes },
            };
            known.push(known_as);
        }
        Op::Write { at, byte } => {
            let Some(at) = pick(at, known) else { return };
            let Known { packet, bytes } = &mut known[at];
            let exclusive = packet.first().is_some_and(|b| !b.is_shared());
            let len = usize::from(byte);
            if exclusive && packet.set_span(len % 32, len).is_ok() {
                packet.data_mut().expect("exclusive").fill(byte);
                bytes[0] = vec![byte; len];
            } else if packet.first().is_some() {
                assert!(packet.data_mut().is_none(), "shared data is not writable");
            }
        }
        Op::Purge => rig.pool.purge(),
        Op::Reap => rig.pool.reap(false),
        Op::Maintain { ms } => _ = rig.pool.maintain(ms),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_sequence_keeps_every_byte_and_leaks_nothing(
        ops in proptest::collection::vec(op(), 1..80),
        capacity in 0..6usize,
    ) {
        let rig = Rig::new(on_demand(24).magazine_capacity(capacity));
        let mut known = Vec::new();
        for op in &ops {
            step(&rig, &mut known, op);
            known.iter().for_each(Known::check);
            let stats = rig.pool.stats();
            prop_assert_eq!(stats.packets_in_use, known.len());
            let unshared: usize = known.iter().map(|k| k.bytes.len()).sum();
            prop_assert!(stats.buffers_in_use + stats.large_in_use <= unshared);
            prop_assert_eq!(stats.metas.slab.bad_frees + stats.buflets.slab.bad_frees, 0);
        }
        drop(known);
        rig.finish();
    }
}

/// What a hostile client does to one word: a plausible number or any number.
fn word() -> impl Strategy<Value = u32> {
    prop_oneof![
        0..12u32,
        90..210u32,
        Just(u32::MAX),
        Just(2048),
        any::<u32>()
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_a_client_writes_nothing_leaks_and_spans_stay_inside(
        writes in proptest::collection::vec((0..18usize, 0..8u32, word()), 0..12),
        chains in proptest::collection::vec(0..5usize, 1..5),
    ) {
        use pbufpool::ledger::{OwnerId, ReturnError};
        use std::sync::atomic::Ordering::Relaxed;

        let rig = Rig::new(on_demand(24));
        let ledger = rig.pool.ledger().expect("not kernel-only");
        let owner = OwnerId::new(7).expect("not zero");
        let indices: Vec<u32> = chains
            .iter()
            .map(|&k| {
                let mut packet = rig.pool.alloc_buflets(k as u16).expect("free");
                for n in 0..k {
                    packet.buflet_mut(n).expect("k").set_span(0, 100).expect("fits");
                }
                ledger.loan(packet, owner).expect("fits")
            })
            .collect();
        for (field, which, value) in writes {
            let packet = ledger.packet_view(indices[which as usize % indices.len()]).expect("known");
            let buflet = ledger.buflet_view(which).expect("there are more");
            let words = [
                &packet.flags, &packet.count, &packet.max_frags, &packet.length,
                &packet.headroom, &packet.l2_len, &packet.buffer, &packet.doff, &packet.dlen,
                &packet.next, &packet.csum_start, &packet.csum_stuff, &packet.seal,
                &buflet.buffer, &buflet.doff, &buflet.dlen, &buflet.next, &buflet.seal,
            ];
            words[field].store(value, Relaxed);
        }
        for index in indices {
            match ledger.take_back(index, owner) {
                Ok(packet) => {
                    prop_assert!(packet.buflet_count() <= 8);
                    prop_assert_eq!(packet.buflets().count(), packet.buflet_count());
                    for buflet in packet.buflets() {
                        prop_assert!(buflet.offset() + buflet.len() <= buflet.limit());
                        prop_assert_eq!(buflet.uses(), 1);
                    }
                }
                Err(ReturnError::Bad { item, .. }) => prop_assert!(item.is_dropped()),
                Err(e) => prop_assert!(matches!(e, ReturnError::Forged)),
            }
        }
        ledger.purge(Some(owner));
        prop_assert!(ledger.is_empty());
        drop(ledger);
        rig.finish();
    }
}
