//! Behaviours 89 to 96: injected faults, the end of a pool, many cores.

mod common;
use common::{Rig, fill, on_demand, on_other_core, regular};
use pbufpool::fault::{FaultPlan, FaultPoint, MTBF_MAX};
use pbufpool::ledger::OwnerId;
use pbufpool::test_utils::{HeapDma, Threads};
use pbufpool::{
    AllocError, AlreadyInitialised, Attachment, CloneError, Direction, DmaAddr, Foreign,
    MapRefused, PacketQueue, PoolContext, Segment, SegmentHooks, SubObjects,
};
use std::sync::{Arc, Mutex};

/// The options, flow and completion caches exist once: tests that need them take turns.
static SUB_OBJECTS: Mutex<()> = Mutex::new(());

#[test]
fn b89_mtbf_is_off_at_0_and_clamped() {
    let plan = FaultPlan::new();
    assert_eq!(plan.set_mtbf(0), 0);
    assert_eq!(plan.set_mtbf(1), 2);
    assert_eq!(plan.set_mtbf(5000), 5000);
    assert_eq!(plan.set_mtbf(u64::MAX), MTBF_MAX);

    let plan = Arc::new(FaultPlan::new());
    let rig = Rig::new(regular(8).magazines(false).faults(plan.clone()));
    rig.cpu.set_uptime_ms(5000);
    drop(rig.pool.alloc().expect("off"));
    plan.set_mtbf(5000);
    assert_eq!(rig.pool.alloc().unwrap_err(), AllocError::NoPackets);
    drop(rig.pool.alloc().expect("one hit per moment"));
    rig.cpu.set_uptime_ms(5001);
    drop(rig.pool.alloc().expect("no multiple"));
    rig.cpu.set_uptime_ms(10_000);
    assert!(rig.pool.alloc().is_err());
    rig.finish();
}

/// One of everything that can fail; failures must be of the memory kind.
fn exercise(rig: &Rig) {
    let short = |e: AllocError| {
        assert!(
            matches!(e, AllocError::NoPackets | AllocError::NoBuffers),
            "{e:?}"
        )
    };
    let mut queue = PacketQueue::new();
    for k in [0, 1, 3] {
        let before = queue.len();
        let burst = rig.pool.alloc_burst_buflets(6, k, &mut queue);
        assert_eq!(queue.len() - before, burst.count);
        burst.shortfall.into_iter().for_each(short);
    }
    match rig.pool.alloc_large() {
        Ok(mut packet) => fill(&mut packet, 0, &[1; 5000]),
        Err(e) => short(e),
    }
    rig.pool.alloc_buffer().err().into_iter().for_each(short);
    rig.pool
        .alloc_buflet(true)
        .err()
        .into_iter()
        .for_each(short);
    let (mut sources, mut copies) = (Vec::new(), Vec::new());
    for k in [1, 2] {
        let burst = rig.pool.alloc_vec_buflets(3, k, &mut sources);
        burst.shortfall.into_iter().for_each(short);
    }
    let burst = rig.pool.clone_light_vec(&mut sources, &mut copies);
    assert_eq!(copies.len(), burst.count);
    match burst.shortfall {
        None => assert_eq!(burst.count, sources.len()),
        Some(CloneError::NoMemory(e)) => short(e),
        Some(e) => panic!("{e}"),
    }
    drop((sources, copies));
    let mut clones = PacketQueue::new();
    while let Some(mut packet) = queue.pop_front() {
        for clone in [packet.clone_light(), packet.clone_heavy()] {
            match clone {
                Ok(clone) => clones.push_back(clone),
                Err(CloneError::NoMemory(e)) => short(e),
                Err(e) => assert_eq!(e, CloneError::Empty),
            }
        }
        if let Ok(mut other) = rig.pool.alloc()
            && let Ok(clone) = other.clone_light()
        {
            drop(packet.append(clone));
        }
        if packet.buflet_count() > 1 && packet.set_span(0, 100).is_ok() {
            drop(packet.linearise(&rig.pool));
        }
    }
}

#[test]
fn b90_every_fault_point_failing_in_turn_leaks_nothing() {
    let _turn = SUB_OBJECTS
        .lock()
        .unwrap_or_else(|poison| poison.into_inner());
    let subs = SubObjects::init(4096, HeapDma::leaked(), Threads::leaked(1)).unwrap();
    let plan = Arc::new(FaultPlan::new());
    let rig = Rig::new(on_demand(32).faults(plan.clone()).sub_objects(&subs));
    let mut injected = 0;
    for point in FaultPoint::ALL {
        // How often the point is asked in a run without failures, from empty caches.
        let before = plan.asked(point);
        exercise(&rig);
        rig.pool.purge();
        let questions = plan.asked(point) - before;
        assert!(questions > 0, "{point:?} is never asked");
        // An interpreter takes its time: it gets a sample.
        for n in (1..=questions).step_by(if cfg!(miri) { 29 } else { 1 }) {
            plan.fail_nth(point, n);
            exercise(&rig);
            rig.assert_idle();
            rig.pool.purge();
            assert_eq!(rig.dma.live_segments(), 0, "{point:?} {n}");
        }
        plan.fail_nth(point, 0);
        plan.fail_always(point, true);
        exercise(&rig);
        plan.fail_always(point, false);
        rig.assert_idle();
        injected = plan.injected();
    }
    assert!(injected > 50, "{injected}");
    let sub_stats = subs.stats();
    rig.finish();
    assert!(sub_stats.iter().all(|s| s.allocs > 0));
    assert!(subs.stats().iter().all(|s| s.in_use == 0));
}

#[test]
fn b90_a_source_that_runs_dry_at_any_segment_leaks_nothing() {
    let rig = Rig::new(on_demand(32));
    for limit in 1..12 {
        rig.dma.set_limit(limit);
        exercise(&rig);
        rig.assert_idle();
        rig.pool.purge();
        assert_eq!(rig.dma.live_segments(), 0);
    }
    rig.dma.set_limit(0);
    rig.finish();
}

#[test]
fn b91_waiting_is_exempt_from_metadata_and_buffer_injection() {
    let plan = Arc::new(FaultPlan::new());
    let rig = Rig::new(on_demand(8).magazines(false).faults(plan.clone()));
    plan.fail_always(FaultPoint::Metadata, true);
    plan.fail_always(FaultPoint::Buffer, true);
    assert!(rig.pool.alloc().is_err());
    let packet = rig.pool.alloc_wait(2).expect("exempt");
    assert_eq!(packet.buflet_count(), 2);
    assert!(rig.pool.alloc().is_err(), "only while waiting");
    drop(packet);
    plan.fail_always(FaultPoint::Segment, true);
    assert_eq!(rig.pool.alloc_wait(1).unwrap_err(), AllocError::TimedOut);
    assert_eq!(
        rig.pool.alloc_wait(9).unwrap_err(),
        AllocError::TooManyBuflets { asked: 9, max: 8 }
    );
    rig.finish();
}

#[test]
fn b92_a_closed_pool_refuses_new_clients_and_serves_old_ones() {
    let rig = Rig::new(regular(8));
    let bound = rig.pool.bind().expect("open");
    assert!(rig.pool.close());
    assert!(!rig.pool.close(), "once only");
    assert!(rig.pool.bind().is_none() && bound.is_closed());
    let packet = bound.alloc().unwrap();
    let Rig { pool, dma, .. } = rig;
    drop(pool);
    drop(bound.alloc().unwrap());
    drop(bound);
    assert!(dma.live_segments() > 0, "a packet is still out");
    drop(packet);
    assert_eq!(dma.live_segments(), 0);
}

#[derive(Default)]
struct Log(Mutex<Vec<&'static str>>);
struct Context(Arc<Log>);
impl PoolContext for Context {}
impl Drop for Context {
    fn drop(&mut self) {
        self.0.0.lock().unwrap().push("context");
    }
}
struct Blob(Arc<Log>);
impl Foreign for Blob {
    fn duplicate(&self) -> Option<Box<dyn Foreign>> {
        None
    }
    fn bytes(&self) -> &[u8] {
        &[]
    }
}
impl Drop for Blob {
    fn drop(&mut self) {
        self.0.0.lock().unwrap().push("ledger");
    }
}
impl SegmentHooks for Log {
    fn map(&self, s: &Segment, _: usize, _: Direction) -> Result<DmaAddr, MapRefused> {
        Ok(s.dma())
    }
    fn unmap(&self, _: &Segment, _: usize, _: Direction) {
        self.0.lock().unwrap().push("buffers");
    }
}

#[test]
fn b93_teardown_runs_ledger_then_objects_then_buffers_then_context() {
    let log = Arc::new(Log::default());
    let config = on_demand(8)
        .hooks(log.clone())
        .context(Arc::new(Context(log.clone())));
    let rig = Rig::new(config);
    let ledger = rig.pool.ledger().unwrap();
    let mut packet = rig.pool.alloc_buflets(3).unwrap();
    packet.attach(Attachment::Foreign(Box::new(Blob(log.clone()))));
    ledger.loan(packet, OwnerId::new(1).unwrap()).unwrap();
    drop(ledger);
    drop(rig.pool);
    assert_eq!(*log.0.lock().unwrap(), ["ledger", "buffers", "context"]);
    assert_eq!(rig.dma.live_segments(), 0);
}

fn churn(cores: usize, cpu: &'static Threads) {
    let rig = Rig::on(on_demand(512), cpu);
    let ring: Mutex<PacketQueue> = Mutex::default();
    std::thread::scope(|s| {
        for core in 0..cores {
            let (rig, ring) = (&rig, &ring);
            s.spawn(move || {
                let mut seed = core as u64 + 1;
                let mut mine = PacketQueue::new();
                for _ in 0..if cfg!(miri) { 30 } else { 3000 } {
                    seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                    let dice = (seed >> 33) as usize;
                    match dice % 16 {
                        0..=5 => {
                            _ = rig.pool.alloc_burst_buflets(
                                dice % 20,
                                (dice % 4) as u16,
                                &mut mine,
                            )
                        }
                        6..=8 => drop(mine.split_off(mine.len() / 2)),
                        9 | 10 => ring.lock().unwrap().append(&mut mine),
                        11 | 12 => {
                            let mut theirs = core::mem::take(&mut *ring.lock().unwrap());
                            mine.append(&mut theirs);
                        }
                        13 => {
                            let mut sources: Vec<_> = mine.by_ref().take(dice % 24).collect();
                            let mut clones = Vec::new();
                            _ = rig.pool.clone_light_vec(&mut sources, &mut clones);
                            ring.lock().unwrap().extend(sources);
                            mine.extend(clones);
                        }
                        14 => {
                            let clone = mine.pop_front().and_then(|mut p| {
                                let clone = p.clone_light().ok();
                                ring.lock().unwrap().push_back(p);
                                clone
                            });
                            mine.extend(clone);
                        }
                        _ if dice.is_multiple_of(7) => rig.pool.purge(),
                        _ => rig.pool.reap(false),
                    }
                }
            });
        }
    });
    ring.lock().unwrap().clear();
    assert!(rig.pool.stats().metas.allocs > if cfg!(miri) { 10 } else { 1000 });
    rig.finish();
}

#[test]
fn b94_cores_mixing_alloc_clone_free_and_purge_end_with_nothing_outstanding() {
    churn(4, Threads::leaked(5));
}

#[test]
fn b94_the_same_without_an_asymmetric_barrier() {
    churn(4, Threads::leaked_without_barrier(5));
}

#[test]
fn b94_the_last_handle_may_go_while_other_cores_free() {
    for _ in 0..if cfg!(miri) { 3 } else { 100 } {
        let rig = Rig::on(on_demand(256), Threads::leaked(4));
        let queues: Vec<_> = (0..3)
            .map(|_| {
                let mut queue = PacketQueue::new();
                assert!(
                    rig.pool
                        .alloc_burst_buflets(40, 2, &mut queue)
                        .is_complete()
                );
                queue
            })
            .collect();
        let Rig { pool, dma, .. } = rig;
        let meet = std::sync::Barrier::new(4);
        std::thread::scope(|s| {
            for mut queue in queues {
                let meet = &meet;
                s.spawn(move || {
                    meet.wait();
                    while let Some(packet) = queue.pop_front() {
                        drop(packet);
                    }
                });
            }
            meet.wait();
            drop(pool);
        });
        assert_eq!(dma.live_segments(), 0);
    }
}

#[test]
fn b95_packets_freed_on_another_core_are_found_again() {
    for config in [regular(64), on_demand(64)] {
        let rig = Rig::new(config);
        for round in 0..if cfg!(miri) { 3 } else { 200 } {
            let mut queue = PacketQueue::new();
            assert!(
                rig.pool.alloc_burst(60, &mut queue).is_complete(),
                "round {round}"
            );
            on_other_core(|| drop(queue));
        }
        let stats = rig.pool.stats();
        assert_eq!(stats.metas.allocs, stats.metas.frees);
        assert!(
            stats.metas.magazine_hits > stats.metas.slab.allocs,
            "cross-core frees are cached"
        );
        rig.finish();
    }
}

#[test]
fn b96_sub_objects_are_initialised_once_and_leave_nothing() {
    let _turn = SUB_OBJECTS
        .lock()
        .unwrap_or_else(|poison| poison.into_inner());
    let memory = HeapDma::leaked();
    let subs = SubObjects::init(256, memory, Threads::leaked(1)).unwrap();
    assert_eq!(
        SubObjects::init(1, memory, Threads::leaked(1)).unwrap_err(),
        AlreadyInitialised
    );
    let rig = Rig::new(regular(8).sub_objects(&subs));
    drop(rig.take(8));
    assert!(
        subs.stats().iter().all(|s| s.in_use > 0),
        "as long as the constructed packets"
    );
    subs.reap();
    assert!(subs.stats().iter().all(|s| s.cached == 0));
    assert!(
        rig.pool.stats().metas.cached > 0,
        "a global reap leaves pools alone"
    );
    drop(subs);
    assert!(memory.live_segments() > 0, "the pool holds them");
    rig.finish();
    assert_eq!(memory.live_segments(), 0);
    drop(SubObjects::init(1, memory, Threads::leaked(1)).expect("again"));
}
