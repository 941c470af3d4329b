//! MSI-X (PCI 3.0, 6.8.2): a table of messages in a BAR, one per vector.
#![forbid(unsafe_code)]

use alloc::vec::Vec;

use volatile::VolatileFieldAccess;
use volatile::access::ReadWrite;
use zerocopy::{FromBytes, IntoBytes};

use super::PciError;
use super::bar::Bars;
use super::capability::{Capability, MSI_X, find_capability};
use super::config::ConfigAccess;
use super::scan::PciFunction;
use crate::bus::mmio::{MmioError, MmioRegion, Registers};
use crate::error::DriverError;
use crate::host::{Host, MsiMessage};

const TABLE: u8 = 4;
const CONTROL_ENABLE: u32 = 1 << 31;
const CONTROL_MASK_ALL: u32 = 1 << 30;
const SIZE_MASK: u32 = 0x7ff;
const BIR_MASK: u32 = 0b111;
const ENTRY_MASKED: u32 = 1;

/// One entry of the table.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, VolatileFieldAccess)]
#[repr(C)]
struct Entry {
    #[access(ReadWrite)]
    address_low: u32,
    #[access(ReadWrite)]
    address_high: u32,
    #[access(ReadWrite)]
    data: u32,
    /// Bit 0 masks the vector.
    #[access(ReadWrite)]
    control: u32,
}

const _: () = assert!(size_of::<Entry>() == 16);

/// Where a function's MSI-X table is, before it is mapped.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct MsiX {
    address: pci_types::PciAddress,
    capability: Capability,
    /// BAR with the table.
    pub bar: u8,
    /// Offset of the table in the BAR.
    pub offset: u32,
    /// Vectors the function has: 1 to 2048.
    pub vectors: u16,
}

impl MsiX {
    /// Finds the capability and checks that its table lies inside a memory BAR; `None` if the
    /// function has no MSI-X.
    ///
    /// # Errors
    ///
    /// The capability list is malformed, or the table is not inside its BAR.
    pub fn find(
        access: &dyn ConfigAccess,
        function: &PciFunction,
        bars: &Bars,
    ) -> Result<Option<Self>, PciError> {
        let Some(capability) = find_capability(access, function, MSI_X)? else {
            return Ok(None);
        };
        let short = PciError::CapabilityTooShort {
            offset: capability.offset,
            len: 0,
        };
        let table = access.read32(function.address, capability.field(TABLE).ok_or(short)?);
        let control = access.read32(function.address, capability.offset.into());
        let found = Self {
            address: function.address,
            capability,
            bar: (table & BIR_MASK) as u8,
            offset: table & !BIR_MASK,
            vectors: (control >> 16 & SIZE_MASK) as u16 + 1,
        };
        let (_, size) = bars.memory(found.bar)?;
        let len = found.table_len() as u64;
        if u64::from(found.offset) + len > size {
            let offset = found.offset.into();
            return Err(PciError::OutsideBar {
                index: found.bar,
                offset,
                len,
                size,
            });
        }
        Ok(Some(found))
    }

    /// Bytes in the table.
    pub fn table_len(&self) -> usize {
        usize::from(self.vectors) * size_of::<Entry>()
    }

    /// Fills the first vectors with `messages`, masks the rest and turns MSI-X on. `table` is the
    /// mapped table.
    ///
    /// # Errors
    ///
    /// `table` is shorter than the vectors in use.
    pub fn enable(
        &self,
        access: &dyn ConfigAccess,
        table: &MmioRegion,
        messages: &[MsiMessage],
    ) -> Result<(), MmioError> {
        // On, but with every vector held back, so that no entry is used half-written.
        self.set_control(access, CONTROL_ENABLE | CONTROL_MASK_ALL);
        for vector in 0..usize::from(self.vectors) {
            let entry = table.registers(vector * size_of::<Entry>())?;
            program(&entry, messages.get(vector));
        }
        self.set_control(access, CONTROL_ENABLE);
        Ok(())
    }

    /// Turns MSI-X off: the function uses its interrupt pin again.
    pub fn disable(&self, access: &dyn ConfigAccess) {
        self.set_control(access, 0);
    }

    fn set_control(&self, access: &dyn ConfigAccess, bits: u32) {
        let offset = self.capability.offset.into();
        let word = access.read32(self.address, offset);
        let word = word & !(CONTROL_ENABLE | CONTROL_MASK_ALL) | bits;
        access.write32(self.address, offset, word);
    }
}

/// Turns MSI-X on with one message of the kernel's, in vector 0, if both have it. Returns whether.
///
/// # Errors
/// The capability is malformed, or its table cannot be mapped.
pub fn enable_one(
    access: &dyn ConfigAccess,
    function: &PciFunction,
    bars: &Bars,
    host: &dyn Host,
) -> Result<bool, DriverError> {
    enable_first(1, access, function, bars, host).map(|vectors| vectors > 0)
}

/// Turns MSI-X on with a message of the kernel's in each of the first `wanted` vectors, as far as both
/// have them. Returns in how many; with none, the function uses its interrupt pin.
///
/// # Errors
/// The capability is malformed, or its table cannot be mapped.
pub fn enable_first(
    wanted: u16,
    access: &dyn ConfigAccess,
    function: &PciFunction,
    bars: &Bars,
    host: &dyn Host,
) -> Result<u16, DriverError> {
    let Some(msix) = MsiX::find(access, function, bars)? else {
        return Ok(0);
    };
    let messages: Vec<_> = (0..wanted.min(msix.vectors))
        .map_while(|_| host.msi())
        .collect();
    if messages.is_empty() {
        msix.disable(access); // firmware may have turned it on, and the pin would be silent
        return Ok(0);
    }
    let (base, _) = bars.memory(msix.bar)?;
    let table = host.map_mmio(base + u64::from(msix.offset), msix.table_len())?;
    msix.enable(access, &table, &messages)?;
    Ok(messages.len() as u16)
}

fn program(entry: &Registers<Entry>, message: Option<&MsiMessage>) {
    let entry = entry.ptr();
    entry.control().write(ENTRY_MASKED);
    if let Some(message) = message {
        entry.address_low().write(message.address as u32);
        entry.address_high().write((message.address >> 32) as u32);
        entry.data().write(message.data);
        entry.control().write(0);
    }
}
