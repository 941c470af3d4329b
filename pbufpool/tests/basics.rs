//! The first things anyone does with a pool.

use pbufpool::test_utils::{HeapDma, Threads};
use pbufpool::{AllocError, PacketQueue, Pool, PoolConfig};

fn regular(packets: usize) -> (Pool, &'static HeapDma) {
    let dma = HeapDma::leaked();
    let config = PoolConfig::new("t").packets(packets).magazine_capacity(16);
    (
        Pool::new(config, dma, Threads::leaked(2)).expect("valid"),
        dma,
    )
}

fn chains(packets: usize) -> (Pool, &'static HeapDma) {
    let dma = HeapDma::leaked();
    let config = PoolConfig::new("t")
        .packets(packets)
        .on_demand(true)
        .max_frags(8)
        .large(65536)
        .magazine_capacity(16);
    (
        Pool::new(config, dma, Threads::leaked(2)).expect("valid"),
        dma,
    )
}

#[test]
fn a_dropped_packet_goes_back() {
    let (pool, dma) = regular(64);
    let mut packet = pool.alloc().expect("fresh pool");
    packet.set_span(64, 100).expect("fits");
    packet.data_mut().expect("exclusive").fill(7);
    packet.push_front(12).expect("headroom").fill(1);
    assert_eq!(packet.len(), 112);
    assert_eq!(packet.headroom(), 52);
    assert_eq!(pool.stats().packets_in_use, 1);
    drop(packet);
    assert_eq!(pool.stats().packets_in_use, 0);
    drop(pool);
    assert_eq!(dma.live_segments(), 0);
}

#[test]
fn a_packet_keeps_its_pool_alive() {
    let (pool, dma) = chains(64);
    let mut packets = PacketQueue::new();
    assert!(pool.alloc_burst_buflets(20, 3, &mut packets).is_complete());
    let one = packets.pop_front().expect("20 there");
    drop(pool);
    assert_eq!(packets.len(), 19);
    drop(packets);
    assert!(dma.live_segments() > 0);
    drop(one);
    assert_eq!(dma.live_segments(), 0);
}

#[test]
fn everything_asked_for_can_be_had_and_comes_back() {
    for (pool, dma) in [regular(500), chains(500)] {
        for _ in 0..3 {
            let mut queue = PacketQueue::new();
            let burst = pool.alloc_burst(100_000, &mut queue);
            assert!(burst.count >= 500 && !burst.is_complete(), "{burst:?}");
            assert_eq!(queue.len(), burst.count);
            assert_eq!(pool.stats().packets_in_use, burst.count);
            assert_eq!(pool.stats().buffers_in_use, burst.count);
            assert!(matches!(
                pool.alloc(),
                Err(AllocError::NoPackets | AllocError::NoBuffers)
            ));
            pool.free_queue(&mut queue);
            assert_eq!(pool.stats().packets_in_use, 0);
            assert_eq!(pool.stats().buffers_in_use, 0);
        }
        drop(pool);
        assert_eq!(dma.live_segments(), 0);
    }
}

#[test]
fn merged_receive_appends_and_linearises() {
    let (pool, dma) = chains(64);
    let mut head = pool.alloc().expect("first");
    head.set_span(0, 2048).expect("fits");
    head.data_mut().expect("mine").fill(1);
    for i in 2..5u8 {
        let mut next = pool.alloc().expect("more");
        next.set_span(0, 1000).expect("fits");
        next.data_mut().expect("mine").fill(i);
        head.append(next).expect("same pool");
    }
    assert_eq!((head.buflet_count(), head.len()), (4, 5048));
    assert_eq!(pool.stats().packets_in_use, 1);
    let whole = head.linearise(&pool).expect("large buffers are free");
    assert_eq!(whole.buflet_count(), 1);
    assert_eq!(whole.contiguous().map(<[u8]>::len), Some(5048));
    assert_eq!(whole.data()[2048..3048], [2; 1000]);
    assert_eq!(pool.stats().linearised_bytes, 5048);
    drop(whole);
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
    assert_eq!(dma.live_segments(), 0);
}

#[test]
fn lending_and_reclaiming_keeps_the_packet() {
    let (pool, _) = regular(8);
    let mut packet = pool.alloc().expect("fresh");
    packet.set_span(0, 2048).expect("all of it");
    let lent = packet.lend();
    assert_eq!(lent.spans().map(|s| s.1).collect::<Vec<_>>(), [2048]);
    let at = lent.first_dma().expect("has a buffer");
    // SAFETY: no device in this test.
    let packet = unsafe { lent.reclaim() };
    assert_eq!(HeapDma::dma_of(packet.data().as_ptr()), at);
}

#[test]
fn the_audit_names_who_holds_each_packet() {
    let (pool, _) = chains(64);
    let mut queue = PacketQueue::new();
    let line = line!() + 1;
    assert!(pool.alloc_burst(3, &mut queue).is_complete());
    let mut packet = pool.alloc().expect("free");
    let clone = packet.clone_light().expect("free");
    let holders = pool.holders();
    assert_eq!(holders.len(), 5);
    assert_eq!(
        holders.iter().filter(|h| h.location.line() == line).count(),
        3
    );
    assert!(
        holders
            .iter()
            .all(|h| h.location.file().ends_with("basics.rs")),
        "{holders:?}"
    );
    drop((queue, packet, clone));
    assert!(pool.holders().is_empty());
}

#[test]
fn packets_freed_on_another_thread_are_found_again() {
    let (pool, dma) = regular(256);
    for _ in 0..50 {
        let mut queue = PacketQueue::new();
        assert!(pool.alloc_burst(200, &mut queue).is_complete());
        std::thread::spawn(move || drop(queue))
            .join()
            .expect("no panic");
    }
    assert_eq!(pool.stats().packets_in_use, 0);
    drop(pool);
    assert_eq!(dma.live_segments(), 0);
}
