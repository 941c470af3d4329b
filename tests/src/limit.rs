//! The hard time limit of a test, and what a failure prints.
//!
//! A test body runs on a thread of its own. When its time is up the guests it used are killed,
//! the test fails with their serial logs, and the thread, should it still hang somewhere, is
//! left behind: the next test has its own.
#![forbid(unsafe_code)]

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use anyhow::{Result, anyhow};
use libtest_mimic::{Failed, Trial};

use crate::guest::Vm;

/// The guests that the running test has started or used. Tests run one at a time.
static CAST: Mutex<Vec<Arc<Vm>>> = Mutex::new(Vec::new());

/// Adds a guest to the running test's cast.
pub fn note(vm: &Arc<Vm>) {
    cast().push(Arc::clone(vm));
}

fn cast() -> MutexGuard<'static, Vec<Arc<Vm>>> {
    CAST.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A test that must end within `seconds`.
pub fn case(
    name: impl Into<String>,
    seconds: u64,
    body: impl FnOnce() -> Result<()> + Send + 'static,
) -> Trial {
    Trial::test(name, move || run(Duration::from_secs(seconds), body))
}

/// Runs `body`; hands back what it made, or fails with the serial logs of the guests involved.
pub fn run<T: Send + 'static>(
    limit: Duration,
    body: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T, Failed> {
    cast().clear();
    let outcome = within(limit, body);
    let cast = std::mem::take(&mut *cast());
    outcome.map_err(|error| {
        let mut text = format!("{error:#}\n");
        for vm in cast {
            let state = match vm.process.exited() {
                Some(status) => format!("QEMU ended: {status}"),
                None => "QEMU running".to_owned(),
            };
            text += &format!("--- serial log ({state}) ---\n{}", vm.log.render());
        }
        Failed::from(text)
    })
}

fn within<T: Send + 'static>(
    limit: Duration,
    body: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    let (done, outcome) = channel();
    thread::spawn(move || {
        let result = catch_unwind(AssertUnwindSafe(body));
        let _ = done.send(result.unwrap_or_else(|panic| Err(panic_error(&*panic))));
    });
    match outcome.recv_timeout(limit) {
        Ok(result) => result,
        Err(RecvTimeoutError::Disconnected) => Err(anyhow!("the test's thread is gone")),
        Err(RecvTimeoutError::Timeout) => {
            for vm in cast().iter() {
                vm.process.kill();
            }
            Err(anyhow!(
                "hard time limit of {limit:?} passed; its guests were killed"
            ))
        }
    }
}

fn panic_error(panic: &(dyn std::any::Any + Send)) -> anyhow::Error {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    anyhow!(
        "panicked: {}",
        text.or(panic.downcast_ref::<&str>().copied())
            .unwrap_or("?")
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::{Command, Stdio};

    #[test]
    fn a_test_out_of_time_fails_with_the_log_of_its_guest_and_kills_it() {
        let mut command = Command::new("sh");
        command
            .args(["-c", "echo booted; exec sleep 60"])
            .stdout(Stdio::piped());
        let vm = Vm::start(command).unwrap();
        let inside = Arc::clone(&vm);
        let failed = run(Duration::from_millis(300), move || {
            note(&inside);
            assert!(
                inside
                    .log
                    .wait_for("booted", Duration::from_secs(10))
                    .is_some()
            );
            thread::sleep(Duration::from_secs(60));
            Ok(())
        });
        let message = failed.unwrap_err().message().unwrap_or_default().to_owned();
        assert!(message.contains("hard time limit"), "{message}");
        assert!(message.contains("booted"), "{message}");
        assert!(vm.process.exited().is_some());
    }

    #[test]
    fn a_panic_is_a_failure_and_a_result_passes_through() {
        assert!(within(Duration::from_secs(10), || -> Result<()> { panic!("no") }).is_err());
        assert_eq!(within(Duration::from_secs(10), || Ok(7)).ok(), Some(7));
    }
}
