//! A guest that several tests share, so that each check is a named test of its own without a
//! boot of its own.
//!
//! The guest starts with the first test that needs it and ends with the last. A test that
//! fails takes the guest with it; the next one gets a fresh one. After each test the pool must
//! be back at its idle value.
#![forbid(unsafe_code)]

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result};
use libtest_mimic::Trial;

use crate::guest::Guest;
use crate::limit;
use crate::stats;

type Start = Box<dyn Fn() -> Result<Guest> + Send + Sync>;

/// A guest shared by the tests made with [`Shared::case`].
pub struct Shared {
    group: &'static str,
    start: Start,
    guest: Mutex<Option<Guest>>,
}

impl Shared {
    /// A fixture whose guest is made by `start`. Its tests are named `group::…`.
    pub fn new(
        group: &'static str,
        start: impl Fn() -> Result<Guest> + Send + Sync + 'static,
    ) -> Arc<Shared> {
        Arc::new(Shared {
            group,
            start: Box::new(start),
            guest: Mutex::new(None),
        })
    }

    /// A test on the shared guest, which must end within `seconds`.
    pub fn case(
        self: &Arc<Self>,
        name: &str,
        seconds: u64,
        body: impl FnOnce(&Guest) -> Result<()> + Send + 'static,
    ) -> Trial {
        let shared = Arc::clone(self);
        Trial::test(format!("{}::{name}", self.group), move || {
            let inside = Arc::clone(&shared);
            let guest = limit::run(Duration::from_secs(seconds), move || {
                let guest = inside.take()?;
                body(&guest)?;
                guest.must_be_running()?;
                stats::must_be_idle(&guest).context("after the test")?;
                Ok(guest)
            })?;
            *shared.slot() = Some(guest);
            Ok(())
        })
    }

    fn take(&self) -> Result<Guest> {
        let waiting = self.slot().take();
        match waiting {
            Some(guest) => {
                limit::note(guest.vm());
                Ok(guest)
            }
            None => (self.start)().context("starting the shared guest"),
        }
    }

    fn slot(&self) -> std::sync::MutexGuard<'_, Option<Guest>> {
        self.guest.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
