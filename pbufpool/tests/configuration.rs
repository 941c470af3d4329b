//! Behaviours 1 to 19: what can be configured, and what comes of it.

mod common;
use common::{Rig, on_demand, regular};
use pbufpool::test_utils::{HeapDma, Threads};
use pbufpool::{
    ConfigError, Direction, DmaAddr, MapRefused, PacketKind, Pool, PoolConfig, PoolContext,
    STRIDING_SIZE, Segment, SegmentHooks,
};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

fn refused(config: PoolConfig) -> ConfigError {
    Pool::new(config, HeapDma::leaked(), Threads::leaked(1)).expect_err("must be refused")
}

#[derive(Default)]
struct Log {
    events: Mutex<Vec<(&'static str, usize, Direction)>>,
    refuse: AtomicUsize,
}

impl SegmentHooks for Log {
    fn map(&self, segment: &Segment, index: usize, dir: Direction) -> Result<DmaAddr, MapRefused> {
        if self.refuse.load(Ordering::SeqCst) != 0 {
            return Err(MapRefused);
        }
        self.events.lock().unwrap().push(("map", index, dir));
        Ok(segment.dma())
    }
    fn unmap(&self, _: &Segment, index: usize, dir: Direction) {
        self.events.lock().unwrap().push(("unmap", index, dir));
    }
}

struct Context(Arc<Log>);
impl PoolContext for Context {}
impl Drop for Context {
    fn drop(&mut self) {
        self.0
            .events
            .lock()
            .unwrap()
            .push(("release", 0, Direction::Both));
    }
}

#[test]
fn b01_zero_packets_buffer_size_or_max_frags_is_rejected() {
    assert_eq!(refused(regular(0)), ConfigError::NoPackets);
    assert_eq!(
        refused(regular(1).buffer_size(0)),
        ConfigError::NoBufferSize
    );
    assert_eq!(refused(regular(1).max_frags(0)), ConfigError::NoFrags);
}

#[test]
fn b02_chains_without_on_demand_are_rejected() {
    assert_eq!(
        refused(regular(1).max_frags(2)),
        ConfigError::ChainsNeedOnDemand { max_frags: 2 }
    );
}

#[test]
fn b03_a_quantum_with_a_chain_is_rejected() {
    let config = regular(1).kind(PacketKind::Quantum).max_frags(3);
    assert_eq!(refused(config), ConfigError::QuantumChain { max_frags: 3 });
}

#[test]
fn b04_a_quantum_on_demand_is_rejected() {
    let config = regular(1).kind(PacketKind::Quantum).on_demand(true);
    assert_eq!(refused(config), ConfigError::QuantumOnDemand);
}

#[test]
fn b05_fewer_buffers_than_packets_only_on_demand() {
    let error = ConfigError::FewerBuffersThanPackets {
        buffers: 5,
        packets: 10,
    };
    assert_eq!(refused(regular(10).buffers(5)), error);
    Rig::new(on_demand(10).buffers(5)).finish();
}

#[test]
fn b06_segment_hooks_come_as_a_pair() {
    // `SegmentHooks` has two required methods, so a lone half does not compile; and each map
    // has its unmap.
    let log = Arc::new(Log::default());
    let rig = Rig::new(regular(40).hooks(log.clone()));
    drop(rig.take(40));
    rig.finish();
    let events = log.events.lock().unwrap();
    let count = |what| events.iter().filter(|e| e.0 == what).count();
    assert!(count("map") > 0);
    assert_eq!(count("map"), count("unmap"));
}

#[test]
fn b07_context_is_released_once_after_the_last_unmap() {
    let log = Arc::new(Log::default());
    let context = Arc::new(Context(log.clone()));
    let rig = Rig::new(regular(4).hooks(log.clone()).context(context.clone()));
    assert_eq!(Arc::strong_count(&context), 2);
    let packet = rig.pool.alloc().unwrap();
    drop(context);
    drop(rig.pool);
    assert_ne!(log.events.lock().unwrap().last().unwrap().0, "release");
    drop(packet);
    let events = log.events.lock().unwrap();
    assert_eq!(events.iter().filter(|e| e.0 == "release").count(), 1);
    assert_eq!(events.last().unwrap().0, "release");
}

#[test]
fn b08_failed_creation_releases_the_context_and_leaks_nothing() {
    let log = Arc::new(Log::default());
    let context: Arc<Context> = Arc::new(Context(log.clone()));
    let broken = [
        regular(0),
        regular(1).max_frags(9),
        regular(usize::MAX / 2),
        regular(1).uncached(true),
    ];
    for config in broken {
        let dma = HeapDma::leaked();
        assert!(Pool::new(config.context(context.clone()), dma, Threads::leaked(1)).is_err());
        assert_eq!(
            (Arc::strong_count(&context), dma.created_segments()),
            (1, 0)
        );
    }
    // Creation takes no memory; the first allocation does, and may be refused at each step.
    let rig = Rig::new(regular(4).hooks(log.clone()).context(context.clone()));
    log.refuse.store(1, Ordering::SeqCst);
    assert!(rig.pool.alloc().is_err());
    log.refuse.store(0, Ordering::SeqCst);
    rig.dma.set_limit(1);
    assert!(rig.pool.alloc().is_err());
    assert_eq!(rig.dma.live_segments(), 0);
    rig.dma.set_limit(0);
    drop(rig.pool.alloc().unwrap());
    rig.finish();
    assert_eq!(Arc::strong_count(&context), 1);
}

#[test]
fn b09_buffers_cover_packets_cover_the_request() {
    for config in [regular(100), on_demand(100), regular(1000).buffers(3000)] {
        let stats = Rig::new(config.clone()).pool.stats();
        assert!(
            stats.buffers >= stats.packets && stats.packets >= 100,
            "{stats:?}"
        );
    }
}

#[test]
fn b10_magazines_inflate_the_packet_count() {
    let cpu = Threads::leaked(4);
    let fixed = Rig::on(regular(100).magazine_capacity(16), cpu)
        .pool
        .stats();
    assert!(fixed.packets >= 100 + 4 * 16 * 2);
    let without = Rig::on(regular(100).magazines(false), cpu).pool.stats();
    assert!(without.packets < fixed.packets);
    let dynamic = Rig::on(PoolConfig::new("d").packets(100), cpu).pool.stats();
    let steady = Rig::on(PoolConfig::new("s").packets(100).dynamic(false), cpu)
        .pool
        .stats();
    assert!(steady.packets >= 100 + 4 * steady.metas.capacity * 2);
    assert!(
        dynamic.packets > steady.packets,
        "room for the largest reachable capacity"
    );
}

#[test]
fn b11_a_large_region_exists_only_with_a_large_size() {
    let without = Rig::new(regular(10).on_demand(true));
    assert_eq!(
        (
            without.pool.large_size(),
            without.pool.stats().large_buffers
        ),
        (None, 0)
    );
    assert!(without.pool.alloc_large().is_err());
    let stats = Rig::new(on_demand(10)).pool.stats();
    assert_eq!(stats.large_size, 65536);
    assert!(stats.large_buffers >= stats.buffers);
}

#[test]
fn b12_buflets_cover_default_and_large_buffers() {
    let stats = Rig::new(on_demand(100)).pool.stats();
    assert!(
        stats.buflets.objects + stats.large_buflets.objects >= stats.buffers + stats.large_buffers
    );
    assert!(stats.buflets.objects >= stats.buffers);
}

#[test]
fn b13_monolithic_gives_one_segment() {
    let rig = Rig::new(regular(2000).monolithic(true));
    let queue = rig.take(2000);
    assert_eq!(rig.pool.stats().buffer_cache.slab.creates, 1);
    drop(queue);
    rig.finish();
}

#[test]
fn b14_device_addresses_follow_from_the_segment_base() {
    let rig = Rig::new(on_demand(100));
    let buffers: Vec<_> = (0..100).map(|_| rig.pool.alloc_buffer().unwrap()).collect();
    for buffer in &buffers {
        let (segment, within) = buffer.place();
        let same = buffers
            .iter()
            .find(|b| b.place() == (segment, 0))
            .expect("filled in order");
        assert_eq!(
            buffer.dma_addr(),
            same.dma_addr().add(within * rig.pool.buffer_size())
        );
        assert_eq!(HeapDma::dma_of(buffer.bytes().as_ptr()), buffer.dma_addr());
    }
    drop(buffers);
    rig.finish();
}

#[test]
fn b15_no_buffer_crosses_a_segment_and_all_are_aligned() {
    for size in [1, 100, 1514, 2048, 9000, 40000, 70000] {
        let rig = Rig::new(regular(50).buffer_size(size));
        let queue = rig.take(50);
        let slab = pbufpool::region::Geometry::of(&pbufpool::region::RegionParams {
            name: "buffer",
            object_size: size,
            count: rig.pool.stats().buffers,
            segment_size: 65536,
            monolithic: false,
            lead: 0,
        })
        .unwrap();
        assert!(slab.per_segment * slab.object_size <= slab.segment_size);
        assert_eq!(slab.segment_size % pbufpool::region::SEGMENT_UNIT, 0);
        for packet in &queue {
            let dma = packet.first().unwrap().base_dma().as_u64();
            assert_eq!(dma % 64, 0, "buffer of {size}");
            assert!(packet.first().unwrap().limit() >= size.max(1));
        }
        drop(queue);
        rig.finish();
    }
}

#[test]
fn b16_the_direction_reaches_the_map_hook() {
    for direction in [Direction::In, Direction::Out, Direction::Both] {
        let log = Arc::new(Log::default());
        let rig = Rig::new(regular(1).direction(direction).hooks(log.clone()));
        drop(rig.pool.alloc().unwrap());
        rig.finish();
        assert!(log.events.lock().unwrap().iter().all(|e| e.2 == direction));
        assert!(log.events.lock().unwrap().len() >= 2);
    }
}

#[test]
fn b17_only_huge_buffers_have_magazines_of_their_own() {
    let small = Rig::new(regular(2).buffer_size(STRIDING_SIZE / 2))
        .pool
        .stats();
    let huge = Rig::new(regular(2).buffer_size(STRIDING_SIZE)).pool.stats();
    assert_eq!(
        (small.buffer_cache.capacity, huge.buffer_cache.capacity),
        (0, 4)
    );
    assert_eq!(
        Rig::new(on_demand(2))
            .pool
            .stats()
            .large_buffer_cache
            .capacity,
        0
    );
}

#[test]
fn b18_memory_information_reports_configured_values() {
    let rig = Rig::new(on_demand(100).buffer_size(1500));
    let stats = rig.pool.stats();
    assert_eq!(
        (stats.buffer_size, stats.large_size, stats.max_frags),
        (1536, 65536, 8)
    );
    assert_eq!((&*stats.name, stats.live_segments), ("pp.test", 0));
    assert!(stats.packets >= 100 && stats.buffers >= 100);
    let queue = rig.take(1);
    assert_eq!(rig.pool.stats().live_segments, rig.dma.live_segments());
    drop(queue);
    rig.finish();
}

#[test]
fn b19_a_kernel_only_pool_refuses_a_ledger() {
    let rig = Rig::new(regular(4).kernel_only(true));
    assert!(matches!(
        rig.pool.ledger(),
        Err(pbufpool::ledger::LedgerError::KernelOnly)
    ));
    rig.finish();
}
