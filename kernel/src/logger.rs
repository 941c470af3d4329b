//! The `log` facade's way to the consoles: one line per record, `[seconds] text`, with the level
//! where it matters. Set up once by `main`.
#![forbid(unsafe_code)]

use log::{LevelFilter, Log, Metadata, Record};

use crate::arch::time;
use crate::console;

struct Logger;

static LOGGER: Logger = Logger;

/// Starts logging at `level`; calling it again changes the level.
pub fn init(level: LevelFilter) {
    // An error says that it is set already, which a second call means to.
    let _ = log::set_logger(&LOGGER);
    log::set_max_level(level);
}

impl Log for Logger {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.level() <= log::max_level()
    }

    fn log(&self, record: &Record<'_>) {
        if !self.enabled(record.metadata()) {
            return;
        }
        let micros = time::now() / 1000;
        let (seconds, fraction) = (micros / 1_000_000, micros % 1_000_000);
        let mark = match record.level() {
            log::Level::Error => "error: ",
            log::Level::Warn => "warning: ",
            log::Level::Info => "",
            log::Level::Debug => "debug: ",
            log::Level::Trace => "trace: ",
        };
        console::line(format_args!(
            "[{seconds:4}.{fraction:06}] {mark}{}",
            record.args()
        ));
    }

    fn flush(&self) {}
}
