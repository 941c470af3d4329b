//! I/O APICs: interrupt lines to vectors (82093AA datasheet). `main` calls [`init`] once; drivers
//! without message-signalled interrupts get a line through [`route`].
//!
//! Invariant: a line is masked until it is routed. A level-triggered line interrupts again and
//! again until its device is acknowledged, so its handler must [`mask`](Line::mask) it.
//! Registers are reached with interrupts off, since handlers reach them too.

use alloc::vec::Vec;
use core::fmt;
use core::ptr::NonNull;

use spin::{Mutex, Once};
use x86_64::instructions::interrupts::without_interrupts;

use super::acpi::Machine;
use super::acpi::tables::{IoApic, Override};
use super::apic;
use super::interrupts::Vector;
use crate::mem::mmio;

/// Where the I/O APIC is if nothing says otherwise.
const DEFAULT: IoApic = IoApic {
    address: 0xFEC0_0000,
    first_gsi: 0,
};

/// Where the 8254 is if nothing says otherwise.
const TIMER: Override = Override {
    irq: 0,
    gsi: 2,
    low: None,
    level: None,
};

const WINDOW: usize = 0x10;
const VERSION: u8 = 1;
const REDIRECTION: u8 = 0x10;

const MASKED: u32 = 1 << 16;
const LEVEL: u32 = 1 << 15;
const ACTIVE_LOW: u32 = 1 << 13;

/// How a line asks for attention.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Trigger {
    /// As long as it has its level, and not when it gets it.
    pub level: bool,
    /// By being low.
    pub low: bool,
}

impl Trigger {
    /// By rising (ISA, virtio-mmio).
    pub const EDGE: Self = Self {
        level: false,
        low: false,
    };
    /// By being low (PCI).
    pub const LEVEL_LOW: Self = Self {
        level: true,
        low: true,
    };

    fn mode(self) -> u32 {
        let bit = |set, bit| if set { bit } else { 0 };
        bit(self.level, LEVEL) | bit(self.low, ACTIVE_LOW)
    }
}

/// No I/O APIC has this line.
#[derive(Clone, Copy, Debug)]
pub struct NoSuchLine(pub u32);

impl fmt::Display for NoSuchLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "no I/O APIC has interrupt line {}", self.0)
    }
}

/// A routed line.
#[derive(Clone, Copy, Debug)]
pub struct Line {
    chip: usize,
    index: u8,
    /// The low word of its redirection entry.
    entry: u32,
}

struct Chip {
    registers: NonNull<u8>,
    first_gsi: u32,
    lines: u32,
    /// The select register and the window are one access.
    lock: Mutex<()>,
}

// SAFETY: the registers are device memory, used under the lock.
unsafe impl Send for Chip {}
// SAFETY: as above.
unsafe impl Sync for Chip {}

static CHIPS: Once<Vec<Chip>> = Once::new();
static OVERRIDES: Once<Vec<Override>> = Once::new();

/// Maps the chips and masks every line. If firmware describes none, the usual place is tried.
pub fn init(machine: &Machine) {
    let (described, overrides) = if machine.io_apics.is_empty() {
        (&[DEFAULT][..], &[TIMER][..])
    } else {
        (&machine.io_apics[..], &machine.overrides[..])
    };
    OVERRIDES.call_once(|| overrides.to_vec());
    let chips = described.iter().filter_map(Chip::new).collect::<Vec<_>>();
    for chip in &chips {
        for line in 0..chip.lines {
            chip.write(REDIRECTION + line as u8 * 2, MASKED);
        }
    }
    CHIPS.call_once(|| chips);
}

/// The line of interrupt `irq`, as the 8259s count, and how it asks: as `bus` does, unless firmware
/// says otherwise.
pub fn line_of(irq: u8, bus: Trigger) -> (u32, Trigger) {
    let mut all = OVERRIDES.get().into_iter().flatten();
    match all.find(|known| known.irq == irq) {
        Some(known) => {
            let trigger = Trigger {
                level: known.level.unwrap_or(bus.level),
                low: known.low.unwrap_or(bus.low),
            };
            (known.gsi, trigger)
        }
        None => (irq.into(), bus),
    }
}

/// Has line `gsi` (global system interrupt) raise `vector` on this processor.
pub fn route(gsi: u32, vector: Vector, trigger: Trigger) -> Result<Line, NoSuchLine> {
    let chips = CHIPS.get().map_or(&[][..], |chips| chips);
    let chip = chips
        .iter()
        .position(|chip| {
            gsi.checked_sub(chip.first_gsi)
                .is_some_and(|line| line < chip.lines)
        })
        .ok_or(NoSuchLine(gsi))?;
    let index = REDIRECTION + (gsi - chips[chip].first_gsi) as u8 * 2;
    let line = Line {
        chip,
        index,
        entry: trigger.mode() | u32::from(vector.number()),
    };
    chips[chip].write(index + 1, u32::from(apic::id()) << 24);
    line.unmask();
    Ok(line)
}

impl Line {
    /// Whether the line has to be masked while its device waits to be acknowledged.
    pub fn is_level(&self) -> bool {
        self.entry & LEVEL != 0
    }

    /// Keeps the line quiet.
    pub fn mask(&self) {
        self.set(self.entry | MASKED);
    }

    /// Lets the line interrupt again, at once if it still asks.
    pub fn unmask(&self) {
        self.set(self.entry);
    }

    fn set(&self, entry: u32) {
        if let Some(chip) = CHIPS.get().and_then(|chips| chips.get(self.chip)) {
            chip.write(self.index, entry);
        }
    }
}

impl Chip {
    /// `None` if the registers cannot be mapped or nothing answers there.
    fn new(described: &IoApic) -> Option<Self> {
        // SAFETY: firmware (or the usual place) says that these are the registers.
        let registers = unsafe { mmio::map(described.address.into(), 32) }.ok()?;
        let mut chip = Self {
            registers,
            first_gsi: described.first_gsi,
            lines: 0,
            lock: Mutex::new(()),
        };
        let version = chip.read(VERSION);
        if version == u32::MAX || version == 0 {
            return None;
        }
        // At most what one byte can select.
        chip.lines = ((version >> 16 & 0xFF) + 1).min(120);
        Some(chip)
    }

    fn read(&self, register: u8) -> u32 {
        // SAFETY: reading has no effect.
        self.selected(register, |window| unsafe { window.read_volatile() })
    }

    fn write(&self, register: u8, value: u32) {
        // SAFETY: an interrupt line touches no memory.
        self.selected(register, |window| unsafe { window.write_volatile(value) });
    }

    /// Calls `access` with the window onto `register`.
    fn selected<T>(&self, register: u8, access: impl FnOnce(NonNull<u32>) -> T) -> T {
        without_interrupts(|| {
            let _guard = self.lock.lock();
            // SAFETY: both registers lie in the mapping; selecting has no further effect.
            unsafe {
                self.registers.cast::<u32>().write_volatile(register.into());
                access(self.registers.byte_add(WINDOW).cast())
            }
        })
    }
}
