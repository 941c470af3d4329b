//! A NIC that hands over nothing may be broken without having said so.
//!
//! A receiver that stopped looks like a quiet network, and some devices forget to ask for a reset.
//! The driver notices a device that completes nothing, but only once there is something to complete.
//! So the turn's upkeep breaks a silence by sending something: a sound device sends it and all is
//! well, and the driver's watchdog finds out about one that is not.
#![forbid(unsafe_code)]

use smoltcp::time::{Duration, Instant};

/// How long nothing may be heard.
const PATIENCE: Duration = Duration::from_secs(10);

/// Since when nothing was heard.
#[derive(Clone, Copy, Debug)]
pub(super) struct Silence {
    received: u64,
    since: Instant,
}

impl Silence {
    /// Nothing was heard yet.
    pub(super) fn new(now: Instant) -> Self {
        Self {
            received: 0,
            since: now,
        }
    }

    /// Takes note that `received` frames came since boot. Returns whether to send something.
    pub(super) fn note(&mut self, now: Instant, received: u64) -> bool {
        let silent = received == self.received;
        self.received = received;
        let broken = silent && now >= self.since + PATIENCE;
        if broken || !silent {
            self.since = now;
        }
        broken
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_silence_is_broken_every_ten_seconds_and_only_a_silence() {
        let at = Instant::from_secs;
        let mut silence = Silence::new(at(0));
        assert!(!silence.note(at(9), 0));
        assert!(silence.note(at(10), 0));
        assert!(!silence.note(at(19), 0), "just broken");
        assert!(silence.note(at(20), 0));
        assert!(!silence.note(at(30), 1), "something came");
        assert!(!silence.note(at(39), 1));
        assert!(silence.note(at(40), 1));
    }
}
