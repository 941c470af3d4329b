//! Whether others ran on the cores that a measurement needed: how long its threads were ready to run
//! and did not (`/proc/PID/task/*/schedstat`).
#![forbid(unsafe_code)]

use std::fs;
use std::time::{Duration, Instant};

/// Of the time, what may be spent waiting: connecting wakes threads beside the one that is measured.
const MOST: f64 = 0.04;

/// Watches processes from some time on.
pub(super) struct Watch {
    processes: [u32; 2],
    start: Instant,
    waited: Duration,
}

impl Watch {
    /// From now on.
    pub(super) fn start(processes: [u32; 2]) -> Self {
        Self {
            processes,
            start: Instant::now(),
            waited: processes.into_iter().map(waited).sum(),
        }
    }

    /// Whether the processes had to wait for others since then. Where the kernel does not say how long
    /// threads waited, nothing is known, and nothing is said.
    pub(super) fn disturbed(&self) -> bool {
        let waited: Duration = self.processes.into_iter().map(waited).sum();
        let waited = waited.saturating_sub(self.waited);
        waited.as_secs_f64() > MOST * self.start.elapsed().as_secs_f64()
    }
}

/// How long all threads of a process waited for a core, ever.
fn waited(process: u32) -> Duration {
    let threads = fs::read_dir(format!("/proc/{process}/task"));
    let files = threads.into_iter().flatten().flatten();
    let texts = files.filter_map(|t| fs::read_to_string(t.path().join("schedstat")).ok());
    texts.map(|text| waited_of(&text)).sum()
}

/// The second number: nanoseconds on a run queue.
fn waited_of(schedstat: &str) -> Duration {
    let number = schedstat.split_whitespace().nth(1);
    Duration::from_nanos(number.and_then(|n| n.parse().ok()).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_second_number_counts() {
        assert_eq!(waited_of("123 456 7\n"), Duration::from_nanos(456));
        assert_eq!(waited_of(""), Duration::ZERO);
    }

    #[test]
    fn a_watch_that_has_just_begun_saw_nothing() {
        assert_eq!(waited(0), Duration::ZERO, "no such process");
        let watch = Watch::start([0, 0]);
        assert!(!watch.disturbed());
    }
}
