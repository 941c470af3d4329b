//! Instruction budgets: how many instructions a packet takes, counted inside the image.
//!
//! Only in an image built with the feature `budgets` (`scripts/build-kernel.sh --budgets`), and only
//! if its command line is `budgets`, or `budgets CASE` for one case. QEMU runs it with `-icount shift=0`, which makes the
//! time-stamp counter count instructions; `bench -- budgets` does that, and compares with the
//! committed table. Driver, stack and services are those that are shipped; only the card is made of
//! memory (`card`), so that no host has a say in what is counted. Interrupts are off throughout.

mod card;
mod cases;
mod rig;
mod tcp;

use crate::arch::power;
use crate::console;

/// A count, shared out evenly.
struct Budget {
    name: &'static str,
    /// What one of them is.
    unit: &'static str,
    instructions: u64,
    of: u64,
}

impl Budget {
    fn new(name: &'static str, unit: &'static str, instructions: u64, of: usize) -> Self {
        Self {
            name,
            unit,
            instructions,
            of: of as u64,
        }
    }

    /// A line that the host reads.
    fn tell(&self) {
        let tenths = (10 * self.instructions + self.of / 2) / self.of;
        let Self { name, unit, .. } = self;
        console::line(format_args!(
            "budget {name} {}.{} instructions per {unit}",
            tenths / 10,
            tenths % 10
        ));
    }
}

/// A case: its name, and what counts it and tells.
type Case = (&'static str, fn(&'static str));

/// Every case; `flat` has several counts.
const CASES: [Case; 12] = [
    ("pool-alloc-free", |name| cases::pool(name).tell()),
    ("rx-poll-drop", |name| cases::receive(name).tell()),
    ("idle-turn", |name| cases::idle(name).tell()),
    ("udp-discard", |name| cases::udp_discard(name).tell()),
    ("udp-echo", |name| cases::udp_echo(name).tell()),
    ("tcp-echo", |name| cases::tcp_echo(name).tell()),
    ("tcp-in", |name| cases::tcp_in(name, false).tell()),
    ("tcp-in-merged", |name| cases::tcp_in(name, true).tell()),
    ("tcp-out", |name| cases::tcp_out(name, false).tell()),
    ("tcp-out-cut", |name| cases::tcp_out(name, true).tell()),
    ("http", |name| cases::http(name).tell()),
    ("flat", |_| cases::flat(Budget::tell)),
];

/// Counts everything and switches the machine off, if the command line says so.
pub fn run_if_asked(command_line: &[u8]) {
    let Some(wanted) = command_line.strip_prefix(b"budgets") else {
        return;
    };
    let wanted = wanted.trim_ascii();
    for (name, case) in CASES {
        if wanted.is_empty() || wanted == name.as_bytes() {
            case(name);
        }
    }
    console::line(format_args!("budgets: done"));
    power::power_off()
}
