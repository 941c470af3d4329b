//! When to reset a NIC that broke its contract.
//!
//! The turn asks before it resets. The first fault is answered at once; one that comes back soon
//! after is given ever more time, so that a device that breaks at every start costs a line of log
//! and a reset every ten seconds, and no more.
#![forbid(unsafe_code)]

use smoltcp::time::{Duration, Instant};

/// Shortest pause between two resets, once the first did not last.
const LEAST: Duration = Duration::from_millis(20);
/// Longest pause.
const MOST: Duration = Duration::from_secs(10);
/// A device that worked this long is trusted again.
const LASTED: Duration = Duration::from_secs(30);

/// The pause after the last reset.
#[derive(Debug, Default)]
pub(super) struct Recovery {
    /// When it was, and how long to wait before the next.
    last: Option<(Instant, Duration)>,
}

impl Recovery {
    /// Whether a reset may be tried at `now`; if so, that is taken as done.
    pub(super) fn may_reset(&mut self, now: Instant) -> bool {
        let pause = match self.last {
            Some((when, pause)) if now < when + pause => return false,
            Some((when, pause)) if now < when + LASTED => (pause * 2).clamp(LEAST, MOST),
            _ => Duration::ZERO,
        };
        self.last = Some((now, pause));
        true
    }

    /// When the next reset may be tried.
    pub(super) fn next(&self) -> Option<Instant> {
        self.last.map(|(when, pause)| when + pause)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_that_comes_back_is_given_ever_more_time() {
        let mut recovery = Recovery::default();
        let mut resets = std::vec::Vec::new();
        for ms in 0..100_000 {
            if recovery.may_reset(Instant::from_millis(ms)) {
                resets.push(ms);
            }
        }
        assert_eq!(resets[..5], [0, 1, 21, 61, 141]);
        assert!(resets.len() < 25, "{resets:?}");
        let late = Instant::from_millis(100_000) + LASTED + MOST;
        assert!(recovery.may_reset(late));
        assert_eq!(recovery.next(), Some(late), "trusted again");
    }
}
