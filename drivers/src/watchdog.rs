//! Whether a transmitter that has something to send still sends.
//!
//! A device may stop without a word: its registers look as always, and nothing is completed any
//! more. Drivers have a watchdog for each transmit ring, tell it what came back, and ask it now and then.
#![forbid(unsafe_code)]

use crate::error::DeviceFault;
use crate::net::LinkState;

/// Milliseconds without a completion after which a transmitter with work counts as hung. A host
/// that is busy keeps a guest waiting for less.
const PATIENCE_MS: u64 = 5_000;

/// Watches one transmit ring.
#[derive(Clone, Copy, Default, Debug)]
pub struct Watchdog {
    /// Packets that came back since the start.
    reclaimed: u64,
    /// How many those were when the ring was last seen to be idle or to move.
    completed: u64,
    /// When that was.
    since: Option<u64>,
}

impl Watchdog {
    /// Notes that so many packets came back from the ring.
    pub fn reclaimed(&mut self, packets: usize) {
        self.reclaimed += packets as u64;
    }

    /// Looks whether the device still sends from its ring, which is its `queue`th; `stuck`: it holds packets,
    /// none of which is done. Without a carrier it need not send.
    pub fn check(
        &mut self,
        queue: u16,
        now_ms: u64,
        stuck: bool,
        link: LinkState,
    ) -> Option<DeviceFault> {
        let busy = stuck && link != LinkState::Down;
        let ms = self.look(now_ms, self.reclaimed, busy)?;
        Some(DeviceFault::Stalled { queue, ms })
    }

    /// Looks at a ring that has completed `completed` packets since its start and holds others, or
    /// does not (`busy`). Returns for how many milliseconds it has been hung, if it is.
    fn look(&mut self, now_ms: u64, completed: u64, busy: bool) -> Option<u64> {
        if !busy || completed != self.completed || self.since.is_none() {
            self.completed = completed;
            self.since = busy.then_some(now_ms);
            return None;
        }
        let waited = now_ms.saturating_sub(self.since?);
        (waited >= PATIENCE_MS).then_some(waited)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ring_that_moves_or_has_nothing_to_do_is_not_hung() {
        let mut dog = Watchdog::default();
        for second in 0..100 {
            assert_eq!(dog.look(second * 1000, second, true), None, "it moves");
        }
        for second in 100..200 {
            assert_eq!(dog.look(second * 1000, 99, false), None, "it is idle");
        }
        assert_eq!(dog.look(200_000, 99, true), None, "it has just begun");
        assert_eq!(dog.look(204_999, 99, true), None);
        assert_eq!(dog.look(205_000, 99, true), Some(5000));
        assert_eq!(dog.look(206_000, 100, true), None, "it moves again");
        assert_eq!(dog.look(210_000, 100, true), None);
    }
}
