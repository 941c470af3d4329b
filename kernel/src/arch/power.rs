//! The end of a run: QEMU's exit device, ACPI power-off, reset. `main` calls [`init`] once the
//! tables are read; before that only QEMU's device and the known ports are tried.

use core::fmt;
use core::ptr::NonNull;

use kernel::config::OnFailure;
use spin::Once;

use super::acpi::Machine;
use super::acpi::tables::Register;
use super::{cpu, port, time};
use crate::{console, mem};

/// QEMU's `-device isa-debug-exit,iobase=0xf4,iosize=0x04`: writing `code` ends QEMU with status
/// `code << 1 | 1`.
const DEBUG_EXIT: u16 = 0xF4;

/// Why the machine stops. The number is what the exit device gets; QEMU's status is behind it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u32)]
pub enum Exit {
    /// The kernel panicked (35).
    Panic = 0x11,
    /// The processor raised an exception (37).
    Exception = 0x12,
    /// The command line was refused (39).
    BadConfig = 0x13,
    /// No network device that can be used (41).
    NoDevice = 0x14,
    /// The machine lacks what the kernel needs, such as memory (43).
    BadMachine = 0x15,
    /// The self-test found nothing wrong (45).
    SelfTestPassed = 0x16,
    /// The self-test found something wrong (47).
    SelfTestFailed = 0x17,
}

/// Switches that are mapped and ready.
#[derive(Clone, Copy, Debug, Default)]
struct Switches {
    off: Option<Off>,
    reset: Option<(Switch, u8)>,
}

#[derive(Clone, Copy, Debug)]
enum Off {
    /// PM1 control ports with their values, and the way to ACPI mode.
    Pm1 {
        controls: [Option<(u16, u16)>; 2],
        enable: Option<(u16, u8)>,
    },
    /// Sleep control register of hardware-reduced machines.
    SleepControl(Switch, u8),
}

#[derive(Clone, Copy, Debug)]
enum Switch {
    Memory(NonNull<u8>),
    Port(u16),
}

// SAFETY: a one-byte device register; whoever writes it last ends the machine.
unsafe impl Send for Switches {}
// SAFETY: as above.
unsafe impl Sync for Switches {}

static SWITCHES: Once<Switches> = Once::new();

/// PM1 control: ACPI mode is on; go to sleep; where the sleep type goes (ACPI 6.5, 4.8.3.2.1).
const SCI_ENABLE: u16 = 1;
const SLEEP_ENABLE: u16 = 1 << 13;
const SLEEP_TYPE_SHIFT: u32 = 10;
/// The same in a sleep control register (4.8.3.7).
const REDUCED_SLEEP_ENABLE: u8 = 1 << 5;
const REDUCED_SLEEP_TYPE_SHIFT: u32 = 2;

/// Maps the registers now: a panic must not have to.
pub fn init(machine: &Machine) {
    SWITCHES.call_once(|| Switches {
        off: machine.s5.and_then(|types| off(machine, types)),
        reset: machine
            .fadt
            .reset
            .and_then(|(at, value)| Some((switch(at)?, value))),
    });
}

fn off(machine: &Machine, types: [u8; 2]) -> Option<Off> {
    if let Some(register) = machine.fadt.sleep {
        let value = types[0] << REDUCED_SLEEP_TYPE_SHIFT | REDUCED_SLEEP_ENABLE;
        return Some(Off::SleepControl(switch(register)?, value));
    }
    let value = |kind: u8| u16::from(kind) << SLEEP_TYPE_SHIFT | SLEEP_ENABLE;
    let [a, b] = machine.fadt.pm1;
    let controls = [
        a.map(|port| (port, value(types[0]))),
        b.map(|port| (port, value(types[1]))),
    ];
    a.map(|_| Off::Pm1 {
        controls,
        enable: machine.fadt.enable,
    })
}

fn switch(register: Register) -> Option<Switch> {
    match register {
        Register::Port(port) => Some(Switch::Port(port)),
        // SAFETY: the tables say that this is a device register.
        Register::Memory(at) => unsafe { mem::mmio::map(at, 1) }.ok().map(Switch::Memory),
    }
}

impl Switch {
    fn write(self, value: u8) {
        // SAFETY: a register that ends the machine, which is what our callers want.
        unsafe {
            match self {
                Self::Port(at) => port::write(at, value),
                Self::Memory(at) => at.write_volatile(value),
            }
        }
    }
}

/// What to do at the end where there is no exit device; set once from the command line.
static ON_FAILURE: Once<OnFailure> = Once::new();

/// Chooses what [`stop`] does on a machine without QEMU's exit device.
pub fn on_failure(action: OnFailure) {
    ON_FAILURE.call_once(|| action);
}

/// Ends the run: by QEMU's exit device if there is one, otherwise as the command line says.
/// Without a word it halts, so that the message stays on the screen.
pub fn stop(exit: Exit) -> ! {
    debug_exit(exit);
    match ON_FAILURE.get() {
        Some(OnFailure::Off) => power_off(),
        Some(OnFailure::Reboot) => {
            console::line(format_args!("{exit}: starting again in 5 seconds"));
            time::delay_us(5_000_000);
            reboot()
        }
        Some(OnFailure::Halt) | None => {
            console::line(format_args!("halted ({exit})"));
            cpu::halt()
        }
    }
}

/// Does nothing on a machine without the device. Real hardware is spared the attempt.
fn debug_exit(exit: Exit) {
    if cpu::hypervisor() {
        // SAFETY: ends QEMU, or does nothing.
        unsafe { port::write(DEBUG_EXIT, exit as u32) };
    }
}

/// Switches the machine off; halts it where that is not possible.
pub fn power_off() -> ! {
    match SWITCHES.get().and_then(|switches| switches.off) {
        Some(Off::SleepControl(switch, value)) => switch.write(value),
        Some(Off::Pm1 { controls, enable }) => pm1_off(controls, enable),
        None => {}
    }
    if cpu::hypervisor() {
        // SAFETY: power-off ports of QEMU's q35 and pc (with sleep type 0), and of its
        // predecessors; nothing listens there on other virtual machines.
        unsafe {
            port::write(0x604, SLEEP_ENABLE);
            port::write(0xB004, SLEEP_ENABLE);
        }
    }
    time::delay_us(10_000);
    console::line(format_args!("halted: it is safe to switch off"));
    cpu::halt()
}

fn pm1_off(controls: [Option<(u16, u16)>; 2], enable: Option<(u16, u8)>) {
    for (at, value) in controls.into_iter().flatten() {
        // SAFETY: ports that the FADT names for just this.
        unsafe {
            let mut control: u16 = port::read(at);
            if let Some((command, word)) = enable
                && control & SCI_ENABLE == 0
            {
                port::write(command, word);
                // Firmware takes a moment; go on after 100 ms in any case.
                let until = time::now() + time::SECOND / 10;
                while control & SCI_ENABLE == 0 && time::now() < until {
                    control = port::read(at);
                }
            }
            port::write(at, control & SCI_ENABLE | value);
        }
    }
}

/// Starts the machine again.
pub fn reboot() -> ! {
    if let Some((switch, value)) = SWITCHES.get().and_then(|switches| switches.reset) {
        switch.write(value);
        time::delay_us(10_000);
    }
    // SAFETY: the reset control register of PC chipsets, then the keyboard controller's reset
    // line. Both reset the machine or do nothing.
    unsafe {
        port::write(0xCF9, 0x02_u8);
        port::write(0xCF9, 0x06_u8);
        time::delay_us(10_000);
        port::write(0x64, 0xFE_u8);
    }
    time::delay_us(10_000);
    triple_fault()
}

/// Without an interrupt table any exception resets the processor.
fn triple_fault() -> ! {
    let nothing = x86_64::structures::DescriptorTablePointer {
        limit: 0,
        base: x86_64::VirtAddr::zero(),
    };
    // SAFETY: the machine is meant to go down.
    unsafe {
        x86_64::instructions::tables::lidt(&nothing);
        core::arch::asm!("ud2", options(noreturn))
    }
}

impl fmt::Display for Exit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Panic => "panic",
            Self::Exception => "processor exception",
            Self::BadConfig => "bad configuration",
            Self::NoDevice => "no network device",
            Self::BadMachine => "unsuitable machine",
            Self::SelfTestPassed => "self-test passed",
            Self::SelfTestFailed => "self-test failed",
        })
    }
}
