//! Behaviours 40 to 52: allocating packets.

mod common;
use common::{Rig, on_demand, regular};
use pbufpool::test_utils::{HeapDma, Threads};
use pbufpool::{
    AllocError, BurstStatus, Completion, Layer, Offload, PacketHandle, PacketKind, PacketQueue,
    Pool, RxChecksum, SubObjects,
};

/// An on-demand pool with just `buffers` buffers and no magazines.
fn tight(packets: usize, buffers: usize) -> Rig {
    Rig::new(
        on_demand(packets)
            .buffers(buffers)
            .magazines(false)
            .segment_size(16384),
    )
}

#[test]
fn b40_full_partial_and_none_report_exact_counts() {
    let rig = Rig::new(regular(16).magazines(false));
    let total = rig.pool.stats().packets;
    let mut queue = PacketQueue::new();
    let full = rig.pool.alloc_burst(total - 3, &mut queue);
    assert_eq!(
        (full.status(), full.count),
        (BurstStatus::Complete, total - 3)
    );
    let partial = rig.pool.alloc_burst(10, &mut queue);
    assert_eq!((partial.status(), partial.count), (BurstStatus::Partial, 3));
    let none = rig.pool.alloc_burst(10, &mut queue);
    assert_eq!((none.status(), none.count), (BurstStatus::Nothing, 0));
    assert_eq!(
        (none.shortfall, queue.len()),
        (Some(AllocError::NoPackets), total)
    );
    drop(queue);
    rig.finish();
}

#[test]
fn b41_delivered_packets_have_exactly_k_buflets() {
    let rig = tight(200, 64);
    for k in 0..=8u16 {
        let mut queue = PacketQueue::new();
        let burst = rig.pool.alloc_burst_buflets(30, k, &mut queue);
        assert!(burst.count > 0);
        for packet in &queue {
            assert_eq!(packet.buflet_count(), usize::from(k));
            assert_eq!(packet.buflets().count(), usize::from(k));
        }
    }
    rig.finish();
}

#[test]
fn b42_after_partial_failure_outstanding_buffers_are_delivered_times_k() {
    for k in 1..=8u16 {
        let rig = tight(200, 61);
        let buffers = rig.pool.stats().buffers;
        let mut queue = PacketQueue::new();
        let burst = rig.pool.alloc_burst_buflets(200, k, &mut queue);
        assert_eq!(burst.count, buffers / usize::from(k));
        assert_eq!(burst.shortfall, Some(AllocError::NoBuffers));
        let stats = rig.pool.stats();
        assert_eq!(stats.buffers_in_use, burst.count * usize::from(k));
        assert_eq!(stats.packets_in_use, burst.count);
        drop(queue);
        rig.finish();
    }
}

#[test]
fn b43_a_zero_buflet_packet_has_no_first_buflet() {
    let rig = Rig::new(on_demand(8));
    drop(rig.pool.alloc_buflets(5).unwrap());
    let mut packet = rig.pool.alloc_buflets(0).unwrap();
    assert_eq!((packet.buflet_count(), packet.len()), (0, 0));
    assert!(packet.first().is_none() && packet.buflets().next().is_none());
    assert!(packet.set_span(0, 1).is_err() && packet.data().is_empty());
    drop(packet);
    rig.finish();
}

#[test]
fn b44_a_wrong_count_on_a_regular_pool_is_refused() {
    let rig = Rig::new(regular(8));
    for asked in [0, 2, 9] {
        let error = AllocError::WrongBufletCount { asked, only: 1 };
        assert_eq!(rig.pool.alloc_buflets(asked).unwrap_err(), error);
    }
    let error = Rig::new(on_demand(8)).pool.alloc_buflets(9).unwrap_err();
    assert_eq!(error, AllocError::TooManyBuflets { asked: 9, max: 8 });
}

#[test]
fn b45_callback_numbers_are_0_to_n_minus_1() {
    let rig = tight(200, 61);
    let mut queue = PacketQueue::new();
    let mut seen = Vec::new();
    let burst = rig.pool.alloc_burst_each(200, 2, &mut queue, |n, packet| {
        packet.notes_mut().private = n as u64;
        seen.push(n);
    });
    assert!(burst.count > 0 && burst.count < 200);
    assert_eq!(seen, (0..burst.count).collect::<Vec<_>>());
    for (n, packet) in queue.iter().enumerate() {
        assert_eq!(packet.notes().private, n as u64);
    }
    drop(queue);
    rig.finish();
}

#[test]
fn b46_a_context_cannot_come_without_its_callback() {
    // A closure carries its context: the pair cannot be split. An array without slots is the
    // other invalid request of that kind.
    let rig = Rig::new(regular(8));
    let context = std::cell::Cell::new(0);
    let mut queue = PacketQueue::new();
    let burst = rig
        .pool
        .alloc_burst_each(3, 1, &mut queue, |_, _| context.set(context.get() + 1));
    assert_eq!((burst.count, context.get()), (3, 3));
    assert_eq!(
        rig.pool.alloc_array(&mut [], 1).shortfall,
        Some(AllocError::Empty)
    );
    drop(queue);
    rig.finish();
}

#[test]
fn b47_handles_decode_to_kind_and_layer() {
    for (kind, layer) in [
        (PacketKind::Quantum, Layer::Payload),
        (PacketKind::Quantum, Layer::Raw),
        (PacketKind::Packet, Layer::Payload),
        (PacketKind::Packet, Layer::Raw),
    ] {
        let rig = Rig::new(regular(4).kind(kind).layer(layer));
        let packet = rig.pool.alloc().unwrap();
        let index = packet.index();
        let word = packet.into_handle().as_u64();
        let handle = PacketHandle::from_u64(word).unwrap();
        assert_eq!((handle.kind(), handle.layer()), (kind, layer));
        assert_eq!(handle.untagged() % 16, 0);
        assert_eq!(PacketHandle::from_u64(handle.untagged()), None);
        // SAFETY: made from a packet above, turned back once.
        let packet = unsafe { handle.into_packet() };
        assert_eq!(packet.index(), index);
        drop(packet);
        rig.finish();
    }
    for word in [0, 1, 0xa, 0x1003, 0x100f, 0x1015] {
        assert_eq!(PacketHandle::from_u64(word), None, "{word:#x}");
    }
}

#[test]
fn b48_by_size_allocates_as_many_buflets_as_it_takes() {
    let rig = Rig::new(on_demand(16));
    let size = rig.pool.buffer_size();
    for (bytes, buflets) in [(0, 0), (1, 1), (size, 1), (size + 1, 2), (8 * size, 8)] {
        assert_eq!(
            rig.pool.alloc_bytes(bytes).unwrap().buflet_count(),
            buflets,
            "{bytes} bytes"
        );
    }
    let regular = Rig::new(regular(4));
    assert_eq!(regular.pool.alloc_bytes(1).unwrap().buflet_count(), 1);
    rig.finish();
}

#[test]
fn b49_by_size_beyond_the_longest_chain_is_an_error() {
    for rig in [Rig::new(on_demand(16)), Rig::new(regular(16))] {
        let max = rig.pool.buffer_size() * usize::from(rig.pool.max_frags());
        for bytes in [max + 1, usize::MAX] {
            assert_eq!(
                rig.pool.alloc_bytes(bytes).unwrap_err(),
                AllocError::TooLarge { bytes, max }
            );
        }
        rig.finish();
    }
}

#[test]
fn b50_queue_allocation_appends_in_order() {
    let rig = Rig::new(regular(32));
    let mut queue = rig.take(3);
    let before: Vec<_> = queue.iter().map(|p| p.index()).collect();
    let burst = rig.pool.alloc_burst(5, &mut queue);
    assert_eq!((burst.count, queue.len()), (5, 8));
    let after: Vec<_> = queue.iter().map(|p| p.index()).collect();
    assert_eq!(after[..3], before);
    assert_eq!(queue.iter().count(), 8);
    drop(queue);
    rig.finish();
}

#[test]
fn b51_a_recycled_packet_shows_nothing_of_its_previous_life() {
    let cpu = Threads::leaked(1);
    let subs = SubObjects::init(600, HeapDma::leaked(), cpu).unwrap();
    for config in [regular(8), on_demand(8)] {
        let rig = Rig::on(config.sub_objects(&subs), cpu);
        let mut packet = rig.packet(100, b"secret");
        packet.notes_mut().private = 1;
        packet.notes_mut().trace_id = 2;
        packet.offload_mut().rx_checksum = RxChecksum::Verified;
        packet.options_mut().unwrap().token = 3;
        packet.flow_mut().unwrap().ports = [4, 5];
        packet
            .request_completion(Completion {
                callbacks: 0,
                ..Completion::default()
            })
            .unwrap();
        packet.set_truncated(true);
        let index = packet.index();
        drop(packet);
        let mut packet = rig.pool.alloc().unwrap();
        assert_eq!(packet.index(), index, "the same object");
        assert_eq!(
            (packet.len(), packet.headroom(), packet.buflet_count()),
            (0, 0, 1)
        );
        assert_eq!(packet.first().unwrap().limit(), rig.pool.buffer_size());
        assert_eq!(packet.notes(), pbufpool::Notes::default());
        assert_eq!(*packet.offload(), Offload::NONE);
        assert!(packet.options().is_none() && packet.flow().is_none());
        assert!(packet.attachment().is_none() && !packet.is_truncated() && !packet.is_dropped());
        assert_eq!(packet.options_mut().unwrap().token, 0);
        assert_eq!(packet.flow_mut().unwrap().ports, [0, 0]);
        assert!(!packet.complete(None, 0, 0), "the old request is gone");
        drop(packet);
        rig.finish();
    }
    drop(subs);
}

#[test]
fn b51_a_changed_window_is_restored() {
    let rig = Rig::new(on_demand(8).magazine_capacity(1));
    let mut buflet = rig.pool.alloc_buflet(false).unwrap();
    let base = buflet.span().base_dma();
    buflet.set_window(64, 128).unwrap();
    assert_eq!(
        (buflet.span().limit(), buflet.span().base_dma()),
        (128, base.add(64))
    );
    assert!(buflet.set_span(0, 129).is_err() && buflet.set_window(2000, 100).is_err());
    drop(buflet);
    let packet = rig.pool.alloc().unwrap();
    let first = packet.first().unwrap();
    assert_eq!(
        (first.limit(), first.base_dma(), first.offset()),
        (2048, base, 0)
    );
    drop(packet);
    rig.finish();
}

#[test]
fn b52_allocation_never_waits() {
    let cpu = Threads::leaked(1);
    cpu.set_uptime_ms(5);
    let dma = HeapDma::leaked();
    let pool = Pool::new(regular(8).magazines(false), dma, cpu).unwrap();
    let mut queue = PacketQueue::new();
    assert!(!pool.alloc_burst(10_000, &mut queue).is_complete());
    assert!(pool.alloc().is_err());
    dma.set_limit(1);
    queue.clear();
    assert!(pool.alloc().is_err());
    // The platform counts waiting on its clock.
    assert_eq!(pbufpool::Platform::uptime_ms(cpu), 5);
}
