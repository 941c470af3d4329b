//! Whether an idle core looks again or sleeps.
//!
//! To sleep and be woken is dear: the NIC is armed and interrupts, under a hypervisor with several
//! exits, and a processor takes its time to wake. Where packets alternate with answers, most of a round
//! trip is that. So a core that was woken soon after it slept goes on looking for a while next time
//! (Linux calls it halt polling). The loop asks before each sleep and tells of each; the invariant is
//! that a core without traffic sleeps at once.
#![forbid(unsafe_code)]

/// How long an idle core goes on looking, learnt from its sleeps. All times in nanoseconds.
#[derive(Clone, Copy, Debug)]
pub struct Vigil {
    most: u64,
    /// How long it looks now.
    window: u64,
    /// Since when there was nothing.
    since: Option<u64>,
}

impl Vigil {
    /// Looks for at most `most`; 0 is never.
    pub fn new(most: u64) -> Self {
        Self {
            most,
            window: 0,
            since: None,
        }
    }

    /// There was work.
    pub fn worked(&mut self) {
        self.since = None;
    }

    /// There was nothing at `now`: whether to look again instead of sleeping.
    pub fn goes_on(&mut self, now: u64) -> bool {
        let since = *self.since.get_or_insert(now);
        now.saturating_sub(since) < self.window
    }

    /// The core slept from `from` to `to`. If that was shorter than looking may take, it is
    /// going to look for as long as it may; after a longer sleep not at all.
    pub fn slept(&mut self, from: u64, to: u64) {
        let short = to.saturating_sub(from) < self.most;
        self.window = if short { self.most } else { 0 };
        self.since = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_core_without_traffic_sleeps_at_once() {
        let mut vigil = Vigil::new(200);
        assert!(!vigil.goes_on(1000));
        vigil.slept(1000, 5000);
        assert!(!vigil.goes_on(5000));
    }

    #[test]
    fn after_a_short_sleep_it_looks_for_a_while_and_then_sleeps() {
        let mut vigil = Vigil::new(200);
        vigil.slept(1000, 1100);
        assert!(vigil.goes_on(1100));
        assert!(vigil.goes_on(1299));
        assert!(!vigil.goes_on(1300));
        // Work begins the while anew.
        vigil.worked();
        assert!(vigil.goes_on(1400));
        assert!(!vigil.goes_on(1600));
        vigil.slept(1600, 1800);
        assert!(!vigil.goes_on(1800), "a sleep as long as the while is long");
    }

    #[test]
    fn it_can_be_forbidden() {
        let mut vigil = Vigil::new(0);
        vigil.slept(1000, 1000);
        assert!(!vigil.goes_on(1000));
    }
}
