//! The loop of a core: turn while there is work, sleep until there is some; while traffic is brisk, look
//! on for a moment first.
//!
//! What is turned is a [`Station`]: the stack (`serve`), or what stands in its place (`reflect`). The
//! invariant: the core sleeps only after the NIC was armed and found quiet with interrupts off, so no
//! packet waits for the next timer.
#![forbid(unsafe_code)]

use kernel::idle::Vigil;
use kernel::net::{Rest, Turn};
use smoltcp::time::Instant;

use crate::arch::{cpu, time};
use crate::host;

/// What a core does over and over.
pub trait Station {
    /// A device has interrupted: it is to be acknowledged.
    fn on_interrupt(&mut self);

    /// Does everything that can be done at `now`.
    fn turn(&mut self, now: Instant) -> Turn;

    /// Whether the core may sleep now; asks for an interrupt if so.
    fn rest(&mut self) -> Rest;
}

/// How often a NIC without an interrupt is looked at, in nanoseconds.
const POLL: u64 = time::SECOND / 1000;

/// The time, as stations have it.
pub fn now() -> Instant {
    Instant::from_micros((time::now() / 1000) as i64)
}

/// Nanoseconds since boot of a time that a station named.
fn nanoseconds(at: Instant) -> u64 {
    u64::try_from(at.total_micros()).unwrap_or(0) * 1000
}

/// Turns `station` until the power goes. An idle core looks on for `idle_poll` microseconds at most;
/// a NIC that is `polled` has no interrupt.
pub fn forever(station: &mut impl Station, idle_poll: u16, polled: bool) -> ! {
    let mut vigil = Vigil::new(u64::from(idle_poll) * 1000);
    loop {
        if host::take_attention() {
            station.on_interrupt();
            host::acknowledged();
        }
        if station.turn(now()) == Turn::Worked {
            vigil.worked();
            continue;
        }
        if vigil.goes_on(time::now()) {
            continue;
        }
        if let Rest::Until(deadline) = station.rest() {
            let poll = polled.then(|| time::now() + POLL);
            let deadline = deadline.map(nanoseconds).into_iter().chain(poll).min();
            let from = time::now();
            cpu::sleep_until(deadline, || !host::has_attention());
            vigil.slept(from, time::now());
        }
    }
}
