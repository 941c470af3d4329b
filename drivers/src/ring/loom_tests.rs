//! Every interleaving of going to sleep on one side of a ring and publishing on the other: whoever
//! sleeps is woken. Run with `RUSTFLAGS="--cfg loom" cargo test -p drivers --lib --release loom`.
//!
//! The rings' own memory cannot be loom's, so these are models of what `arm` and `publish` do, with
//! the real barriers and the real comparison of indices. Sleeper and publisher are driver and device
//! for completions, device and driver for doorbells. Two threads, three publications, all
//! interleavings. Each model is also run without the sleeper's barrier, and has to fail.

extern crate std;

use alloc::sync::Arc;
use loom::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release};
use loom::sync::atomic::{AtomicU16, AtomicUsize};
use loom::thread;

use super::barrier;
use super::index::RingIndex;
use super::place::Place;

/// Publications in one run.
const MANY: u16 = 3;

/// What both sides see.
trait Ring: Send + Sync + 'static {
    /// Nothing published, nobody asked for anything.
    fn new() -> Self;
    /// Publishes entry `number`, and looks whether the other side wants to be told.
    fn publish(&self, number: u16) -> bool;
    /// Whether an entry follows after `taken` ones.
    fn has_more(&self, taken: u16) -> bool;
    /// Asks to be told of the next entry.
    fn ask(&self, taken: u16);
}

fn explore<R: Ring>(with_barrier: bool) {
    loom::model(move || {
        let ring = Arc::new(R::new());
        let rung = Arc::new(AtomicUsize::new(0));
        let publisher = {
            let (ring, rung) = (ring.clone(), rung.clone());
            thread::spawn(move || {
                for number in 0..MANY {
                    if ring.publish(number) {
                        rung.fetch_add(1, Release);
                    }
                }
            })
        };
        let mut taken = 0;
        let mut asleep = false;
        // Twice, since an entry may come between asking and looking once more.
        for _ in 0..2 {
            // Whoever is awake takes note of what rang so far: only what comes later wakes it again.
            rung.swap(0, AcqRel);
            while ring.has_more(taken) {
                taken += 1;
            }
            ring.ask(taken);
            if with_barrier {
                barrier::publish_then_check();
            }
            asleep = !ring.has_more(taken);
            if asleep {
                break;
            }
        }
        publisher.join().expect("no panic there");
        let woken = rung.load(Acquire) > 0;
        assert!(
            !asleep || woken || taken == MANY,
            "asleep after {taken} of {MANY}"
        );
    });
}

/// A split ring with event indices.
struct Events {
    index: AtomicU16,
    event: AtomicU16,
}

impl Ring for Events {
    fn new() -> Self {
        Self {
            index: AtomicU16::new(0),
            event: AtomicU16::new(u16::MAX),
        }
    }
    fn publish(&self, number: u16) -> bool {
        let new = RingIndex(number).plus(1);
        self.index.store(new.0, Release);
        barrier::publish_then_check();
        new.passed(RingIndex(self.event.load(Relaxed)), RingIndex(number))
    }
    fn has_more(&self, taken: u16) -> bool {
        self.index.load(Acquire) != taken
    }
    fn ask(&self, taken: u16) {
        self.event.store(taken, Relaxed);
    }
}

/// A split ring with flags.
struct Flags {
    index: AtomicU16,
    /// 1: do not tell.
    flags: AtomicU16,
}

impl Ring for Flags {
    fn new() -> Self {
        Self {
            index: AtomicU16::new(0),
            flags: AtomicU16::new(1),
        }
    }
    fn publish(&self, number: u16) -> bool {
        self.index.store(number + 1, Release);
        barrier::publish_then_check();
        self.flags.load(Relaxed) & 1 == 0
    }
    fn has_more(&self, taken: u16) -> bool {
        self.index.load(Acquire) != taken
    }
    fn ask(&self, _: u16) {
        self.flags.store(0, Relaxed);
    }
}

/// A packed ring: an entry is a mark in its place, an event a place and flags.
struct Packed {
    marks: [AtomicU16; MANY as usize],
    place: AtomicU16,
    flags: AtomicU16,
}

const SIZE: u16 = MANY + 1;
const NEVER: u16 = 1;
const AT_PLACE: u16 = 2;

impl Ring for Packed {
    fn new() -> Self {
        Self {
            marks: core::array::from_fn(|_| AtomicU16::new(0)),
            place: AtomicU16::new(0),
            flags: AtomicU16::new(NEVER),
        }
    }
    fn publish(&self, number: u16) -> bool {
        self.marks[usize::from(number)].store(1, Release);
        barrier::publish_then_check();
        if self.flags.load(Acquire) != AT_PLACE {
            return false;
        }
        let event = Place::from_bits(self.place.load(Relaxed), SIZE).expect("in the ring");
        let old = Place::START.plus(number, SIZE);
        old.plus(1, SIZE).passed(event, old, SIZE)
    }
    fn has_more(&self, taken: u16) -> bool {
        let mark = self.marks.get(usize::from(taken));
        mark.is_some_and(|mark| mark.load(Acquire) != 0)
    }
    fn ask(&self, taken: u16) {
        let event = Place::START.plus(taken, SIZE);
        self.place.store(event.to_bits(), Relaxed);
        barrier::publish();
        self.flags.store(AT_PLACE, Relaxed);
    }
}

#[test]
fn loom_a_sleeper_on_a_split_ring_with_events_is_woken() {
    explore::<Events>(true);
}

#[test]
#[should_panic(expected = "asleep after")]
fn loom_without_its_barrier_a_split_ring_with_events_loses_a_wake_up() {
    explore::<Events>(false);
}

#[test]
fn loom_a_sleeper_on_a_split_ring_with_flags_is_woken() {
    explore::<Flags>(true);
}

#[test]
#[should_panic(expected = "asleep after")]
fn loom_without_its_barrier_a_split_ring_with_flags_loses_a_wake_up() {
    explore::<Flags>(false);
}

#[test]
fn loom_a_sleeper_on_a_packed_ring_is_woken() {
    explore::<Packed>(true);
}

#[test]
#[should_panic(expected = "asleep after")]
fn loom_without_its_barrier_a_packed_ring_loses_a_wake_up() {
    explore::<Packed>(false);
}
