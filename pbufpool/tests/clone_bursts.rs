//! Light clones in bursts: the same promises as one clone after the other.

mod common;
use common::{Rig, fill, on_demand, on_other_core, regular};
use pbufpool::fault::{FaultPlan, FaultPoint};
use pbufpool::{AllocError, Attachment, CloneBurst, CloneError, Leaf, Packet};
use std::sync::Arc;

fn all(count: usize) -> CloneBurst {
    CloneBurst {
        count,
        shortfall: None,
    }
}

fn sources(rig: &Rig, n: usize) -> Vec<Packet> {
    (0..n)
        .map(|i| rig.packet(16, format!("packet {i}").as_bytes()))
        .collect()
}

#[test]
fn a_burst_shares_every_buffer_and_copies_none() {
    for capacity in [0, 1, 3, 64] {
        let rig = Rig::new(on_demand(64).magazine_capacity(capacity));
        let mut sources = sources(&rig, 20);
        let mut clones = vec![rig.packet(0, b"there before")];
        assert_eq!(
            rig.pool.clone_light_vec(&mut sources, &mut clones),
            all(20),
            "capacity {capacity}"
        );
        assert_eq!(clones[0].data(), b"there before");
        for (source, clone) in sources.iter_mut().zip(&mut clones[1..]) {
            let (a, b) = (source.first().expect("one"), clone.first().expect("one"));
            assert_eq!((a.base_dma(), a.uses(), b.uses()), (b.base_dma(), 2, 2));
            assert_eq!((clone.data(), clone.headroom()), (source.data(), 16));
            assert_eq!(clone.buflet_count(), 1);
            assert!(source.data_mut().is_none() && clone.data_mut().is_none());
        }
        assert_eq!(rig.pool.stats().buffers_in_use, 21);
        drop(sources);
        assert_eq!(rig.pool.stats().buffers_in_use, 21, "the clones hold them");
        assert_eq!(rig.pool.free_vec(&mut clones), 21);
        rig.finish();
    }
}

#[test]
fn clones_of_clones_count_their_uses() {
    let rig = Rig::new(on_demand(64));
    let mut first = sources(&rig, 5);
    let (mut second, mut third) = (Vec::new(), Vec::new());
    assert_eq!(rig.pool.clone_light_vec(&mut first, &mut second), all(5));
    assert_eq!(rig.pool.clone_light_vec(&mut second, &mut third), all(5));
    assert!(first.iter().all(|p| p.first().expect("one").uses() == 3));
    rig.pool.free_vec(&mut first);
    rig.pool.free_vec(&mut third);
    assert!(second.iter_mut().all(|p| p.data_mut().is_some()), "alone");
    rig.pool.free_vec(&mut second);
    rig.finish();
}

#[test]
fn chains_large_buffers_and_notes_come_along() {
    let rig = Rig::new(on_demand(64));
    let mut sources = sources(&rig, 4);
    sources[1]
        .append(rig.packet(0, b" and more"))
        .expect("room in the chain");
    let mut large = rig.pool.alloc_large().expect("a large one");
    fill(&mut large, 8, b"large");
    sources.push(large);
    sources[3].notes_mut().trace_id = 9;
    sources[3].notes_mut().service_class = 3;
    let carried = rig.pool.alloc().expect("a free packet");
    let leaf = Leaf::new(carried).expect("carries nothing");
    sources[0].attach(Attachment::Packet(leaf));
    let mut clones = Vec::new();
    assert_eq!(rig.pool.clone_light_vec(&mut sources, &mut clones), all(5));
    for (source, clone) in sources.iter().zip(&clones) {
        assert_eq!(source.len(), clone.len());
        for (a, b) in source.buflets().zip(clone.buflets()) {
            assert_eq!(
                (a.base_dma(), a.uses(), a.data()),
                (b.base_dma(), 2, b.data())
            );
            assert_eq!(a.is_large(), b.is_large());
        }
    }
    let notes = clones[3].notes();
    assert_eq!((notes.trace_id, notes.service_class), (0, 3));
    let none = matches!(clones[0].attachment(), Attachment::None);
    assert!(none, "what is attached stays with the source");
    rig.pool.free_vec(&mut sources);
    assert_eq!(clones[1].buflets().map(|b| b.len()).sum::<usize>(), 17);
    rig.pool.free_vec(&mut clones);
    rig.finish();
}

#[test]
fn a_burst_stops_at_the_first_source_that_has_no_clone() {
    let rig = Rig::new(on_demand(64));
    let other = Rig::new(on_demand(8));
    let dropped = rig.pool.alloc_buflets(0).expect("free metadata").finalize();
    let cases = [
        (
            rig.pool.alloc_buflets(0).expect("free metadata"),
            CloneError::Empty,
        ),
        (
            dropped.expect_err("has no buflet").packet,
            CloneError::Dropped,
        ),
        (other.packet(0, b"elsewhere"), CloneError::OtherPool),
    ];
    for (bad, why) in cases {
        let mut sources = sources(&rig, 3);
        sources.push(bad);
        sources.push(rig.packet(0, b"behind"));
        let mut clones = Vec::new();
        let stopped = CloneBurst {
            count: 3,
            shortfall: Some(why),
        };
        assert_eq!(rig.pool.clone_light_vec(&mut sources, &mut clones), stopped);
        assert_eq!(clones.len(), 3);
        assert!(sources[4].data_mut().is_some(), "not reached: not shared");
        drop((sources, clones));
    }
    rig.assert_idle();
    let plain = Rig::new(regular(4));
    let mut one = vec![plain.packet(0, b"x")];
    let refused = plain.pool.clone_light_vec(&mut one, &mut Vec::new());
    assert_eq!(refused.shortfall, Some(CloneError::RegularPool));
    drop(one);
    for rig in [rig, other, plain] {
        rig.finish();
    }
}

#[test]
fn a_short_burst_delivers_what_there_is_metadata_for() {
    let rig = Rig::new(on_demand(16).magazine_capacity(0));
    let all = rig.pool.stats().packets;
    let held = all * 2 / 3;
    let mut sources = sources(&rig, held);
    let mut clones = Vec::new();
    let stopped = CloneBurst {
        count: all - held,
        shortfall: Some(CloneError::NoMemory(AllocError::NoPackets)),
    };
    assert_eq!(rig.pool.clone_light_vec(&mut sources, &mut clones), stopped);
    assert_eq!(clones.len(), all - held);
    assert!(sources[all - held].data_mut().is_some(), "not shared");
    drop((sources, clones));
    rig.finish();
}

#[test]
fn a_chain_that_lacks_a_buflet_ends_the_burst_and_leaks_nothing() {
    let rig = Rig::new(on_demand(24).buffers(24).magazine_capacity(0));
    let mut sources = Vec::new();
    let got = rig.pool.alloc_vec_buflets(8, 3, &mut sources);
    assert!(got.is_complete(), "{got:?}");
    let spare = rig.pool.stats().buflets.objects - 8 * 3;
    let mut clones = Vec::new();
    let burst = rig.pool.clone_light_vec(&mut sources, &mut clones);
    // Each clone needs two buflets of its own, its first buffer needs none.
    assert_eq!(burst.count, (spare / 2).min(8), "{burst:?}, {spare} spare");
    assert_eq!(clones.len(), burst.count);
    if burst.count < 8 {
        let why = CloneError::NoMemory(AllocError::NoBuffers);
        assert_eq!(burst.shortfall, Some(why));
    }
    for (source, clone) in sources.iter().zip(&clones) {
        assert_eq!(clone.buflet_count(), 3);
        assert!(source.buflets().all(|b| b.uses() == 2));
    }
    assert!(
        sources[burst.count..]
            .iter()
            .all(|s| s.buflets().all(|b| b.uses() == 1))
    );
    drop((sources, clones));
    rig.finish();
}

#[test]
fn sources_and_clones_may_be_freed_on_different_cores() {
    let rig = Rig::new(on_demand(128));
    for _ in 0..50 {
        let mut sources = sources(&rig, 24);
        let mut clones = Vec::new();
        assert_eq!(rig.pool.clone_light_vec(&mut sources, &mut clones), all(24));
        let pool = &rig.pool;
        std::thread::scope(|scope| {
            let other = scope.spawn(|| pool.free_vec(&mut clones));
            pool.free_vec(&mut sources);
            // Its core is free again at its very end, which the scope does not wait for.
            other.join().expect("no panic on the other core");
        });
        rig.assert_idle();
    }
    on_other_core(|| rig.pool.purge());
    rig.finish();
}

#[test]
fn nothing_of_the_metadatas_last_life_is_left() {
    let rig = Rig::new(on_demand(32).magazine_capacity(16));
    let mut old = Vec::new();
    assert!(rig.pool.alloc_vec_buflets(8, 3, &mut old).is_complete());
    for packet in &mut old {
        packet.notes_mut().flow_id = 9;
        packet.set_truncated(true);
    }
    let mut packets = sources(&rig, 8);
    rig.pool.free_vec(&mut old);
    let mut clones = Vec::new();
    assert!(
        rig.pool
            .clone_light_vec(&mut packets, &mut clones)
            .shortfall
            .is_none()
    );
    for clone in &clones {
        assert_eq!((clone.buflet_count(), clone.buflets().count()), (1, 1));
        assert_eq!((clone.notes().flow_id, clone.is_truncated()), (0, false));
    }
    drop((packets, clones));
    rig.finish();
}

#[test]
fn a_burst_ends_where_metadata_ends() {
    for capacity in [0, 1, 4, 64] {
        let rig = Rig::new(on_demand(24).buffers(24).magazine_capacity(capacity));
        let mut packets = sources(&rig, 16);
        let all = rig.pool.stats().packets;
        let room = (all - 16).min(10);
        let mut held = Vec::new();
        let rest = all - 16 - room;
        assert!(rig.pool.alloc_vec_buflets(rest, 0, &mut held).is_complete());
        let mut clones = Vec::new();
        let burst = rig.pool.clone_light_vec(&mut packets, &mut clones);
        let lacks = CloneError::NoMemory(AllocError::NoPackets);
        assert_eq!(
            (burst.count, burst.shortfall),
            (room, Some(lacks)),
            "{capacity}"
        );
        assert_eq!(clones.len(), room);
        for (i, packet) in packets.iter_mut().enumerate() {
            assert_eq!(packet.data_mut().is_none(), i < room, "source {i}");
        }
        let again = rig.pool.clone_light_vec(&mut packets[room..], &mut clones);
        assert_eq!((again.count, again.shortfall), (0, Some(lacks)));
        drop((packets, clones, held));
        rig.finish();
    }
}

#[test]
fn the_last_user_gives_the_buffer_back_on_whichever_core() {
    for sources_first in [true, false] {
        let rig = Rig::new(on_demand(64).magazine_capacity(8));
        let mut packets = sources(&rig, 24);
        let mut clones = Vec::new();
        assert!(
            rig.pool
                .clone_light_vec(&mut packets, &mut clones)
                .shortfall
                .is_none()
        );
        let (mut first, mut last) = match sources_first {
            true => (packets, clones),
            false => (clones, packets),
        };
        on_other_core(|| rig.pool.free_vec(&mut first));
        assert_eq!(rig.pool.stats().buffers_in_use, 24);
        for (i, packet) in last.iter().enumerate() {
            assert_eq!(packet.data(), format!("packet {i}").as_bytes());
        }
        // Nobody gets a buffer that is still in use.
        let held: Vec<_> = last
            .iter()
            .filter_map(|p| p.first()?.buffer_index())
            .collect();
        let fresh = rig.take(16);
        assert!(
            fresh
                .iter()
                .all(|p| !held.contains(&p.first().and_then(|b| b.buffer_index()).expect("one")))
        );
        drop(fresh);
        rig.pool.free_vec(&mut last);
        rig.finish();
    }
}

#[test]
fn any_failing_step_ends_the_burst_and_leaks_nothing() {
    for point in [
        FaultPoint::Metadata,
        FaultPoint::Segment,
        FaultPoint::Buflet,
    ] {
        for nth in 1..16 {
            let plan = Arc::new(FaultPlan::new());
            let config = on_demand(64).magazines(false).faults(plan.clone());
            let rig = Rig::new(config);
            let mut packets = sources(&rig, 6);
            packets.insert(2, rig.pool.alloc_buflets(3).expect("a chain"));
            plan.fail_nth(point, nth);
            let mut clones = Vec::new();
            let burst = rig.pool.clone_light_vec(&mut packets, &mut clones);
            assert_eq!(burst.count, clones.len());
            assert_eq!(burst.shortfall.is_none(), burst.count == packets.len());
            for (i, packet) in packets.iter_mut().enumerate() {
                let shared = packet.first().map(|b| b.uses()) == Some(2);
                assert_eq!(shared, i < burst.count, "{point:?} {nth}, source {i}");
            }
            drop((clones, packets));
            rig.finish();
        }
    }
}
