//! What the kernel wants to know, read out of the bytes of ACPI tables (ACPI 6.5, chapter 5).
//! Used by `acpi` alone; plain data, so it is tested on the host (`tests/acpi_tables.rs`).
//!
//! Tables come from firmware: every read is bounds-checked, and what is cut short or makes no
//! sense is left out.
#![forbid(unsafe_code)]

use alloc::vec::Vec;

/// Bytes in front of a table's own fields.
pub const HEADER: usize = 36;

/// An I/O APIC (MADT type 1).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct IoApic {
    /// Physical address of its registers.
    pub address: u32,
    /// The global system interrupt of its first line.
    pub first_gsi: u32,
}

/// An ISA interrupt that is not what it is by default (MADT type 2).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Override {
    /// The ISA interrupt.
    pub irq: u8,
    /// The global system interrupt that it is.
    pub gsi: u32,
    /// Whether it asks by being low; `None`: as its bus does.
    pub low: Option<bool>,
    /// Whether it is triggered by level; `None`: as its bus does.
    pub level: Option<bool>,
}

/// A window of memory-mapped PCI configuration space (MCFG).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct EcamWindow {
    /// Physical address of bus 0, whether or not the window begins with it.
    pub base: u64,
    /// PCI segment group.
    pub segment: u16,
    /// The first bus in the window.
    pub first_bus: u8,
    /// The last bus in the window.
    pub last_bus: u8,
}

/// A register somewhere (generic address structure).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Register {
    /// In memory, at a physical address.
    Memory(u64),
    /// In port space.
    Port(u16),
}

/// Power management, from the FADT. Absent parts are `None`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Fadt {
    /// Physical address of the DSDT; 0 if none.
    pub dsdt: u64,
    /// Port of the power management timer.
    pub pm_timer: Option<u16>,
    /// PM1a and PM1b control ports.
    pub pm1: [Option<u16>; 2],
    /// Port and value that switch ACPI mode on.
    pub enable: Option<(u16, u8)>,
    /// Register and value that reset the machine.
    pub reset: Option<(Register, u8)>,
    /// Sleep control, on hardware-reduced machines.
    pub sleep: Option<Register>,
}

/// A virtio-mmio device (`LNRO0005`).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct VirtioMmio {
    /// Physical address of its registers.
    pub base: u64,
    /// Bytes of registers.
    pub len: u32,
    /// Its global system interrupt.
    pub gsi: u32,
}

/// The bytes of `table` at `offset`.
fn bytes<const N: usize>(table: &[u8], offset: usize) -> Option<[u8; N]> {
    table.get(offset..)?.first_chunk().copied()
}

/// A little-endian 16-bit field.
pub fn u16_at(table: &[u8], offset: usize) -> Option<u16> {
    bytes(table, offset).map(u16::from_le_bytes)
}

/// A little-endian 32-bit field.
pub fn u32_at(table: &[u8], offset: usize) -> Option<u32> {
    bytes(table, offset).map(u32::from_le_bytes)
}

/// A little-endian 64-bit field.
pub fn u64_at(table: &[u8], offset: usize) -> Option<u64> {
    bytes(table, offset).map(u64::from_le_bytes)
}

/// The entries of a MADT: kind and bytes.
fn madt_entries(madt: &[u8]) -> impl Iterator<Item = (u8, &[u8])> {
    let mut rest = madt.get(HEADER + 8..).unwrap_or(&[]);
    core::iter::from_fn(move || {
        let [kind, len, ..] = *rest else { return None };
        let (entry, behind) = rest.split_at_checked(len.max(2).into())?;
        rest = behind;
        Some((kind, entry))
    })
}

/// The I/O APICs of a MADT.
pub fn io_apics(madt: &[u8]) -> Vec<IoApic> {
    let of = |(kind, entry): (u8, &[u8])| {
        let (address, first_gsi) = (u32_at(entry, 4)?, u32_at(entry, 8)?);
        (kind == 1).then_some(IoApic { address, first_gsi })
    };
    madt_entries(madt).filter_map(of).collect()
}

/// The interrupt source overrides of a MADT.
pub fn overrides(madt: &[u8]) -> Vec<Override> {
    /// Polarity and trigger mode: 0 as the bus has it, then these; 2 is reserved.
    fn choice(bits: u16, on: u16) -> Option<bool> {
        [1, 3].contains(&(bits & 3)).then_some(bits & 3 == on)
    }
    let of = |(kind, entry): (u8, &[u8])| {
        let (gsi, flags) = (u32_at(entry, 4)?, u16_at(entry, 8)?);
        let [bus, irq] = bytes(entry, 2)?;
        (kind == 2 && bus == 0).then_some(Override {
            irq,
            gsi,
            low: choice(flags, 3),
            level: choice(flags >> 2, 3),
        })
    };
    madt_entries(madt).filter_map(of).collect()
}

/// The windows of an MCFG.
pub fn ecam_windows(mcfg: &[u8]) -> Vec<EcamWindow> {
    let entries = mcfg.get(HEADER + 8..).unwrap_or(&[]).chunks_exact(16);
    let window = |entry: &[u8]| {
        let [first_bus, last_bus] = bytes(entry, 10)?;
        let window = EcamWindow {
            base: u64_at(entry, 0)?,
            segment: u16_at(entry, 8)?,
            first_bus,
            last_bus,
        };
        (first_bus <= last_bus).then_some(window)
    };
    entries.filter_map(window).collect()
}

/// The fields of an FADT.
pub fn fadt(table: &[u8]) -> Fadt {
    const RESET_SUPPORTED: u32 = 1 << 10;
    const HARDWARE_REDUCED: u32 = 1 << 20;
    let port = |offset| {
        u32_at(table, offset)
            .and_then(|port| u16::try_from(port).ok())
            .filter(|&port| port != 0)
    };
    let byte = |offset: usize| table.get(offset).copied().unwrap_or(0);
    let flags = u32_at(table, 112).unwrap_or(0);
    let reduced = flags & HARDWARE_REDUCED != 0;
    let wide = u64_at(table, 140).filter(|&address| address != 0);
    let legacy = |value| if reduced { None } else { value };
    Fadt {
        dsdt: wide.or(u32_at(table, 40).map(u64::from)).unwrap_or(0),
        pm_timer: legacy(port(76)),
        pm1: [legacy(port(64)), legacy(port(68))],
        enable: legacy(port(48))
            .map(|port| (port, byte(52)))
            .filter(|&(_, value)| value != 0),
        reset: register(table, 116)
            .filter(|_| flags & RESET_SUPPORTED != 0)
            .map(|at| (at, byte(128))),
        sleep: register(table, 244).filter(|_| reduced),
    }
}

/// A generic address structure.
fn register(table: &[u8], offset: usize) -> Option<Register> {
    let address = u64_at(table, offset + 4).filter(|&address| address != 0)?;
    match table.get(offset)? {
        0 => Some(Register::Memory(address)),
        1 => u16::try_from(address).ok().map(Register::Port),
        _ => None,
    }
}

/// The sleep types of `\_S5`, for PM1a and PM1b. The object is a package of constants on every
/// machine, so it is found by its name and read without interpreting the rest of the AML.
pub fn s5(aml: &[u8]) -> Option<[u8; 2]> {
    const NAME: u8 = 0x08;
    const PACKAGE: u8 = 0x12;
    let named = |&at: &usize| {
        at >= 1 && matches!(aml[at - 1], NAME | b'\\') && aml.get(at + 4) == Some(&PACKAGE)
    };
    let at = find(aml, b"_S5_").find(named)?;
    // Package length: the top bits of its first byte count the bytes that follow.
    let length = usize::from(*aml.get(at + 5)? >> 6) + 1;
    let mut rest = aml.get(at + 5 + length + 1..)?;
    let mut next = || {
        let (value, len) = match *rest {
            [value @ 0..=1, ..] => (value, 1),
            [0x0A, value, ..] => (value, 2),
            _ => return None,
        };
        rest = &rest[len..];
        Some(value)
    };
    let first = next()?;
    Some([first, next().unwrap_or(first)])
}

/// The virtio-mmio devices that AML declares, each a `_HID` followed by a resource template with
/// a 32-bit memory range and an interrupt.
pub fn virtio_mmio(aml: &[u8]) -> Vec<VirtioMmio> {
    const HID: &[u8] = b"LNRO0005";
    let mut found = Vec::new();
    for at in find(aml, HID) {
        let body = &aml[at + HID.len()..];
        let body = &body[..find(body, HID).next().unwrap_or(body.len())];
        // 32-bit fixed memory range (ACPI 6.5, 6.4.3.4), extended interrupt (6.4.3.6).
        let memory = find(body, &[0x86, 9, 0]).next();
        let interrupt = find(body, &[0x89, 6, 0]).next();
        if let (Some(memory), Some(interrupt)) = (memory, interrupt)
            && let (Some(base), Some(len)) = (u32_at(body, memory + 4), u32_at(body, memory + 8))
            && let Some(gsi) = u32_at(body, interrupt + 5)
        {
            found.push(VirtioMmio {
                base: base.into(),
                len,
                gsi,
            });
        }
    }
    found
}

/// Where `needle` occurs. Its first byte is looked for alone, since it is rare.
fn find<'a>(bytes: &'a [u8], needle: &'a [u8]) -> impl Iterator<Item = usize> + 'a {
    let first = needle.first().copied();
    let starts = bytes
        .iter()
        .enumerate()
        .filter(move |&(_, byte)| Some(*byte) == first);
    starts
        .map(|(at, _)| at)
        .filter(move |&at| bytes[at..].starts_with(needle))
}
