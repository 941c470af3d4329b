//! The first things anyone does with a pool.

use pbufpool::test_utils::{HeapDma, Threads};
use pbufpool::{AllocError, Packet, PacketQueue, Pool, PoolConfig, RxChecksum};

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

#[cfg(feature = "audit")]
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

#[test]
fn a_small_machine_gets_a_pool_within_a_mebibyte() {
    for on_demand in [false, true] {
        let dma = HeapDma::leaked();
        let config = PoolConfig::new("small")
            .packets(320)
            .buffers(320)
            .on_demand(on_demand)
            .max_frags(if on_demand { 8 } else { 1 })
            .magazine_capacity(16);
        let config = if on_demand { config } else { config.buffers(0) };
        let pool = Pool::new(config, dma, Threads::leaked(1)).expect("valid");
        let mut queue = PacketQueue::new();
        let all = pool.alloc_burst(10_000, &mut queue).count;
        assert!(all >= 320, "{all} packets");
        let bytes = pool.stats().live_bytes;
        assert!(bytes <= 1 << 20, "{all} packets take {bytes} bytes");
    }
}

#[test]
fn every_buflet_of_a_chain_can_be_written() {
    let (pool, _) = chains(16);
    let mut packet = pool.alloc_buflets(3).expect("free");
    for n in 0..3 {
        let mut buflet = packet.buflet_mut(n).expect("three");
        buflet.set_span(n, 10).expect("fits");
        buflet.data_mut().expect("exclusive").fill(n as u8);
    }
    assert!(packet.buflet_mut(3).is_none());
    assert_eq!(packet.len(), 30);
    assert!(
        packet
            .buflets()
            .enumerate()
            .all(|(n, b)| b.data() == [n as u8; 10])
    );
}

#[test]
fn a_used_up_pool_fails_cheaply() {
    let (pool, _) = regular(64);
    let mut queue = PacketQueue::new();
    assert!(!pool.alloc_burst(100_000, &mut queue).is_complete());
    let purges = pool.stats().metas.purges;
    for _ in 0..100 {
        assert!(pool.alloc().is_err());
    }
    assert_eq!(
        pool.stats().metas.purges,
        purges,
        "nothing is cached: nothing to purge"
    );
}

#[test]
fn a_read_only_pool_gives_no_writable_data() {
    let config = PoolConfig::new("ro")
        .packets(8)
        .on_demand(true)
        .max_frags(2)
        .cpu_read_only(true);
    let pool = Pool::new(config, HeapDma::leaked(), Threads::leaked(1)).expect("valid");
    let mut packet = pool.alloc().expect("free");
    packet.set_span(64, 100).expect("where a device wrote");
    assert_eq!(packet.data().len(), 100);
    assert!(packet.data_mut().is_none() && packet.push_front(4).is_err());
    assert!(pool.alloc_buffer().expect("free").bytes_mut().is_none());
    packet
        .append(pool.alloc().expect("free"))
        .expect("same pool");
    let (packet, error) = packet.linearise(&pool).expect_err("needs a copy");
    assert_eq!((packet.buflet_count(), error), (2, AllocError::ReadOnly));
}

#[test]
fn a_large_machine_gives_transmitting_pools_more_packets() {
    use pbufpool::Direction::{In, Out};
    let packets = |direction, memory| {
        let config = PoolConfig::new("tx")
            .packets(8)
            .direction(direction)
            .memory_size(memory);
        let pool = Pool::new(config, HeapDma::leaked(), Threads::leaked(1)).expect("valid");
        pool.stats().packets
    };
    assert!(packets(Out, 3 << 30) >= 4096);
    assert!(packets(Out, 1 << 30) < 4096 && packets(In, 3 << 30) < 4096);
}

#[test]
fn a_packet_is_plain_while_it_is_one_buffer_of_its_own_and_nothing_is_noted() {
    for (pool, _dma) in [regular(16), chains(16)] {
        let mut packet = pool.alloc().expect("fresh pool");
        packet.set_span(64, 100).expect("fits");
        let mut buflet = packet.plain_mut().expect("plain");
        buflet.push_front(12).expect("headroom").fill(1);
        assert_eq!((packet.len(), packet.headroom()), (112, 52));

        packet.offload_mut().rx_checksum = RxChecksum::Verified;
        assert!(packet.plain_mut().is_none(), "it has an offload note");
        let mut buflet = packet.single_mut().expect("it is one buffer still");
        buflet.set_span(0, 7).expect("fits");
        assert_eq!(packet.len(), 7);
        assert_eq!(packet.offload().rx_checksum, RxChecksum::Verified);
        drop(packet);
        let mut recycled = pool.alloc().expect("one is back");
        assert!(recycled.plain_mut().is_some(), "a note of its last life");
    }
    let (pool, _dma) = chains(16);
    let mut packet = pool.alloc().expect("fresh pool");
    let mut clone = packet.clone_light().expect("free metadata");
    let mut chain = pool.alloc_buflets(2).expect("enough");
    let mut bare = pool.alloc_buflets(0).expect("enough");
    for (packet, what) in [
        (&mut packet, "shared"),
        (&mut clone, "a clone"),
        (&mut chain, "two buflets"),
        (&mut bare, "no buflet"),
    ] {
        assert!(packet.plain_mut().is_none(), "{what}");
        assert!(packet.single_mut().is_none(), "{what}");
    }
}

#[test]
fn what_lies_behind_a_header_begins_a_cache_line() {
    for (header, first) in [(0, 0), (10, 54), (12, 52), (64, 0), (76, 52)] {
        for monolithic in [false, true] {
            let config = PoolConfig::new("t").packets(70).header(header);
            let config = config.monolithic(monolithic).magazine_capacity(8);
            let pool = Pool::new(config, HeapDma::leaked(), Threads::leaked(1)).expect("valid");
            let mut packets = PacketQueue::new();
            assert!(pool.alloc_burst(70, &mut packets).is_complete());
            let first_of = |packet: &Packet| {
                let buflet = packet.first().expect("one buffer");
                (buflet.base_dma().as_u64(), buflet.limit())
            };
            let mut spans: Vec<_> = packets.iter().map(first_of).collect();
            assert!(spans.iter().all(|(dma, _)| dma % 64 == first), "{header}");
            assert!(spans.iter().all(|(_, limit)| *limit == 2048));
            spans.sort_unstable();
            let apart = |pair: &[(u64, usize)]| pair[0].0 + 2048 <= pair[1].0;
            assert!(spans.windows(2).all(apart), "buffers overlap");
        }
    }
}
