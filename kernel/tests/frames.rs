//! The frame allocator of the machine half (`src/mem/frames.rs`), on the host.

#[allow(unreachable_pub, reason = "the image's own module, tested on the host")]
#[path = "../src/mem/frames.rs"]
#[allow(dead_code, reason = "the image uses the rest")]
mod frames;

use frames::{FRAME, Frames, Zone, words};

const BASE: u64 = 0x10_0000;

fn with_zone<T>(count: usize, test: impl FnOnce(&mut Zone<'_>) -> T) -> T {
    let mut bits = vec![!0; words(count)];
    test(&mut Zone::new(BASE, count, &mut bits))
}

#[test]
fn every_frame_is_handed_out_once() {
    for count in [1, 63, 64, 65, 200] {
        with_zone(count, |zone| {
            let mut seen = std::collections::BTreeSet::new();
            while let Some(address) = zone.alloc(1, FRAME) {
                assert!(address >= BASE && address < BASE + count as u64 * FRAME);
                assert!(seen.insert(address), "{address:#x} twice");
            }
            assert_eq!(seen.len(), count);
            assert_eq!(zone.free_frames(), 0);
        });
    }
}

#[test]
fn a_run_is_aligned_and_overlaps_no_other() {
    with_zone(1000, |zone| {
        let mut taken = Vec::new();
        for (count, align) in [
            (3, FRAME),
            (16, 16 * FRAME),
            (1, FRAME),
            (130, 64 * FRAME),
            (7, 2 * FRAME),
        ] {
            let address = zone.alloc(count, align).expect("room");
            assert!(address.is_multiple_of(align));
            taken.push(address..address + count as u64 * FRAME);
        }
        taken.sort_by_key(|run| run.start);
        assert!(
            taken.windows(2).all(|pair| pair[0].end <= pair[1].start),
            "{taken:x?}"
        );
    });
}

#[test]
fn freed_frames_come_back_and_join() {
    with_zone(100, |zone| {
        let runs: Vec<_> = (0..10)
            .map(|_| zone.alloc(10, FRAME).expect("room"))
            .collect();
        assert_eq!(zone.alloc(1, FRAME), None);
        for &run in runs.iter().rev() {
            assert!(zone.free(run, 10));
        }
        assert_eq!(zone.free_frames(), 100);
        assert_eq!(zone.alloc(100, FRAME), Some(BASE));
    });
}

#[test]
fn a_run_that_does_not_fit_between_others_goes_behind_them() {
    with_zone(64, |zone| {
        let first = zone.alloc(4, FRAME).expect("room");
        let second = zone.alloc(4, FRAME).expect("room");
        assert!(zone.free(first, 4));
        assert_eq!(zone.alloc(5, FRAME), Some(second + 4 * FRAME));
        assert_eq!(zone.alloc(4, FRAME), Some(first));
    });
}

#[test]
fn what_was_not_taken_cannot_be_freed() {
    with_zone(64, |zone| {
        let run = zone.alloc(4, FRAME).expect("room");
        assert!(!zone.free(run, 5), "one frame too many");
        assert!(!zone.free(run + 1, 1), "not a frame");
        assert!(!zone.free(BASE - FRAME, 1), "before the zone");
        assert!(!zone.free(run + 64 * FRAME, 1), "behind the zone");
        assert!(zone.free(run, 4));
        assert!(!zone.free(run, 4), "twice");
        assert_eq!(zone.free_frames(), 64);
    });
}

#[test]
fn impossible_requests_are_refused() {
    with_zone(64, |zone| {
        assert_eq!(zone.alloc(0, FRAME), None);
        assert_eq!(zone.alloc(65, FRAME), None);
        assert_eq!(zone.alloc(usize::MAX, FRAME), None);
        assert_eq!(zone.alloc(1, 1 << 63), None);
        assert_eq!(zone.free_frames(), 64);
    });
}

#[test]
fn a_run_never_spans_a_hole_between_zones() {
    let (mut low, mut high) = ([0; 1], [0; 1]);
    let mut frames: Frames<'_, 2> = Frames::new();
    assert!(frames.push(Zone::new(BASE, 32, &mut low)));
    assert!(frames.push(Zone::new(BASE + 64 * FRAME, 40, &mut high)));
    assert_eq!(frames.alloc(33, FRAME), Some(BASE + 64 * FRAME));
    assert_eq!(frames.alloc(33, FRAME), None);
    assert_eq!(frames.alloc(32, FRAME), Some(BASE));
    assert!(frames.free(BASE + 64 * FRAME, 33));
    assert_eq!(frames.free_frames(), 40);
}
