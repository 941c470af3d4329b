//! Memory: patterns in runs from all over it, and low memory set aside for a while.
//!
//! Invariant: what is written to was free and is ours until it is given back.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use kernel::selftest::memory::{Words, exercise};

use crate::mem::{self, FRAME};

/// Frames of a run: 2 MiB.
const RUN: usize = 512;
/// Runs that are looked at: enough to see every part, and few enough to take a second.
const MOST_RUNS: usize = 64;
/// Runs that a list has room for beforehand.
const ROOM: usize = 1 << 16;
/// What an address of 32 bits reaches.
const FOUR_GIB: u64 = 1 << 32;

/// Runs of frames that nobody else has; given back when this goes.
#[derive(Default)]
pub(super) struct Held(Vec<(u64, usize)>);

impl Held {
    /// Takes runs of `frames` frames until there are none, or until one ends beyond `below`, which
    /// goes back.
    fn take(&mut self, frames: usize, below: u64) {
        // Room first, since it would have to be found in memory that is about to be taken. More runs
        // than this leave enough for the list to grow by.
        self.0.reserve((mem::frames_left() / frames + 1).min(ROOM));
        while let Some(address) = mem::alloc_frames(frames, FRAME) {
            if address + frames as u64 * FRAME > below {
                mem::free_frames(address, frames);
                return;
            }
            self.0.push((address, frames));
        }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        for &(address, frames) in &self.0 {
            mem::free_frames(address, frames);
        }
    }
}

/// A run that is being written to.
struct Run(u64);

impl Words for Run {
    fn count(&self) -> usize {
        RUN * FRAME as usize / 8
    }

    fn address(&self) -> u64 {
        self.0
    }

    fn write(&mut self, at: usize, word: u64) {
        debug_assert!(at < self.count());
        // SAFETY: `check` makes runs of frames that it holds; usable memory is in the direct map.
        unsafe {
            mem::direct(self.0)
                .cast::<u64>()
                .add(at)
                .write_volatile(word)
        }
    }

    fn read(&self, at: usize) -> u64 {
        debug_assert!(at < self.count());
        // SAFETY: as for writing.
        unsafe { mem::direct(self.0).cast::<u64>().add(at).read_volatile() }
    }
}

/// Takes all that is free, and looks at runs that are spread over it.
pub(super) fn check() -> Result<String, String> {
    let mut held = Held::default();
    held.take(RUN, u64::MAX);
    let Some(end) = held.0.iter().map(|run| run.0 + RUN as u64 * FRAME).max() else {
        return Err("no 2 MiB are free in one piece".into());
    };
    let step = held.0.len().div_ceil(MOST_RUNS);
    let spread = held.0.iter().rev().step_by(step);
    let mut runs: Vec<_> = spread.map(|&(address, _)| Run(address)).collect();
    exercise(&mut runs).map_err(|bad| format!("{bad}"))?;
    let (total, count) = (mem::stats().total_kb, runs.len());
    Ok(format!(
        "{total} KiB up to {end:#x}; {count} runs of 2 MiB from all over it hold two patterns"
    ))
}

/// Takes what is free below 4 GiB, if there is more above.
pub(super) fn hold_low() -> Option<Held> {
    let mut held = Held::default();
    for frames in [RUN, RUN / 16, 1] {
        held.take(frames, FOUR_GIB);
    }
    let above = mem::alloc_frames(RUN, FRAME)?;
    mem::free_frames(above, RUN);
    (above >= FOUR_GIB).then_some(held)
}
