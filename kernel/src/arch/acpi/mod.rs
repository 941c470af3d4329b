//! The machine as firmware describes it in ACPI tables. `main` calls [`discover`] once; interrupt
//! routing, PCI access, the clock and the power switch take what they need from the result.
//!
//! Tables are mapped read-only and read as bytes (`tables`); AML is searched, not interpreted.

pub mod tables;

use alloc::vec::Vec;
use core::fmt;

use self::tables::{EcamWindow, Fadt, HEADER, IoApic, Override, VirtioMmio, u32_at, u64_at};
use crate::mem::mmio;
use crate::mem::paging::MapError;

/// No table of interest is larger.
const TABLE_MAX: usize = 1 << 20;

/// What the tables say. Empty where there are none.
#[derive(Clone, Debug, Default)]
pub struct Machine {
    /// I/O APICs.
    pub io_apics: Vec<IoApic>,
    /// ISA interrupts that are not what they are by default.
    pub overrides: Vec<Override>,
    /// Memory-mapped PCI configuration space.
    pub ecam: Vec<EcamWindow>,
    /// Timer and power switches.
    pub fadt: Fadt,
    /// Sleep types of power-off.
    pub s5: Option<[u8; 2]>,
    /// virtio-mmio devices.
    pub virtio_mmio: Vec<VirtioMmio>,
}

/// Why there is no description.
#[derive(Clone, Copy, Debug)]
pub enum AcpiError {
    /// No root pointer at the address given.
    NoRootPointer(u64),
    /// This table cannot be mapped.
    Unmapped(u64, MapError),
    /// This table has an impossible length.
    BadLength(u64, u32),
}

impl fmt::Display for AcpiError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoRootPointer(at) => write!(f, "no ACPI root pointer at {at:#x}"),
            Self::Unmapped(at, why) => write!(f, "cannot map the ACPI table at {at:#x}: {why:?}"),
            Self::BadLength(at, len) => write!(f, "ACPI table at {at:#x} of {len} bytes"),
        }
    }
}

/// Reads the tables behind the root pointer at physical address `rsdp`.
pub fn discover(rsdp: u64) -> Result<Machine, AcpiError> {
    let pointer = map(rsdp, HEADER)?;
    if !pointer.starts_with(b"RSD PTR ") {
        return Err(AcpiError::NoRootPointer(rsdp));
    }
    // Revision 2 and later have the wide table (ACPI 6.5, 5.2.5.3).
    let wide = u64_at(pointer, 24).filter(|&at| at != 0 && pointer[15] >= 2);
    let root = match (wide, u32_at(pointer, 16)) {
        (Some(at), _) => table(at)?,
        (None, at) => table(at.unwrap_or(0).into())?,
    };
    let entry = |entry: &[u8]| match wide {
        Some(_) => u64_at(entry, 0),
        None => u32_at(entry, 0).map(u64::from),
    };
    let size = if wide.is_some() { 8 } else { 4 };
    let mut machine = Machine::default();
    for at in root
        .get(HEADER..)
        .unwrap_or(&[])
        .chunks_exact(size)
        .filter_map(entry)
    {
        machine.add(table(at)?)?;
    }
    Ok(machine)
}

impl Machine {
    fn add(&mut self, bytes: &[u8]) -> Result<(), AcpiError> {
        match bytes.first_chunk() {
            Some(b"APIC") => {
                self.io_apics = tables::io_apics(bytes);
                self.overrides = tables::overrides(bytes);
            }
            Some(b"MCFG") => self.ecam = tables::ecam_windows(bytes),
            Some(b"SSDT") => self.virtio_mmio.extend(tables::virtio_mmio(bytes)),
            Some(b"FACP") => {
                self.fadt = tables::fadt(bytes);
                if self.fadt.dsdt != 0 {
                    let dsdt = table(self.fadt.dsdt)?;
                    self.s5 = tables::s5(dsdt);
                    self.virtio_mmio.extend(tables::virtio_mmio(dsdt));
                }
            }
            _ => {}
        }
        Ok(())
    }
}

/// Maps a whole table.
fn table(at: u64) -> Result<&'static [u8], AcpiError> {
    let len = u32_at(map(at, HEADER)?, 4).unwrap_or(0);
    if !(HEADER..=TABLE_MAX).contains(&(len as usize)) {
        return Err(AcpiError::BadLength(at, len));
    }
    map(at, len as usize)
}

fn map(at: u64, len: usize) -> Result<&'static [u8], AcpiError> {
    // SAFETY: firmware keeps its tables in memory that is not in a usable region, so nobody
    // writes them.
    unsafe { mmio::read_only(at, len) }.map_err(|why| AcpiError::Unmapped(at, why))
}
