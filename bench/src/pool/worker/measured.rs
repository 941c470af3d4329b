//! What callgrind is told to look at, by name; and on which core a thread runs.
#![forbid(unsafe_code)]

use std::hint::black_box;

use nix::sched::{CpuSet, sched_setaffinity};
use nix::unistd::Pid;

/// Runs `work`; callgrind counts what happens inside.
#[inline(never)]
pub(super) fn measured_run(work: &mut dyn FnMut()) {
    work();
    black_box(()); // keeps the call from becoming a jump
}

/// Callgrind writes a profile of what it counted since the last one.
#[inline(never)]
pub(super) fn measured_dump() {
    black_box(());
}

/// Keeps this thread on `core`. A machine that refuses still gets its measurements.
pub(super) fn pin(core: usize) {
    let mut set = CpuSet::new();
    if set.set(core).is_ok() {
        let _ = sched_setaffinity(Pid::from_raw(0), &set);
    }
}
