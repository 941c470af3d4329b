//! The guest's serial log: collected as it appears, searched, and printed when a test fails.
#![forbid(unsafe_code)]

use std::fmt::Write;
use std::io::{BufRead, BufReader, Read};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// Lines kept; a guest that logs more than this is cut at the front.
const KEPT_LINES: usize = 10_000;

/// What the guest (and QEMU itself) has printed so far.
#[derive(Debug)]
pub struct SerialLog {
    started: Instant,
    inner: Mutex<Inner>,
    grown: Condvar,
}

#[derive(Debug, Default)]
struct Inner {
    /// Lines with the time since start at which they were complete.
    lines: Vec<(Duration, String)>,
    open_pipes: usize,
}

impl SerialLog {
    /// An empty log whose clock starts now.
    pub fn new() -> Arc<SerialLog> {
        Arc::new(SerialLog {
            started: Instant::now(),
            inner: Mutex::default(),
            grown: Condvar::new(),
        })
    }

    /// Collects everything that comes out of `pipe`, on a thread that ends with the pipe.
    pub fn collect(self: &Arc<Self>, pipe: impl Read + Send + 'static) {
        self.inner().open_pipes += 1;
        let log = Arc::clone(self);
        thread::spawn(move || {
            let mut pipe = BufReader::new(pipe);
            let mut line = Vec::new();
            while matches!(pipe.read_until(b'\n', &mut line), Ok(1..)) {
                log.push(&line);
                line.clear();
            }
            log.inner().open_pipes -= 1;
            log.grown.notify_all();
        });
    }

    fn push(&self, line: &[u8]) {
        let text = String::from_utf8_lossy(line).trim_end().to_owned();
        let mut inner = self.inner();
        if inner.lines.len() == KEPT_LINES {
            inner.lines.drain(..KEPT_LINES / 2);
        }
        inner.lines.push((self.started.elapsed(), text));
        drop(inner);
        self.grown.notify_all();
    }

    /// Waits for a line that contains `needle`; `None` when time is up or the log has ended.
    pub fn wait_for(&self, needle: &str, limit: Duration) -> Option<String> {
        let end = Instant::now() + limit;
        let mut inner = self.inner();
        loop {
            if let Some((_, line)) = inner.lines.iter().find(|(_, line)| line.contains(needle)) {
                return Some(line.clone());
            }
            let left = end.saturating_duration_since(Instant::now());
            if inner.open_pipes == 0 || left.is_zero() {
                return None;
            }
            inner = self
                .grown
                .wait_timeout(inner, left)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
    }

    /// The first line that contains `needle`, if it has been printed.
    pub fn find(&self, needle: &str) -> Option<String> {
        self.wait_for(needle, Duration::ZERO)
    }

    /// Waits for the log's end, then returns all of it.
    pub fn wait_end(&self, limit: Duration) -> String {
        // No line contains a line feed, so only the end of the log ends the wait early.
        self.wait_for("\n", limit);
        self.render()
    }

    /// When (since the guest was started) the first line that contains `needle` was complete.
    pub fn time_of(&self, needle: &str) -> Option<Duration> {
        self.inner()
            .lines
            .iter()
            .find(|(_, line)| line.contains(needle))
            .map(|(at, _)| *at)
    }

    /// The whole log, each line with the seconds since the guest was started.
    pub fn render(&self) -> String {
        let mut text = String::new();
        for (at, line) in &self.inner().lines {
            let _ = writeln!(text, "{:9.3} | {line}", at.as_secs_f64());
        }
        text
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_found_after_it_was_printed() {
        let log = SerialLog::new();
        log.collect(&b"one\r\nmillrace: ready ip=10.7.0.2/24\nhalf"[..]);
        let line = log.wait_for("ready", Duration::from_secs(5)).unwrap();
        assert_eq!(line, "millrace: ready ip=10.7.0.2/24");
        assert_eq!(
            log.wait_for("half", Duration::from_secs(5)).as_deref(),
            Some("half")
        );
    }

    #[test]
    fn waiting_ends_with_the_log() {
        let log = SerialLog::new();
        log.collect(&b"no such thing\n"[..]);
        assert_eq!(log.wait_for("ready", Duration::from_secs(60)), None);
    }
}
