//! The clients. They are ordinary sockets of the host, on a tap, and the same for each guest.
//! Each keeps a part of its time as a warm-up, which is not counted.
#![forbid(unsafe_code)]

pub(super) mod http;
pub(super) mod tcp;
pub(super) mod udp;

use std::time::{Duration, Instant};

/// How long a guest may say nothing at all.
pub(super) const PATIENCE: Duration = Duration::from_secs(5);

/// A run: a warm-up of a quarter of the time, then what is counted.
struct Run {
    counted_from: Instant,
    end: Instant,
}

impl Run {
    fn start(time: Duration) -> Self {
        let counted_from = Instant::now() + time / 4;
        Self {
            counted_from,
            end: counted_from + time,
        }
    }

    fn is_over(&self, now: Instant) -> bool {
        now >= self.end
    }

    fn counts(&self, now: Instant) -> bool {
        now >= self.counted_from
    }
}

/// Counts what arrives after the warm-up.
struct Meter {
    run: Run,
    first: Option<Instant>,
    count: u64,
}

impl Meter {
    fn start(time: Duration) -> Self {
        Self {
            run: Run::start(time),
            first: None,
            count: 0,
        }
    }

    /// Notes `more`; `true` once the time is over. What ends the warm-up is not counted: the time
    /// starts with it.
    fn add(&mut self, more: u64) -> bool {
        let now = Instant::now();
        if self.first.is_some() {
            self.count += more;
        } else if self.run.counts(now) {
            self.first = Some(now);
        }
        self.run.is_over(now)
    }

    /// So many a second until now.
    fn rate(&self) -> f64 {
        let time = self.first.map_or(Duration::ZERO, |first| first.elapsed());
        self.count as f64 / time.as_secs_f64().max(1e-9)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_warm_up_is_not_counted() {
        let mut meter = Meter::start(Duration::from_millis(40));
        assert!(!meter.add(1_000_000));
        std::thread::sleep(Duration::from_millis(15));
        assert!(!meter.add(1_000_000));
        std::thread::sleep(Duration::from_millis(50));
        assert!(meter.add(7));
        assert_eq!(meter.count, 7);
        assert!(meter.rate() <= 7.0 / 0.05);
    }
}
