//! What a configuration may choose beyond the behaviours: spare segments, buffer magazines.

mod common;
use common::{Rig, on_demand, regular};
use pbufpool::Direction;
use pbufpool::fault::Faults;
use pbufpool::region::{Geometry, RegionParams};
use pbufpool::slab::{Slabs, Source};
use pbufpool::test_utils::HeapDma;

/// Slabs of `per_slab` objects each that keep a spare.
fn sparing(objects: usize, per_slab: usize) -> (Slabs, &'static HeapDma) {
    let memory = HeapDma::leaked();
    let geometry = Geometry::of(&RegionParams {
        name: "test",
        object_size: 16384 / per_slab,
        count: objects,
        segment_size: 16384,
        monolithic: false,
        lead: 0,
    })
    .unwrap();
    let source = Source {
        memory,
        hooks: None,
        direction: Direction::In,
        faults: Faults::default(),
    };
    let slabs = Slabs::new(geometry, source, false);
    slabs.keep_spare(true);
    (slabs, memory)
}

#[test]
fn one_free_slab_is_kept_and_the_second_goes() {
    for per_slab in [1, 8] {
        let (slabs, memory) = sparing(3 * per_slab, per_slab);
        let objects: Vec<_> = (0..3 * per_slab).map(|_| slabs.alloc().unwrap()).collect();
        assert!(slabs.alloc().is_none());
        objects.iter().for_each(|o| slabs.free(o.index).unwrap());
        assert_eq!((memory.live_segments(), slabs.stats().destroys), (1, 2));
        for _ in 0..5 {
            let object = slabs.alloc().unwrap();
            slabs.free(object.index).unwrap();
        }
        assert_eq!((slabs.stats().creates, slabs.stats().destroys), (3, 2));
        assert!(slabs.release_spare());
        assert!(!slabs.release_spare());
        assert_eq!(memory.live_segments(), 0);
        let object = slabs.alloc().unwrap();
        slabs.keep_spare(false);
        slabs.free(object.index).unwrap();
        assert_eq!(memory.live_segments(), 0);
    }
}

#[test]
fn a_spare_slab_is_served_last_and_wholly() {
    let (slabs, memory) = sparing(24, 8);
    let objects: Vec<_> = (0..9).map(|_| slabs.alloc().unwrap()).collect();
    objects[..8]
        .iter()
        .for_each(|o| slabs.free(o.index).unwrap());
    assert_eq!(memory.live_segments(), 2);
    let again: Vec<_> = (0..23).map(|_| slabs.alloc().unwrap()).collect();
    let segments: Vec<_> = again.iter().map(|o| o.segment).collect();
    assert_eq!(segments[..7], [1; 7]);
    assert_eq!(segments[7..15], [0; 8]);
    assert_eq!(segments[15..], [2; 8]);
    assert!(slabs.alloc().is_none());
    assert!(!slabs.release_spare());
    slabs.free(objects[8].index).unwrap();
    again.iter().for_each(|o| slabs.free(o.index).unwrap());
    slabs.keep_spare(false);
    assert_eq!(memory.live_segments(), 0);
}

#[test]
fn a_pool_without_magazines_keeps_its_segments_between_bursts() {
    for config in [regular(32), on_demand(32)] {
        let rig = Rig::new(config.magazines(false).spare_segments(true));
        drop(rig.take(8));
        let then = rig.pool.stats().metas.slab.creates;
        for _ in 0..10 {
            drop(rig.take(8));
        }
        assert_eq!(rig.pool.stats().metas.slab.creates, then);
        assert!(rig.dma.live_segments() > 0);
        rig.pool.memory_pressure();
        assert_eq!(rig.dma.live_segments(), 0);
        drop(rig.take(8));
        rig.pool.reap(false);
        assert_eq!(rig.dma.live_segments(), 0);
        drop(rig.take(8));
        let kept = rig.take(3);
        let (dma, pool) = (rig.dma, rig.pool);
        drop(pool);
        assert!(dma.live_segments() > 0);
        drop(kept);
        assert_eq!(dma.live_segments(), 0, "nothing is spared after the end");
    }
}

#[test]
fn a_batch_of_buffers_comes_and_goes_whole() {
    for config in [
        on_demand(64),
        on_demand(64).buffer_magazines(true),
        on_demand(64).buffer_magazines(true).magazine_capacity(32),
        on_demand(64).buffer_magazines(true).magazines(false),
    ] {
        let rig = Rig::new(config);
        let mut batch = rig.pool.buffer_batch();
        for n in [0, 1, 3, 7, 32, 50] {
            assert!(batch.alloc(n).is_complete());
            assert!(batch.alloc(5).is_complete());
            assert_eq!(batch.len(), n + 5);
            assert_eq!(rig.pool.stats().buffers_in_use, n + 5);
            let mut out: Vec<_> = (0..3).map(|_| batch.pop().expect("there are 5")).collect();
            out.iter_mut()
                .for_each(|b| b.bytes_mut().expect("writable").fill(7));
            let mut addresses: Vec<_> = out.iter().map(|b| b.dma_addr()).collect();
            addresses.sort_unstable();
            addresses.dedup();
            assert_eq!(addresses.len(), 3);
            assert_eq!(batch.free(), n + 2);
            assert!(batch.is_empty() && batch.pop().is_none());
            drop(out);
            rig.assert_idle();
        }
        assert!(batch.alloc(9).is_complete());
        drop(batch);
        rig.finish();
    }
}

#[test]
fn a_batch_is_partial_when_buffers_run_out_wherever_they_hide() {
    let rig = Rig::new(on_demand(16).buffer_magazines(true));
    let all = rig.pool.stats().buffers;
    drop(rig.take(8)); // their buffers hide in the buflets' magazines
    let mut batch = rig.pool.buffer_batch();
    let burst = batch.alloc(usize::MAX);
    assert_eq!((burst.count, burst.is_complete()), (all, false));
    assert!(rig.pool.alloc().is_err());
    assert_eq!(batch.free(), all);
    drop(rig.take(16)); // the batch's magazines give way to packets
    let dma = rig.dma;
    assert!(batch.alloc(4).is_complete());
    drop(rig.pool);
    drop(batch);
    assert_eq!(dma.live_segments(), 0);
    let regular = Rig::new(regular(8));
    assert_eq!(regular.pool.buffer_batch().alloc(1).count, 0);
    regular.finish();
}

#[test]
fn buffers_that_magazines_hoard_are_on_top_of_those_asked_for() {
    let plain = Rig::new(on_demand(64).buffers(100));
    let hoarding = Rig::new(on_demand(64).buffers(100).buffer_magazines(true));
    let (plain, more) = (plain.pool.stats().buffers, hoarding.pool.stats().buffers);
    assert!(more >= plain + 2 * 4 * 2 - 8, "{plain} {more}");
}
