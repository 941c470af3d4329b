//! Behaviours 20 to 39: regions, slabs, magazines and the depot.

mod common;
use common::{Rig, on_demand, on_other_core, regular};
use pbufpool::fault::{FaultPlan, FaultPoint, Faults};
use pbufpool::region::{Geometry, RegionParams};
use pbufpool::slab::{FreeError, Slabs, Source};
use pbufpool::test_utils::{HeapDma, Threads};
use pbufpool::{Direction, DmaAddr, MapRefused, PoolConfig, Segment, SegmentHooks, UPDATE_MS};
use std::ptr::NonNull;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};

#[derive(Default)]
struct Maps(Mutex<Vec<(bool, usize)>>);

impl SegmentHooks for Maps {
    fn map(&self, s: &Segment, index: usize, _: Direction) -> Result<DmaAddr, MapRefused> {
        self.0.lock().unwrap().push((true, index));
        Ok(s.dma())
    }
    fn unmap(&self, _: &Segment, index: usize, _: Direction) {
        self.0.lock().unwrap().push((false, index));
    }
}

fn slabs(count: usize, hooks: Option<Arc<dyn SegmentHooks>>) -> (Slabs, &'static HeapDma) {
    slabs_behind(0, count, hooks)
}

/// The same with `lead` bytes in front of each segment's first object.
fn slabs_behind(
    lead: usize,
    count: usize,
    hooks: Option<Arc<dyn SegmentHooks>>,
) -> (Slabs, &'static HeapDma) {
    let memory = HeapDma::leaked();
    let geometry = Geometry::of(&RegionParams {
        name: "test",
        object_size: 2048,
        count,
        segment_size: 16384,
        monolithic: false,
        lead,
    })
    .unwrap();
    let source = Source {
        memory,
        hooks,
        direction: Direction::In,
        faults: Faults::default(),
    };
    (Slabs::new(geometry, source, false), memory)
}

#[test]
fn b20_map_runs_before_first_use_and_unmap_after_last_free() {
    let maps = Arc::new(Maps::default());
    let (slabs, _) = slabs(24, Some(maps.clone()));
    let objects: Vec<_> = (0..9).map(|_| slabs.alloc().unwrap()).collect();
    assert_eq!(*maps.0.lock().unwrap(), [(true, 0), (true, 1)]);
    for o in &objects[..8] {
        assert!(!maps.0.lock().unwrap().contains(&(false, 0)));
        slabs.free(o.index).unwrap();
    }
    assert_eq!(*maps.0.lock().unwrap(), [(true, 0), (true, 1), (false, 0)]);
    slabs.free(objects[8].index).unwrap();
    assert_eq!(maps.0.lock().unwrap().last(), Some(&(false, 1)));
}

#[test]
fn b21_a_slab_with_nothing_outstanding_returns_its_segment() {
    let (slabs, memory) = slabs(24, None);
    let a = slabs.alloc().unwrap();
    assert_eq!(memory.live_segments(), 1);
    slabs.free(a.index).unwrap();
    assert_eq!((memory.live_segments(), slabs.stats().destroys), (0, 1));
}

#[test]
fn b22_the_index_formula_holds_and_is_stable() {
    for lead in [0, 0, 0, 52] {
        let (slabs, _) = slabs_behind(lead, 24, None);
        let (count, each) = (slabs.geometry().count(), slabs.geometry().per_segment);
        assert_eq!(each, if lead == 0 { 8 } else { 7 });
        let objects: Vec<_> = (0..count).map(|_| slabs.alloc().unwrap()).collect();
        assert!(slabs.alloc().is_none());
        for o in &objects {
            let base = objects
                .iter()
                .find(|b| b.segment == o.segment && (b.index as usize).is_multiple_of(each))
                .unwrap();
            let within = (o.ptr.as_ptr() as usize - base.ptr.as_ptr() as usize) / 2048;
            assert_eq!(o.index as usize, o.segment as usize * each + within);
            assert_eq!(slabs.index_of(o.ptr), Some(o.index));
        }
        objects.iter().for_each(|o| slabs.free(o.index).unwrap());
    }
}

#[test]
fn b23_a_double_free_is_detected() {
    let (slabs, _) = slabs(24, None);
    let keep = slabs.alloc().unwrap();
    let a = slabs.alloc().unwrap();
    slabs.free(a.index).unwrap();
    assert_eq!(
        slabs.free(a.index),
        Err(FreeError::DoubleFree { index: a.index })
    );
    slabs.free(keep.index).unwrap();
    assert_eq!(
        slabs.free(keep.index),
        Err(FreeError::DoubleFree { index: keep.index })
    );
    assert_eq!(slabs.stats().bad_frees, 2);
}

#[test]
fn b24_freeing_a_foreign_address_is_detected() {
    let (slabs, _) = slabs(24, None);
    let a = slabs.alloc().unwrap();
    let mut elsewhere = 0u8;
    assert_eq!(
        slabs.free_ptr(NonNull::from(&mut elsewhere)),
        Err(FreeError::Foreign)
    );
    // SAFETY: inside the object.
    let inside = unsafe { a.ptr.add(8) };
    assert_eq!(slabs.free_ptr(inside), Err(FreeError::Foreign));
    assert_eq!(slabs.free(999), Err(FreeError::Foreign));
    assert_eq!(slabs.free_ptr(a.ptr), Ok(()));
    assert_eq!(slabs.stats().bad_frees, 3);
}

#[test]
fn b25_alloc_after_free_on_one_cpu_returns_the_same_object() {
    for rig in [Rig::new(regular(16)), Rig::new(on_demand(16))] {
        let _other = rig.pool.alloc().unwrap();
        let packet = rig.pool.alloc().unwrap();
        let (index, dma) = (packet.index(), packet.first().unwrap().base_dma());
        drop(packet);
        let again = rig.pool.alloc().unwrap();
        assert_eq!(
            (again.index(), again.first().unwrap().base_dma()),
            (index, dma)
        );
    }
}

#[test]
fn b26_constructors_do_not_run_on_magazine_hits() {
    let plan = Arc::new(FaultPlan::new());
    let rig = Rig::new(on_demand(16).faults(plan.clone()));
    drop(rig.pool.alloc().unwrap());
    let made = (
        plan.asked(FaultPoint::Metadata),
        plan.asked(FaultPoint::Buflet),
    );
    assert_eq!(made, (1, 1));
    (0..100).for_each(|_| drop(rig.pool.alloc().unwrap()));
    assert_eq!(
        (
            plan.asked(FaultPoint::Metadata),
            plan.asked(FaultPoint::Buflet)
        ),
        made
    );
    assert_eq!(rig.pool.stats().metas.magazine_hits, 100);
    rig.finish();
}

#[test]
fn b27_a_constructor_failure_mid_batch_keeps_the_prefix() {
    let plan = Arc::new(FaultPlan::new());
    let rig = Rig::new(regular(16).faults(plan.clone()));
    plan.fail_nth(FaultPoint::Metadata, 5);
    let mut queue = pbufpool::PacketQueue::new();
    let burst = rig.pool.alloc_burst(10, &mut queue);
    assert_eq!(
        (burst.count, queue.len(), burst.is_complete()),
        (4, 4, false)
    );
    let stats = rig.pool.stats();
    assert_eq!(
        (stats.metas.slab.in_use, stats.buffer_cache.slab.in_use),
        (4, 4)
    );
    drop(queue);
    rig.finish();
}

#[test]
fn b28_free_with_both_magazines_full_moves_one_to_the_depot() {
    let rig = Rig::new(regular(32));
    let mut queue = rig.take(12);
    (0..8).for_each(|_| drop(queue.pop_front()));
    assert_eq!(rig.pool.stats().metas.depot_full, 0);
    drop(queue.pop_front());
    assert_eq!(rig.pool.stats().metas.depot_full, 1);
    drop(queue);
    rig.finish();
}

#[test]
fn b29_alloc_with_both_empty_takes_a_full_one() {
    let rig = Rig::new(regular(32));
    drop(rig.take(12));
    let before = rig.pool.stats().metas;
    assert_eq!((before.depot_full, before.cached), (1, 12));
    let queue = rig.take(9);
    let after = rig.pool.stats().metas;
    assert_eq!(
        (after.depot_full, after.slab.allocs),
        (0, before.slab.allocs)
    );
    drop(queue);
    rig.finish();
}

#[test]
fn b30_without_a_magazine_the_object_reaches_the_slab() {
    let plan = Arc::new(FaultPlan::new());
    let rig = Rig::new(regular(32).faults(plan.clone()));
    plan.fail_always(FaultPoint::Magazine, true);
    drop(rig.take(12));
    let stats = rig.pool.stats();
    assert_eq!(
        (
            stats.metas.cached,
            stats.metas.slab.in_use,
            rig.dma.live_segments()
        ),
        (0, 0, 0)
    );
    rig.finish();
}

#[test]
fn b31_contention_raises_the_capacity_one_step() {
    let rig = Rig::new(PoolConfig::new("dynamic").packets(64));
    let before = rig.pool.stats().metas;
    rig.pool.pretend_contention(4);
    assert!(rig.pool.maintain(UPDATE_MS + 1));
    let after = rig.pool.stats().metas;
    assert_eq!(
        (before.capacity, after.capacity, after.resizes),
        (14, 30, 1)
    );
    // The capacity stops where objects of this size stop.
    for i in 2..20 {
        rig.pool.pretend_contention(100);
        rig.pool.maintain(i * (UPDATE_MS + 1));
    }
    assert_eq!(rig.pool.stats().metas.capacity, 46);
    drop(rig.take(64));
    rig.finish();
}

#[test]
fn b32_no_resize_without_cause() {
    let few = Rig::new(PoolConfig::new("few").packets(64));
    few.pool.pretend_contention(3);
    few.pool.maintain(UPDATE_MS + 1);
    assert_eq!(few.pool.stats().metas.capacity, 14);

    let fixed = Rig::new(PoolConfig::new("fixed").packets(64).dynamic(false));
    fixed.pool.pretend_contention(100);
    fixed.pool.maintain(UPDATE_MS + 1);
    assert_eq!(fixed.pool.stats().metas.capacity, 14);

    few.pool.pretend_contention(9);
    few.pool.maintain(2 * UPDATE_MS + 2);
    few.pool.pretend_contention(9);
    few.pool.maintain(3 * UPDATE_MS + 3);
    assert_eq!(
        few.pool.stats().metas.capacity,
        30,
        "the interval after a resize decides nothing"
    );
    assert!(!few.pool.maintain(3 * UPDATE_MS + 4), "not due");
}

#[test]
fn b33_alloc_and_free_work_at_capacity_0() {
    for config in [
        regular(16).magazine_capacity(0),
        on_demand(16).magazines(false),
    ] {
        let rig = Rig::new(config);
        let queue = rig.take(16);
        assert_eq!(rig.pool.stats().metas.capacity, 0);
        drop(queue);
        assert_eq!(
            (rig.pool.stats().metas.cached, rig.dma.live_segments()),
            (0, 0)
        );
        rig.finish();
    }
}

#[test]
fn b34_working_set_reap_frees_only_what_was_not_needed() {
    let rig = Rig::new(regular(64));
    drop(rig.take(24)); // loaded 4, previous 4, depot 4 magazines
    assert_eq!(rig.pool.stats().metas.depot_full, 4);
    rig.pool.maintain(UPDATE_MS + 1);
    assert_eq!(
        rig.pool.stats().metas.depot_full,
        4,
        "the list had been empty in this interval"
    );
    drop(rig.take(12)); // needs one magazine of the depot
    assert_eq!(rig.pool.stats().metas.depot_full, 4);
    rig.pool.maintain(2 * UPDATE_MS + 2);
    assert_eq!(
        rig.pool.stats().metas.depot_full,
        1,
        "three were never needed"
    );
    rig.finish();
}

#[test]
fn b35_a_non_purging_reap_keeps_loaded_magazines() {
    let rig = Rig::new(regular(64));
    drop(rig.take(24));
    rig.pool.reap(false);
    let stats = rig.pool.stats().metas;
    assert_eq!(
        (stats.cached, stats.depot_full, stats.depot_empty),
        (4, 0, 0)
    );
    rig.finish();
}

#[test]
fn b36_a_purge_leaves_nothing_cached_and_a_usable_cache() {
    let rig = Rig::new(on_demand(64));
    drop(rig.take(24));
    on_other_core(|| drop(rig.take(8)));
    assert!(rig.pool.stats().metas.cached > 0);
    rig.pool.purge();
    let stats = rig.pool.stats();
    assert_eq!(
        (
            stats.metas.cached,
            stats.buflets.cached,
            rig.dma.live_segments()
        ),
        (0, 0, 0)
    );
    drop(rig.take(24));
    assert_eq!(rig.pool.stats().metas.cached, 24);
    rig.finish();
}

struct Gate(Mutex<(Sender<()>, Receiver<()>)>);
impl SegmentHooks for Gate {
    fn map(&self, s: &Segment, _: usize, _: Direction) -> Result<DmaAddr, MapRefused> {
        Ok(s.dma())
    }
    fn unmap(&self, _: &Segment, _: usize, _: Direction) {
        let gate = self.0.lock().unwrap();
        let _ = gate.0.send(());
        let _ = gate.1.recv();
    }
}

#[test]
fn b37_of_concurrent_purges_one_runs() {
    let (inside, entered) = channel();
    let (go, wait) = channel();
    let rig = Rig::new(regular(8).hooks(Arc::new(Gate(Mutex::new((inside, wait))))));
    drop(rig.take(4));
    let pool = &rig.pool;
    std::thread::scope(|s| {
        s.spawn(|| pool.purge());
        entered.recv().unwrap(); // the first purge is in the middle of it
        pool.purge(); // returns at once
        go.send(()).unwrap();
    });
    drop(go);
    let purges = rig.pool.stats().metas.purges;
    assert_eq!(purges, 1);
    drop(entered);
    rig.finish();
}

#[test]
fn b38_exhaustion_purges_all_caches_before_failing() {
    for config in [regular(64), on_demand(64)] {
        let rig = Rig::new(config);
        let mut all = pbufpool::PacketQueue::new();
        let total = rig.pool.alloc_burst(10_000, &mut all).count;
        drop(all);
        on_other_core(|| drop(rig.take(24)));
        let mut all = pbufpool::PacketQueue::new();
        assert_eq!(rig.pool.alloc_burst(10_000, &mut all).count, total);
        assert!(rig.pool.stats().metas.purges > 0);
        drop(all);
        rig.finish();
    }
}

#[test]
fn b39_requested_packets_are_there_with_every_cpu_hoarding() {
    for config in [regular(64), on_demand(64)] {
        let rig = Rig::on(config, Threads::leaked(4));
        // Three cores, each with two full magazines, at the same time.
        let queues: Vec<_> = (0..3).map(|_| rig.take(8)).collect();
        let meet = std::sync::Barrier::new(3);
        std::thread::scope(|s| {
            for queue in queues {
                s.spawn(|| {
                    meet.wait();
                    drop(queue);
                    meet.wait(); // no core ends (and is reused) before all hoard
                });
            }
        });
        assert_eq!(rig.pool.stats().metas.cached, 24);
        drop(rig.take(64));
        assert_eq!(rig.pool.stats().metas.purges, 0);
        rig.finish();
    }
}
