//! The processor and the PC around it. `main` calls the `init`s in boot order; the rest of the
//! image uses the clock, the interrupt vectors and the power switch.

pub mod acpi;
pub mod apic;
pub mod cpu;
mod exceptions;
mod gdt;
mod idt;
pub mod interrupts;
pub mod ioapic;
pub mod pci;
pub mod pit;
pub mod port;
pub mod power;
pub mod time;

/// Descriptor tables; from here on a fault is reported instead of resetting the machine.
pub fn init() {
    gdt::init();
    idt::init();
}
