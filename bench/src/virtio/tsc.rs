//! The processor's cycle counter: cheap enough to be read twice a burst.

use std::arch::x86_64::_rdtsc;
use std::time::{Duration, Instant};

/// Cycles of a constant rate since some time.
#[inline(always)]
#[allow(unsafe_code, reason = "an instruction that changes nothing")]
pub(super) fn now() -> u64 {
    // SAFETY: every x86_64 processor has it, and Linux allows it to processes.
    unsafe { _rdtsc() }
}

/// Cycles a millisecond, by the clock.
pub(super) fn per_ms() -> u64 {
    let (clock, cycles) = (Instant::now(), now());
    while clock.elapsed() < Duration::from_millis(10) {}
    (now() - cycles) / 10
}
