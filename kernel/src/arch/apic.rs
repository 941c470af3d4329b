//! The local APIC: interrupts reach the processor through it, and its timer ends a sleep.
//! (SDM volume 3, chapter 11.)
//!
//! Registers are memory, or MSRs if firmware has switched to x2APIC mode already. The timer
//! compares against the time-stamp counter where it can; otherwise it counts down at a rate that
//! is measured between [`init`] and the first sleep.

use core::arch::x86_64::__cpuid;
use core::fmt;
use core::ptr::NonNull;
use core::sync::atomic::{AtomicU64, Ordering::Relaxed};

use spin::Once;
use x86_64::registers::model_specific::Msr;

use super::interrupts::{self, Vector};
use super::{port, time};
use crate::mem::mmio;
use crate::mem::paging::MapError;

const APIC_BASE: Msr = Msr::new(0x1B);
const ENABLED: u64 = 1 << 11;
const X2APIC: u64 = 1 << 10;
const X2APIC_MSRS: u32 = 0x800;
const TSC_DEADLINE: u32 = 0x6E0;

/// Registers, by their offset in memory.
const ID: u32 = 0x20;
const TASK_PRIORITY: u32 = 0x80;
const EOI: u32 = 0xB0;
const SPURIOUS: u32 = 0xF0;
const LVT_TIMER: u32 = 0x320;
const LVT_LINT0: u32 = 0x350;
const LVT_LINT1: u32 = 0x360;
const INITIAL_COUNT: u32 = 0x380;
const CURRENT_COUNT: u32 = 0x390;
const DIVIDE: u32 = 0x3E0;
/// Interrupt command, lower half.
const COMMAND: u32 = 0x300;
/// x2APIC only: the vector to interrupt ourselves with.
const SELF_IPI: u32 = 0x3F0;

const SOFTWARE_ENABLE: u32 = 1 << 8;
const MASKED: u32 = 1 << 16;
/// Command: to ourselves; assert, which fixed interrupts always do.
const TO_SELF: u32 = 0b01 << 18 | 1 << 14;
const NMI: u32 = 0b100 << 8;
const DEADLINE_MODE: u32 = 0b10 << 17;
const DIVIDE_BY_16: u32 = 0b0011;
/// The rate is worth something from this many nanoseconds on.
const LEAST_MEASURE: u64 = 1_000_000;

#[derive(Clone, Copy)]
enum Registers {
    Memory(NonNull<u8>),
    Msrs,
}

struct LocalApic {
    registers: Registers,
    deadline_timer: bool,
}

// SAFETY: each processor reaches its own APIC through the same registers.
unsafe impl Send for LocalApic {}
// SAFETY: as above; single register accesses need no order among cores.
unsafe impl Sync for LocalApic {}

static APIC: Once<LocalApic> = Once::new();
static TIMER: Once<Vector> = Once::new();
/// When the timer began to count down from `u32::MAX`.
static COUNTING_SINCE: AtomicU64 = AtomicU64::new(0);
/// The deadline that the timer is set to; 0 once it has interrupted.
static ARMED: AtomicU64 = AtomicU64::new(0);
/// How often the timer was set.
static SETS: AtomicU64 = AtomicU64::new(0);
/// Timer counts per second; 0 until it is measured.
static HERTZ: AtomicU64 = AtomicU64::new(0);

/// Why the machine has no usable interrupts.
#[derive(Clone, Copy, Debug)]
pub enum ApicError {
    /// The registers cannot be mapped.
    Unmapped(MapError),
    /// No vector is left for the timer.
    NoVector,
}

impl fmt::Display for ApicError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unmapped(why) => write!(f, "the local APIC cannot be mapped: {why:?}"),
            Self::NoVector => f.write_str("no interrupt vector is left for the local APIC"),
        }
    }
}

/// Switches interrupts over from the 8259s to the local APIC.
pub fn init() -> Result<(), ApicError> {
    mask_8259s();
    let mut base = APIC_BASE;
    // SAFETY: the register exists on every x86-64 processor; enabling changes no memory.
    let value = unsafe {
        let value = base.read() | ENABLED;
        base.write(value);
        value
    };
    let registers = if value & X2APIC != 0 {
        Registers::Msrs
    } else {
        // SAFETY: the base register says where the APIC is, and it is no RAM.
        Registers::Memory(
            unsafe { mmio::map(value & 0xF_FFFF_F000, 4096) }.map_err(ApicError::Unmapped)?,
        )
    };
    let deadline_timer = __cpuid(1).ecx & (1 << 24) != 0;
    let apic = APIC.call_once(|| LocalApic {
        registers,
        deadline_timer,
    });
    let timer = interrupts::register(|| ARMED.store(0, Relaxed)).ok_or(ApicError::NoVector)?;
    TIMER.call_once(|| timer);
    apic.write(TASK_PRIORITY, 0);
    // The 8259s' way in is closed; the other pin is the board's non-maskable interrupt.
    apic.write(LVT_LINT0, MASKED);
    apic.write(LVT_LINT1, NMI);
    apic.write(
        SPURIOUS,
        SOFTWARE_ENABLE | u32::from(Vector::SPURIOUS.number()),
    );
    if deadline_timer {
        apic.write(LVT_TIMER, DEADLINE_MODE | u32::from(timer.number()));
        // SAFETY: orders the write above before the first use of the deadline register.
        unsafe { core::arch::asm!("mfence", options(nostack, preserves_flags)) };
    } else {
        apic.write(DIVIDE, DIVIDE_BY_16);
        apic.write(LVT_TIMER, MASKED | u32::from(timer.number()));
        let before = time::now();
        apic.write(INITIAL_COUNT, u32::MAX);
        COUNTING_SINCE.store(before.midpoint(time::now()), Relaxed);
    }
    Ok(())
}

impl LocalApic {
    fn read(&self, register: u32) -> u32 {
        match self.registers {
            // SAFETY: the mapping covers the page, and reading has no effect.
            Registers::Memory(base) => unsafe {
                base.byte_add(register as usize)
                    .cast::<u32>()
                    .read_volatile()
            },
            // SAFETY: a register of the x2APIC, which is on.
            Registers::Msrs => unsafe { Msr::new(X2APIC_MSRS + register / 16).read() as u32 },
        }
    }

    fn write(&self, register: u32, value: u32) {
        match self.registers {
            // SAFETY: as for reading; the registers written here touch no memory.
            Registers::Memory(base) => unsafe {
                base.byte_add(register as usize)
                    .cast::<u32>()
                    .write_volatile(value)
            },
            // SAFETY: as for reading.
            Registers::Msrs => unsafe { Msr::new(X2APIC_MSRS + register / 16).write(value.into()) },
        }
    }

    /// Timer counts per second; measured at the first call, as [`init`] has left it counting.
    fn hertz(&self) -> u64 {
        let known = HERTZ.load(Relaxed);
        if known != 0 {
            return known;
        }
        let since = COUNTING_SINCE.load(Relaxed);
        let until = since + LEAST_MEASURE;
        while time::now() < until {
            core::hint::spin_loop();
        }
        // The tightest of three readings, should something hold us up between the two clocks.
        let read = || {
            let before = time::now();
            let count = u32::MAX - self.read(CURRENT_COUNT);
            let after = time::now();
            (after - before, count, before.midpoint(after) - since)
        };
        let (_, count, nanos) = read().min(read()).min(read());
        let hertz =
            (u128::from(count) * u128::from(time::SECOND) / u128::from(nanos.max(1))) as u64;
        let timer = TIMER.get().map_or(0, |timer| timer.number());
        self.write(LVT_TIMER, timer.into());
        HERTZ.store(hertz.max(1), Relaxed);
        hertz.max(1)
    }
}

/// Has the timer interrupt at `deadline` (nanoseconds, see [`time::now`]) or some 30 ppm later, or
/// earlier: if that is beyond its reach, or if a former deadline is still to come.
///
/// Setting the timer is an exit under a hypervisor, and deadlines mostly move away while packets
/// come. To wake once for nothing when the former one has come is cheaper than to set each new one.
pub fn arm_timer(deadline: u64) {
    let Some(apic) = APIC.get() else { return };
    let armed = ARMED.load(Relaxed);
    if armed <= deadline && armed > time::now() {
        return;
    }
    ARMED.store(deadline, Relaxed);
    SETS.store(timer_sets() + 1, Relaxed);
    if apic.deadline_timer {
        // Zero would disarm it.
        let ticks = time::ticks_at(deadline).max(1);
        // SAFETY: the processor has the register; a deadline in the past interrupts at once.
        unsafe { Msr::new(TSC_DEADLINE).write(ticks) };
        return;
    }
    let hertz = apic.hertz();
    let nanos = deadline.saturating_sub(time::now());
    let counts = u128::from(nanos) * u128::from(hertz) / u128::from(time::SECOND);
    // A little late, by more than the rate may be off: waking early means to sleep twice.
    let counts = counts + counts / 32768 + 1;
    apic.write(INITIAL_COUNT, u32::try_from(counts).unwrap_or(u32::MAX));
}

/// Tells the APIC that the current interrupt was seen to.
pub(super) fn end_of_interrupt() {
    if let Some(apic) = APIC.get() {
        apic.write(EOI, 0);
    }
}

/// Has this processor interrupt itself with `vector`.
pub fn interrupt_self(vector: Vector) {
    let Some(apic) = APIC.get() else { return };
    let number = u32::from(vector.number());
    match apic.registers {
        Registers::Memory(_) => apic.write(COMMAND, TO_SELF | number),
        Registers::Msrs => apic.write(SELF_IPI, number),
    }
}

/// What the APIC is, for a person to read.
pub fn describe() -> &'static str {
    match APIC.get().map(|apic| apic.registers) {
        Some(Registers::Memory(_)) => "xAPIC",
        Some(Registers::Msrs) => "x2APIC",
        None => "no local APIC",
    }
}

/// This processor's APIC id, as far as interrupt messages can name it.
pub(super) fn id() -> u8 {
    let Some(apic) = APIC.get() else { return 0 };
    match apic.registers {
        Registers::Memory(_) => (apic.read(ID) >> 24) as u8,
        Registers::Msrs => apic.read(ID) as u8,
    }
}

/// How often the timer has interrupted.
pub fn timer_interrupts() -> u64 {
    TIMER.get().map_or(0, |&timer| interrupts::count(timer))
}

/// How often the timer was set.
pub fn timer_sets() -> u64 {
    SETS.load(Relaxed)
}

/// The old interrupt controllers would use vectors that mean exceptions.
fn mask_8259s() {
    // SAFETY: the data ports of both 8259s; all ones masks every line.
    unsafe {
        port::write(0x21, 0xFF_u8);
        port::write(0xA1, 0xFF_u8);
    }
}
