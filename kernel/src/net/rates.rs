//! How often interrupts come: the machine's counts, looked at once a second.
//!
//! The turn calls [`InterruptRates::note`] in its upkeep; the status reads what came of it.
#![forbid(unsafe_code)]

use smoltcp::time::Instant;

use super::status::Interrupts;

/// Interrupts a second, between the last two looks.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct InterruptRates {
    last: Option<(Instant, Interrupts)>,
    per_second: Interrupts,
}

impl InterruptRates {
    /// Takes note of all interrupts since boot, as of `now`.
    pub(super) fn note(&mut self, now: Instant, counted: Interrupts) {
        if let Some((then, before)) = self.last {
            let micros = (now - then).total_micros();
            let rate = |now: u64, then: u64| {
                let came = now.saturating_sub(then);
                (came * 1_000_000 + micros / 2) / micros.max(1)
            };
            self.per_second = Interrupts {
                device: rate(counted.device, before.device),
                timer: rate(counted.timer, before.timer),
            };
        }
        self.last = Some((now, counted));
    }

    /// What they are; zeros until there were two looks.
    pub(super) fn per_second(&self) -> Interrupts {
        self.per_second
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_of_the_time_that_went_by() {
        let counted = |device, timer| Interrupts { device, timer };
        let mut rates = InterruptRates::default();
        rates.note(Instant::from_millis(5), counted(1_000, 7));
        assert_eq!(rates.per_second(), counted(0, 0), "of what was before");
        rates.note(Instant::from_millis(2_005), counted(9_000, 10));
        assert_eq!(rates.per_second(), counted(4_000, 2), "1.5 is nearer to 2");
        rates.note(Instant::from_millis(3_005), counted(9_001, 11));
        assert_eq!(rates.per_second(), counted(1, 1));
        // Two looks at once, or a count that went back, are survived.
        rates.note(Instant::from_millis(3_005), counted(9_001, 11));
        rates.note(Instant::from_millis(4_005), counted(0, 0));
        assert_eq!(rates.per_second(), counted(0, 0));
    }
}
