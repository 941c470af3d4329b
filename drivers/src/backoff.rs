//! When a broken device may be reset again.
//!
//! The first reset comes at once. A device that breaks again soon, or does not come up, waits
//! twice as long each time, so that it cannot keep the machine busy; one that kept its contract
//! for a while starts afresh.
#![forbid(unsafe_code)]

use crate::error::DeviceFault;
use crate::net::Health;

/// Milliseconds between the first reset and the second.
const LEAST_MS: u64 = 100;
/// Milliseconds to wait at most; after as long without trouble the past is forgotten.
const MOST_MS: u64 = 10_000;

/// The time of the next reset.
#[derive(Clone, Copy, Default, Debug)]
pub struct BackOff {
    not_before: u64,
    wait: u64,
}

impl BackOff {
    /// Whether a reset may be tried at `now` (milliseconds since start).
    pub fn is_ready(&self, now: u64) -> bool {
        now >= self.not_before
    }

    /// The health at `now` of a device that `fault` was found in, if any.
    pub fn health(&self, fault: Option<DeviceFault>, now: u64) -> Health {
        match fault {
            None => Health::Ok,
            Some(fault) if self.is_ready(now) => Health::Broken(fault),
            Some(fault) => Health::Waiting(fault),
        }
    }

    /// A reset is tried at `now`.
    pub fn note(&mut self, now: u64) {
        let forgotten = now >= self.not_before + MOST_MS;
        let wait = if forgotten { 0 } else { self.wait * 2 };
        self.wait = wait.clamp(LEAST_MS, MOST_MS);
        self.not_before = now + self.wait;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_longest() {
        let mut backoff = BackOff::default();
        let mut now = 50;
        let mut waits = std::vec::Vec::new();
        for _ in 0..9 {
            assert!(backoff.is_ready(now));
            backoff.note(now);
            assert!(!backoff.is_ready(now));
            let next = (now..)
                .find(|now| backoff.is_ready(*now))
                .expect("some time");
            waits.push(next - now);
            now = next;
        }
        assert_eq!(
            waits,
            [100, 200, 400, 800, 1600, 3200, 6400, 10_000, 10_000]
        );
    }

    #[test]
    fn a_calm_device_starts_afresh() {
        let mut backoff = BackOff::default();
        backoff.note(1000);
        backoff.note(1100);
        assert!(!backoff.is_ready(1299));
        backoff.note(1300 + MOST_MS);
        assert!(backoff.is_ready(1400 + MOST_MS));
    }
}
