//! Access to configuration space.
//!
//! [`ConfigAccess`] is what the kernel implements for ports 0xCF8/0xCFC; [`Ecam`] is the
//! memory-mapped form. Both give aligned 32-bit words; narrower fields are cut out of them here, so
//! that there is one way in.
#![forbid(unsafe_code)]

use pci_types::PciAddress;

use crate::bus::mmio::{MmioError, MmioRegion};

/// Reads and writes words of configuration space.
///
/// `offset` is in bytes and a multiple of four. What is not there reads as all ones, as on the
/// bus; writes to it are lost.
pub trait ConfigAccess {
    /// Reads the word at `offset`.
    fn read32(&self, address: PciAddress, offset: u16) -> u32;

    /// Writes the word at `offset`.
    fn write32(&self, address: PciAddress, offset: u16, value: u32);

    /// Reads the 16-bit field at `offset`, which is even.
    fn read16(&self, address: PciAddress, offset: u16) -> u16 {
        (self.read32(address, offset & !3) >> ((offset & 2) * 8)) as u16
    }

    /// Reads the byte at `offset`.
    fn read8(&self, address: PciAddress, offset: u16) -> u8 {
        (self.read32(address, offset & !3) >> ((offset & 3) * 8)) as u8
    }
}

impl<T: ConfigAccess + ?Sized> ConfigAccess for &T {
    fn read32(&self, address: PciAddress, offset: u16) -> u32 {
        (**self).read32(address, offset)
    }

    fn write32(&self, address: PciAddress, offset: u16, value: u32) {
        (**self).write32(address, offset, value);
    }
}

/// Bytes of configuration space per function behind ECAM (PCI Express 5.0, 7.2.2).
const FUNCTION_BYTES: usize = 4096;
/// Functions per bus: 32 devices of 8 functions.
const FUNCTIONS_PER_BUS: usize = 256;

/// Memory-mapped configuration space of one PCI segment.
#[derive(Debug)]
pub struct Ecam {
    region: MmioRegion,
    segment: u16,
    first_bus: u8,
}

impl Ecam {
    /// Takes the window that the firmware's MCFG table describes; its first byte belongs to
    /// `first_bus` of `segment`. The window may end early: buses behind its end are not there.
    pub const fn new(region: MmioRegion, segment: u16, first_bus: u8) -> Self {
        Self {
            region,
            segment,
            first_bus,
        }
    }

    /// Bytes that `buses` buses take.
    pub const fn window_len(buses: usize) -> usize {
        buses * FUNCTIONS_PER_BUS * FUNCTION_BYTES
    }

    fn offset(&self, address: PciAddress, offset: u16) -> Option<usize> {
        if address.segment() != self.segment || usize::from(offset) >= FUNCTION_BYTES {
            return None;
        }
        let bus = address.bus().checked_sub(self.first_bus)?;
        let function = usize::from(bus) * FUNCTIONS_PER_BUS
            + usize::from(address.device()) * 8
            + usize::from(address.function());
        Some(function * FUNCTION_BYTES + usize::from(offset & !3))
    }

    fn try_read(&self, address: PciAddress, offset: u16) -> Option<u32> {
        self.region.read(self.offset(address, offset)?).ok()
    }

    fn try_write(&self, address: PciAddress, offset: u16, value: u32) -> Option<()> {
        let result: Result<(), MmioError> = self.region.write(self.offset(address, offset)?, value);
        result.ok()
    }
}

impl ConfigAccess for Ecam {
    fn read32(&self, address: PciAddress, offset: u16) -> u32 {
        self.try_read(address, offset).unwrap_or(u32::MAX)
    }

    fn write32(&self, address: PciAddress, offset: u16, value: u32) {
        // A write to what is not there is lost, as on the bus.
        let _ = self.try_write(address, offset, value);
    }
}
