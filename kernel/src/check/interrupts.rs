//! Do interrupts come: from the timer, from the processor itself, and over the I/O APIC? Each is
//! waited for with the core awake, since a halt that nothing ends would end the test.
#![forbid(unsafe_code)]

use alloc::format;
use alloc::string::String;

use kernel::selftest::Outcome;

use crate::arch::acpi::Machine;
use crate::arch::interrupts::{self, Vector};
use crate::arch::ioapic::{self, Trigger};
use crate::arch::{apic, cpu, pit, time};

/// Nanoseconds in which an interrupt has to come.
const LIMIT: u64 = time::SECOND;
/// Interrupts that are waited for.
const TIMES: u64 = 10;
/// Nanoseconds from one deadline of the timer to the next.
const STEP: u64 = time::SECOND / 200;

/// The local APIC's timer interrupts at its deadline and not before.
pub(super) fn timer() -> Result<String, String> {
    let mut latest = 0;
    for n in 0..TIMES {
        let before = apic::timer_interrupts();
        let deadline = time::now() + STEP;
        apic::arm_timer(deadline);
        if !cpu::wait_for(STEP + LIMIT, || apic::timer_interrupts() != before) {
            return Err(format!("no interrupt within a second, after {n} that came"));
        }
        let now = time::now();
        if now < deadline {
            let early = (deadline - now) / 1000;
            return Err(format!("an interrupt came {early} us before its time"));
        }
        latest = latest.max(now - deadline);
    }
    let late = latest / 1000;
    Ok(format!(
        "{TIMES} interrupts, each after its 5 ms, none later than {late} us"
    ))
}

/// The processor interrupts itself.
pub(super) fn local_apic() -> Result<String, String> {
    let vector = own_vector()?;
    for n in 0..TIMES {
        apic::interrupt_self(vector);
        if !cpu::wait_for(LIMIT, || interrupts::count(vector) > n) {
            return Err(format!("the interrupt {n} to itself does not come"));
        }
    }
    let kind = apic::describe();
    Ok(format!("{kind}, {TIMES} interrupts to itself"))
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
    let vector = own_vector()?;
    let (gsi, trigger) = ioapic::line_of(0, Trigger::EDGE);
    let line = ioapic::route(gsi, vector, trigger).map_err(|why| format!("{why}"))?;
    pit::tick();
    let came = cpu::wait_for(LIMIT, || interrupts::count(vector) >= TIMES);
    line.mask();
    let (chips, overrides) = (machine.io_apics.len(), machine.overrides.len());
    let told = format!("{chips} in the MADT with {overrides} overrides");
    if came {
        Ok(format!(
            "{told}; {TIMES} interrupts of the 8254 on line {gsi}"
        ))
    } else {
        Err(format!("{told}; the 8254 does not interrupt on line {gsi}"))
    }
}

fn own_vector() -> Result<Vector, String> {
    interrupts::register(|| ()).ok_or_else(|| "no interrupt vector is left".into())
}
