//! The checks of the self-test, which run on a host as well: patterns in memory, interrupts that come,
//! PCI's two ways, the packet pool, a NIC that hears itself and sends chains; and how results are told.
//!
//! The image's self-test (`selftest=yes`) calls these on the real machine and adds what only a
//! machine has. The invariant: a check says what it saw, and nothing that it looks at can make it
//! panic or wait for ever.
#![forbid(unsafe_code)]

pub mod buses;
pub mod card;
pub mod chains;
pub mod interrupts;
pub mod loopback;
pub mod memory;
pub mod pool;

use alloc::string::String;
use core::fmt;

/// What came of a check, with what was seen, for a person to read.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// It works.
    Pass(String),
    /// It does not.
    Fail(String),
    /// There is nothing to check here.
    Skip(String),
}

impl From<Result<String, String>> for Outcome {
    fn from(result: Result<String, String>) -> Self {
        match result {
            Ok(seen) => Self::Pass(seen),
            Err(why) => Self::Fail(why),
        }
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (word, text) = match self {
            Self::Pass(text) => ("PASS", text),
            Self::Fail(text) => ("FAIL", text),
            Self::Skip(text) => ("SKIP", text),
        };
        write!(f, "{word} {text}")
    }
}

/// How many checks came to which end.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Tally {
    passed: u32,
    failed: u32,
    skipped: u32,
}

impl Tally {
    /// Counts one.
    pub fn count(&mut self, outcome: &Outcome) {
        match outcome {
            Outcome::Pass(_) => self.passed += 1,
            Outcome::Fail(_) => self.failed += 1,
            Outcome::Skip(_) => self.skipped += 1,
        }
    }

    /// Whether something was checked and nothing failed.
    pub fn is_good(&self) -> bool {
        self.failed == 0 && self.passed > 0
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            passed,
            failed,
            skipped,
        } = self;
        write!(f, "{passed} passed, {failed} failed, {skipped} skipped")
    }
}

#[cfg(test)]
mod tests;
