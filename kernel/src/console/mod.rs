//! Where text goes: the first serial port, and the screen where there is one. Written by
//! `logger` and by panics.
//!
//! Nothing here allocates after [`screen`] was called, and a console that is missing or stuck
//! costs its text, never the machine.

mod framebuffer;
mod serial;

use core::fmt;

use bootloader_api::info::FrameBuffer;
use spin::Mutex;

use self::framebuffer::Screen;
use self::serial::Serial;

static SERIAL: Mutex<Option<Serial>> = Mutex::new(None);
static SCREEN: Mutex<Option<Screen>> = Mutex::new(None);

/// Sets up the serial port, if there is one.
pub fn serial() {
    *SERIAL.lock() = Serial::com1();
}

/// Starts writing to the screen too.
pub fn screen(framebuffer: FrameBuffer) {
    *SCREEN.lock() = Screen::new(framebuffer);
}

/// Writes one line to every console.
pub fn line(text: fmt::Arguments<'_>) {
    let mut line = Line {
        bytes: [0; LINE],
        len: 0,
    };
    // Pieces that cannot be formatted are the writer's loss alone.
    let _ = fmt::write(&mut line, text);
    let _ = fmt::Write::write_char(&mut line, '\n');
    line.flush();
}

/// Breaks the consoles' locks, for a panic that came while one was held.
///
/// # Safety
///
/// Nothing may go on that holds one of the locks: the caller never returns to it.
pub unsafe fn seize() {
    // SAFETY: our caller promises that no holder goes on.
    unsafe {
        if SERIAL.is_locked() {
            SERIAL.force_unlock();
        }
        if SCREEN.is_locked() {
            SCREEN.force_unlock();
        }
    }
}

const LINE: usize = 192;

/// Gathers the small pieces that formatting yields: each write to a port is slow.
struct Line {
    bytes: [u8; LINE],
    len: usize,
}

impl Line {
    fn flush(&mut self) {
        let bytes = &self.bytes[..self.len];
        if let Some(serial) = &mut *SERIAL.lock() {
            serial.write(bytes);
        }
        if let Some(screen) = &mut *SCREEN.lock() {
            screen.write(bytes);
        }
        self.len = 0;
    }
}

impl fmt::Write for Line {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for byte in text.bytes() {
            // Terminals in raw mode need both; room for both is kept.
            if byte == b'\n' {
                self.bytes[self.len] = b'\r';
                self.len += 1;
            }
            self.bytes[self.len] = byte;
            self.len += 1;
            if self.len > LINE - 2 {
                self.flush();
            }
        }
        Ok(())
    }
}
