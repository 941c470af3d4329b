//! Do interrupts come: from a timer at its time, from whoever is asked, and again and again from what
//! ticks? Each is waited for with the core awake, since a halt that nothing ends would end the test.
#![forbid(unsafe_code)]

use alloc::format;
use alloc::string::String;

/// Nanoseconds in a second.
const SECOND: u64 = 1_000_000_000;
/// Nanoseconds in which an interrupt has to come.
const LIMIT: u64 = SECOND;
/// Interrupts that are waited for.
const TIMES: u64 = 10;
/// Nanoseconds from one deadline of the timer to the next.
const STEP: u64 = SECOND / 200;

/// Something that interrupts, and a clock beside it.
pub trait Source {
    /// Nanoseconds since some moment. They pass whatever interrupts do.
    fn now(&self) -> u64;

    /// Interrupts that came from it so far.
    fn came(&self) -> u64;

    /// Has it interrupt once: at `at`, if it is a timer.
    fn ask(&mut self, at: u64);
}

/// Waits until `source` has interrupted more than `before` times. Returns whether it did by `until`.
fn wait(source: &impl Source, before: u64, until: u64) -> bool {
    loop {
        if source.came() > before {
            return true;
        }
        if source.now() >= until {
            return false;
        }
        core::hint::spin_loop();
    }
}

/// A timer interrupts once it is time, and not before.
///
/// # Errors
/// None came, or one that was early.
pub fn timer(timer: &mut impl Source) -> Result<String, String> {
    let mut latest = 0;
    for n in 0..TIMES {
        let (before, deadline) = (timer.came(), timer.now() + STEP);
        timer.ask(deadline);
        if !wait(timer, before, deadline + LIMIT) {
            return Err(format!("no interrupt within a second, after {n} that came"));
        }
        let now = timer.now();
        if now < deadline {
            let early = (deadline - now) / 1000;
            return Err(format!("an interrupt came {early} us before its time"));
        }
        latest = latest.max(now - deadline);
    }
    let late = latest / 1000;
    Ok(format!(
        "{TIMES} interrupts, each after its 5 ms, none later than {late} us"
    ))
}

/// An interrupt comes each time it is asked for.
///
/// # Errors
/// The first that did not.
pub fn answers(source: &mut impl Source) -> Result<String, String> {
    for n in 0..TIMES {
        let (before, now) = (source.came(), source.now());
        source.ask(now);
        if !wait(source, before, now + LIMIT) {
            return Err(format!("interrupt {n} does not come"));
        }
    }
    Ok(format!("{TIMES} interrupts"))
}

/// Interrupts come by themselves, once they were asked for.
///
/// # Errors
/// How many came.
pub fn ticks(source: &mut impl Source) -> Result<String, String> {
    let (before, now) = (source.came(), source.now());
    source.ask(now);
    if wait(source, before + TIMES - 1, now + LIMIT) {
        return Ok(format!("{TIMES} interrupts"));
    }
    let came = source.came() - before;
    Err(format!("{came} interrupts in a second"))
}

#[cfg(test)]
mod tests {
    use core::cell::Cell;

    use super::*;

    /// A source that interrupts as a test says. Each look at the clock takes ten microseconds.
    struct Fake {
        now: Cell<u64>,
        came: Cell<u64>,
        /// When the next ones come.
        due: Cell<Option<u64>>,
        /// How far from the time that was asked for.
        off: i64,
        /// How many there will be in all.
        most: u64,
        /// How long from one to the next, if it ticks.
        every: Option<u64>,
    }

    impl Fake {
        fn new() -> Self {
            Self {
                now: Cell::new(5 * SECOND),
                came: Cell::new(3),
                due: Cell::new(None),
                off: 2_000,
                most: u64::MAX,
                every: None,
            }
        }
    }

    impl Source for Fake {
        fn now(&self) -> u64 {
            self.now.set(self.now.get() + 10_000);
            if let Some(due) = self.due.get().filter(|due| *due <= self.now.get()) {
                let more = self.came.get() < self.most;
                self.came.set(self.came.get() + u64::from(more));
                self.due.set(self.every.map(|every| due + every));
            }
            self.now.get()
        }

        fn came(&self) -> u64 {
            self.came.get()
        }

        fn ask(&mut self, at: u64) {
            self.due.set(Some(at.saturating_add_signed(self.off)));
        }
    }

    #[test]
    fn a_timer_that_keeps_its_time_passes() {
        let seen = timer(&mut Fake::new()).expect("it does");
        assert!(
            seen.starts_with("10 interrupts, each after its 5 ms"),
            "{seen}"
        );
        let mut late = Fake::new();
        late.off = 700_000;
        let seen = timer(&mut late).expect("late, and not too late");
        let (_, text) = seen.rsplit_once("later than ").expect("how late");
        let micros: u64 = text.trim_end_matches(" us").parse().expect("a number");
        assert!((700..800).contains(&micros), "{seen}");
    }

    #[test]
    fn a_timer_that_is_early_or_silent_fails() {
        let mut early = Fake::new();
        early.off = -500_000;
        let why = timer(&mut early).expect_err("early");
        assert!(why.ends_with("us before its time"), "{why}");
        let mut silent = Fake::new();
        silent.most = 7;
        let why = timer(&mut silent).expect_err("it stops");
        assert_eq!(why, "no interrupt within a second, after 4 that came");
    }

    #[test]
    fn each_interrupt_that_is_asked_for_has_to_come() {
        assert_eq!(answers(&mut Fake::new()), Ok("10 interrupts".into()));
        let mut deaf = Fake::new();
        deaf.most = 5;
        assert_eq!(answers(&mut deaf), Err("interrupt 2 does not come".into()));
    }

    #[test]
    fn what_ticks_has_to_go_on() {
        let mut clock = Fake::new();
        clock.every = Some(SECOND / 100);
        assert_eq!(ticks(&mut clock), Ok("10 interrupts".into()));
        for (every, came) in [(None, 1), (Some(SECOND / 5), 5)] {
            let mut slow = Fake::new();
            slow.every = every;
            let why = format!("{came} interrupts in a second");
            assert_eq!(ticks(&mut slow), Err(why));
        }
    }
}
