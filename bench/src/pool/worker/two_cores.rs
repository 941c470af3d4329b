//! The loops on two cores, over rings for one producer and one consumer. One core allocates and
//! the other frees, or both do both.
//!
//! Timed, both run at once. Counted (under callgrind, which runs one thread at a time), they take
//! turns of a few bursts, so that nobody waits inside what is counted and the counts repeat.
#![forbid(unsafe_code)]

use std::hint::spin_loop;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::{scope, yield_now};
use std::time::{Duration, Instant};

use super::ring::{Rx, Tx, ring};
use super::source::{Bulk, Source};
use crate::callgrind::measured_run;
use crate::child::pin;

/// Objects that a ring holds.
const RING: usize = 2048;
/// Bursts in a turn.
pub(super) const STEP_BURSTS: usize = 4;

/// One run.
#[derive(Clone, Copy)]
pub(super) struct Run {
    /// Objects in a burst.
    pub(super) bulk: usize,
    /// Objects that each sending core sends.
    pub(super) objects: usize,
    /// Take turns, counted.
    pub(super) steps: bool,
    /// Where the other thread runs.
    pub(super) other_core: usize,
}

/// One core allocates, the other frees.
pub(super) fn one_way<S: Source>(source: &S, run: Run) -> Duration {
    let (mut tx, mut rx) = ring(RING);
    together(
        run,
        |objects| produce(source, run.bulk, objects, &mut tx),
        |objects| consume(source, run.bulk, objects, &mut rx),
    )
}

/// Both allocate, and free what the other sent.
pub(super) fn both_ways<S: Source>(source: &S, run: Run) -> Duration {
    let (mut tx, mut far_rx) = ring(RING);
    let (mut far_tx, mut rx) = ring(RING);
    let took = match run.steps {
        false => together(
            run,
            |objects| exchange(source, run.bulk, objects, &mut tx, &mut rx),
            |objects| exchange(source, run.bulk, objects, &mut far_tx, &mut far_rx),
        ),
        true => together(
            run,
            |objects| step(source, run.bulk, objects, &mut tx, &mut rx),
            |objects| step(source, run.bulk, objects, &mut far_tx, &mut far_rx),
        ),
    };
    // What the last step sent and nobody took.
    std::iter::from_fn(|| rx.pop().or_else(|| far_rx.pop())).for_each(|i| source.give_one(i));
    took
}

/// Runs `here` on this thread and `far` on another core, both from a common start; the time
/// until both are done.
fn together(run: Run, mut here: impl FnMut(usize), mut far: impl FnMut(usize) + Send) -> Duration {
    let (ready, done, turn) = (
        AtomicUsize::new(0),
        AtomicUsize::new(0),
        AtomicUsize::new(0),
    );
    let meet = || {
        ready.fetch_add(1, Ordering::SeqCst);
        while ready.load(Ordering::SeqCst) < 2 {
            yield_now();
        }
    };
    // In turns: `mine` runs when it is its turn, and passes it on.
    let in_turns = |mine: usize, work: &mut dyn FnMut(usize)| {
        let piece = STEP_BURSTS * run.bulk;
        for _ in 0..run.objects / piece {
            while turn.load(Ordering::SeqCst) != mine {
                yield_now();
            }
            measured_run(&mut || work(piece));
            turn.store(1 - mine, Ordering::SeqCst);
        }
    };
    scope(|threads| {
        let other = threads.spawn(|| {
            pin(run.other_core);
            meet();
            match run.steps {
                false => far(run.objects),
                true => in_turns(1, &mut far),
            }
            done.store(1, Ordering::SeqCst);
        });
        meet();
        let start = Instant::now();
        match run.steps {
            false => here(run.objects),
            true => in_turns(0, &mut here),
        }
        while done.load(Ordering::SeqCst) == 0 {
            spin_loop();
        }
        let took = start.elapsed();
        // Its core id is given back at its very end, which the scope does not wait for.
        other.join().expect("the other core's loop does not panic");
        took
    })
}

fn produce<S: Source>(source: &S, bulk: usize, objects: usize, tx: &mut Tx<S::Item>) {
    if bulk == 1 {
        for _ in 0..objects {
            let mut item = until(|| source.take_one());
            while let Err(again) = tx.push(item) {
                item = again;
                spin_loop();
            }
        }
        return;
    }
    let mut burst = S::Burst::default();
    let mut sent = 0;
    while sent < objects {
        let n = bulk.min(objects - sent);
        sent += until(|| Some(source.take(n, &mut burst)).filter(|n| *n > 0));
        while burst.size() > 0 {
            if send(&mut burst, tx) == 0 {
                spin_loop();
            }
        }
    }
}

fn consume<S: Source>(source: &S, bulk: usize, objects: usize, rx: &mut Rx<S::Item>) {
    if bulk == 1 {
        for _ in 0..objects {
            source.give_one(until(|| rx.pop()));
        }
        return;
    }
    let mut burst = S::Burst::default();
    let mut got = 0;
    while got < objects {
        got += until(|| Some(receive(&mut burst, bulk, rx)).filter(|n| *n > 0));
        source.give(&mut burst);
    }
}

fn exchange<S: Source>(
    source: &S,
    bulk: usize,
    objects: usize,
    tx: &mut Tx<S::Item>,
    rx: &mut Rx<S::Item>,
) {
    let (mut out, mut arrived) = (S::Burst::default(), S::Burst::default());
    let (mut sent, mut got) = (0, 0);
    while sent < objects || got < objects {
        if out.size() == 0 && sent < objects {
            source.take_any(bulk.min(objects - sent), &mut out);
        }
        if out.size() > 0 {
            sent += send(&mut out, tx);
        }
        match receive(&mut arrived, bulk, rx) {
            0 => spin_loop(),
            n => {
                got += n;
                source.give_any(&mut arrived);
            }
        }
    }
}

/// A turn of an exchange: all of one's own, then all that arrived.
fn step<S: Source>(
    source: &S,
    bulk: usize,
    objects: usize,
    tx: &mut Tx<S::Item>,
    rx: &mut Rx<S::Item>,
) {
    let mut burst = S::Burst::default();
    for _ in 0..objects / bulk {
        let got = source.take_any(bulk, &mut burst);
        let sent = send(&mut burst, tx);
        assert_eq!((got, sent), (bulk, bulk), "pool and ring are large enough");
    }
    while receive(&mut burst, bulk, rx) > 0 {
        source.give_any(&mut burst);
    }
}

#[inline]
fn until<T>(mut attempt: impl FnMut() -> Option<T>) -> T {
    loop {
        match attempt() {
            Some(value) => return value,
            None => spin_loop(),
        }
    }
}

/// Moves what fits from `burst` to the ring; returns how many.
#[inline]
fn send<B: Bulk>(burst: &mut B, tx: &mut Tx<B::Item>) -> usize {
    if burst.size() != 1 {
        return burst.send(tx);
    }
    let sent = burst.next().map(|item| tx.push(item));
    let Some(Err(item)) = sent else {
        return 1;
    };
    burst.extend(Some(item));
    0
}

/// Moves up to `n` from the ring to `burst`; returns how many.
#[inline]
fn receive<B: Bulk>(burst: &mut B, n: usize, rx: &mut Rx<B::Item>) -> usize {
    if n != 1 {
        return burst.receive(n, rx);
    }
    let one = rx.pop();
    let got = usize::from(one.is_some());
    burst.extend(one);
    got
}
