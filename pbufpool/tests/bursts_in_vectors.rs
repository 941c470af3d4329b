//! Bursts in vectors: the same promises as bursts in queues.

mod common;
use common::{Rig, fill, on_demand, on_other_core, regular};
use pbufpool::{AllocError, Attachment, BurstStatus, Leaf, Packet};

#[test]
fn a_burst_is_appended_in_order_and_fresh() {
    for config in [regular(32), on_demand(32)] {
        let rig = Rig::new(config);
        let mut packets = Vec::new();
        for round in 0..3 {
            assert!(rig.pool.alloc_vec(10, &mut packets).is_complete());
            assert!(rig.pool.alloc_vec(6, &mut packets).is_complete());
            assert_eq!(packets.len(), 16, "round {round}");
            let mut indices: Vec<_> = packets.iter().map(Packet::index).collect();
            indices.sort_unstable();
            indices.dedup();
            assert_eq!(indices.len(), 16);
            for packet in &mut packets {
                assert_eq!((packet.len(), packet.buflet_count()), (0, 1));
                assert_eq!(packet.notes().trace_id, 0);
                fill(packet, 9, b"of this life");
                packet.notes_mut().trace_id = 7;
            }
            assert_eq!(rig.pool.free_vec(&mut packets), 16);
            assert!(packets.is_empty());
            rig.assert_idle();
        }
        rig.finish();
    }
}

#[test]
fn a_queue_and_a_vector_get_the_same_packets() {
    let rig = Rig::new(on_demand(32).magazine_capacity(8));
    let mut packets = Vec::new();
    assert!(rig.pool.alloc_vec_buflets(8, 3, &mut packets).is_complete());
    rig.pool.free_vec(&mut packets);
    let queue = rig.take(8);
    let indices: Vec<_> = queue.iter().map(Packet::index).collect();
    drop(queue);
    assert!(rig.pool.alloc_vec(8, &mut packets).is_complete());
    let again: Vec<_> = packets.iter().map(Packet::index).collect();
    assert_eq!(again.len(), indices.len());
    assert!(again.iter().all(|i| indices.contains(i)));
    drop(packets);
    rig.finish();
}

#[test]
fn nothing_asked_is_nothing_given_and_wrong_counts_are_refused() {
    let rig = Rig::new(on_demand(8));
    let mut packets = Vec::new();
    assert!(rig.pool.alloc_vec(0, &mut packets).is_complete());
    assert_eq!(rig.pool.free_vec(&mut packets), 0);
    let burst = rig.pool.alloc_vec_buflets(4, 9, &mut packets);
    let wrong = AllocError::TooManyBuflets { asked: 9, max: 8 };
    assert_eq!((burst.count, burst.shortfall), (0, Some(wrong)));
    let regular = Rig::new(regular(8));
    let burst = regular.pool.alloc_vec_buflets(4, 0, &mut packets);
    let wrong = AllocError::WrongBufletCount { asked: 0, only: 1 };
    assert_eq!((burst.count, burst.shortfall), (0, Some(wrong)));
    assert!(packets.is_empty());
    regular.finish();
    rig.finish();
}

#[test]
fn a_pool_gives_what_it_has_and_says_what_it_lacks() {
    let rig = Rig::new(regular(16).magazine_capacity(0));
    let all = rig.pool.stats().packets;
    let mut packets = Vec::new();
    let burst = rig.pool.alloc_vec(usize::MAX, &mut packets);
    assert_eq!((burst.count, packets.len()), (all, all));
    assert_eq!(burst.shortfall, Some(AllocError::NoPackets));
    assert_eq!(burst.status(), BurstStatus::Partial);
    let burst = rig.pool.alloc_vec(1, &mut packets);
    assert_eq!((burst.count, burst.status()), (0, BurstStatus::Nothing));
    assert_eq!(packets.len(), all);
    drop(packets);
    rig.finish();
}

#[test]
fn a_packet_that_lacks_buflets_is_not_delivered() {
    for capacity in [0, 1, 3, 4, 64] {
        let config = on_demand(64).buffers(10).magazine_capacity(capacity);
        let rig = Rig::new(config);
        let buffers = rig.pool.stats().buffers;
        for k in [1u16, 3, 4, 8] {
            let whole = buffers / usize::from(k);
            let mut packets = Vec::new();
            let burst = rig.pool.alloc_vec_buflets(whole + 2, k, &mut packets);
            let asked = (burst.count, packets.len());
            assert_eq!(asked, (whole, whole), "capacity {capacity}, k {k}");
            let lacks = [Some(AllocError::NoBuffers), Some(AllocError::NoPackets)];
            assert!(lacks.contains(&burst.shortfall), "{burst:?}");
            for packet in &packets {
                assert_eq!(packet.buflets().count(), usize::from(k));
            }
            let stats = rig.pool.stats();
            assert_eq!(stats.packets_in_use, whole);
            assert_eq!(stats.buflets.in_use, whole * usize::from(k));
            assert_eq!(rig.pool.free_vec(&mut packets), whole);
            rig.assert_idle();
        }
        rig.finish();
    }
}

#[test]
fn each_packet_goes_to_its_own_pool() {
    let rigs = [Rig::new(regular(32)), Rig::new(on_demand(32))];
    let mut packets: Vec<Packet> = (0..24)
        .map(|n| rigs[n / 3 % 2].pool.alloc().expect("a free packet"))
        .collect();
    assert_eq!(rigs[1].pool.free_vec(&mut packets), 24);
    for rig in rigs {
        rig.finish();
    }
}

#[test]
fn unusual_packets_are_tidied_on_the_way() {
    let rig = Rig::new(on_demand(64).magazine_capacity(32));
    let mut packets = Vec::new();
    assert!(rig.pool.alloc_vec(12, &mut packets).is_complete());
    packets.push(rig.pool.alloc_large().expect("a large one"));
    let mut chain = rig.pool.alloc_buflets(4).expect("a chain");
    packets.push(chain.clone_light().expect("free metadata"));
    packets.push(chain);
    let clones: Vec<_> = packets[..4]
        .iter_mut()
        .map(|p| p.clone_light().expect("free metadata"))
        .collect();
    packets.extend(clones);
    let carried = rig.pool.alloc().expect("a free packet");
    packets[6].attach(Attachment::Packet(
        Leaf::new(carried).expect("carries nothing"),
    ));
    packets[7].notes_mut().flow_id = 3;
    let n = packets.len();
    assert_eq!(rig.pool.free_vec(&mut packets), n);
    rig.finish();
}

#[test]
fn a_vector_may_outlive_the_pools_handle_and_change_cores() {
    let rig = Rig::new(on_demand(64));
    let mut packets = Vec::new();
    assert!(
        rig.pool
            .alloc_vec_buflets(20, 2, &mut packets)
            .is_complete()
    );
    let other = Rig::new(regular(8));
    let (dma, pool) = (rig.dma, rig.pool);
    drop(pool);
    on_other_core(|| assert_eq!(other.pool.free_vec(&mut packets), 20));
    assert_eq!(dma.live_segments(), 0);
    other.finish();
}
