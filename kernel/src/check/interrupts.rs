//! What interrupts in this machine: the local APIC's timer, the processor itself, and the 8254 over
//! the I/O APIC. The checks are in `kernel::selftest`.
#![forbid(unsafe_code)]

use alloc::format;
use alloc::string::String;

use kernel::selftest::Outcome;
use kernel::selftest::interrupts::{self as checks, Source};

use crate::arch::acpi::Machine;
use crate::arch::interrupts::{self, Vector};
use crate::arch::ioapic::{self, Trigger};
use crate::arch::{apic, cpu, pit, time};

struct Timer;

impl Source for Timer {
    fn now(&self) -> u64 {
        time::now()
    }

    fn came(&self) -> u64 {
        apic::timer_interrupts()
    }

    fn ask(&mut self, at: u64) {
        apic::arm_timer(at);
    }
}

/// A vector of our own, and what raises it.
struct Own(Vector, fn(Vector));

impl Source for Own {
    fn now(&self) -> u64 {
        time::now()
    }

    fn came(&self) -> u64 {
        interrupts::count(self.0)
    }

    fn ask(&mut self, _: u64) {
        (self.1)(self.0);
    }
}

/// The local APIC's timer interrupts at its deadline and not before.
pub(super) fn timer() -> Result<String, String> {
    cpu::allow_interrupts();
    checks::timer(&mut Timer)
}

/// The processor interrupts itself.
pub(super) fn local_apic() -> Result<String, String> {
    cpu::allow_interrupts();
    let mut itself = Own(own_vector()?, apic::interrupt_self);
    let seen = checks::answers(&mut itself)?;
    let kind = apic::describe();
    Ok(format!("{kind}, {seen} to itself"))
}

/// The 8254 interrupts over the line that firmware names for it.
pub(super) fn io_apic(machine: &Machine) -> Outcome {
    if !pit::counts() {
        return Outcome::Skip(
            "the 8254 stands still, and nothing else interrupts by itself".into(),
        );
    }
    eight_two_five_four(machine).into()
}

fn eight_two_five_four(machine: &Machine) -> Result<String, String> {
    cpu::allow_interrupts();
    let vector = own_vector()?;
    let (gsi, trigger) = ioapic::line_of(0, Trigger::EDGE);
    let line = ioapic::route(gsi, vector, trigger).map_err(|why| format!("{why}"))?;
    let came = checks::ticks(&mut Own(vector, |_| pit::tick()));
    line.mask();
    let (chips, overrides) = (machine.io_apics.len(), machine.overrides.len());
    let told = |seen| {
        format!("{chips} in the MADT with {overrides} overrides; {seen} of the 8254 on line {gsi}")
    };
    came.map(told).map_err(told)
}

fn own_vector() -> Result<Vector, String> {
    interrupts::register(|| ()).ok_or_else(|| "no interrupt vector is left".into())
}
