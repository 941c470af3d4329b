//! The end of the road: a panic or a processor exception says what happened, where, and how it
//! got there, on every console, and ends with its own exit code.
//!
//! Invariant: nothing here takes a lock that the failed code may hold, or allocates.

use core::fmt;
use core::panic::PanicInfo;
use core::sync::atomic::{AtomicBool, Ordering};

use crate::arch::power::{self, Exit};
use crate::{console, mem};

const MAX_DEPTH: usize = 32;

static FAILING: AtomicBool = AtomicBool::new(false);

#[panic_handler]
fn panic(info: &PanicInfo<'_>) -> ! {
    let frame: u64;
    // SAFETY: reads a register.
    unsafe { core::arch::asm!("mov {}, rbp", out(reg) frame, options(nomem, nostack)) };
    die(Exit::Panic, format_args!("{info}"), frame)
}

/// Prints `what` and the callers above the frame pointer `frame`, and stops the machine.
pub fn die(exit: Exit, what: fmt::Arguments<'_>, frame: u64) -> ! {
    x86_64::instructions::interrupts::disable();
    // SAFETY: we never return, so no holder of a console lock goes on.
    unsafe { console::seize() };
    if FAILING.swap(true, Ordering::Relaxed) {
        // Failed while failing: whatever was said is all there is to say.
        power::stop(exit);
    }
    console::line(format_args!("\n*** {what}"));
    backtrace(frame);
    power::stop(exit)
}

/// Return addresses, for `addr2line -e millrace`.
fn backtrace(mut frame: u64) {
    for depth in 0..MAX_DEPTH {
        let (Some(next), Some(caller)) = (word(frame), word(frame.wrapping_add(8))) else {
            return;
        };
        if caller == 0 {
            return;
        }
        console::line(format_args!("  {depth:2}: {caller:#018x}"));
        // Stacks grow down, so callers' frames lie above.
        if next <= frame {
            return;
        }
        frame = next;
    }
}

/// Reads a word of a stack, if there is one at `address`.
fn word(address: u64) -> Option<u64> {
    if !address.is_multiple_of(8) {
        return None;
    }
    mem::paging::translate(address)?;
    // SAFETY: mapped, aligned, and any bits are a number. (What is mapped stays mapped.)
    Some(unsafe { (address as *const u64).read_volatile() })
}
