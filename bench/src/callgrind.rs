//! What callgrind is told to look at, by name, and what its profiles say. Called by workers (the
//! first half) and by what directs them.
#![forbid(unsafe_code)]

use std::hint::black_box;

use anyhow::{Context, Result};

/// Runs `work`; callgrind counts what happens inside.
#[inline(never)]
pub(crate) fn measured_run(work: &mut dyn FnMut()) {
    work();
    black_box(()); // keeps the call from becoming a jump
}

/// Callgrind writes a profile of what it counted since the last one.
#[inline(never)]
pub(crate) fn measured_dump() {
    black_box(());
}

/// The instructions in a profile.
pub(crate) fn total(profile: &str) -> Result<u64> {
    let line = profile.lines().find_map(|l| l.strip_prefix("totals: "));
    let number = line.context("a profile without totals")?;
    number.trim().parse().context("totals are a number")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_profiles_total_is_found() {
        let profile = "version: 1\nevents: Ir\n\nfn=(1) f\n3 12\n\ntotals: 12\n";
        assert_eq!(total(profile).expect("there"), 12);
        assert!(total("events: Ir\n").is_err());
    }
}
