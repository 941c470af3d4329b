//! Where a virtio device on PCI keeps its structures: what the capabilities say, checked against the
//! BARs before anything is mapped (4.1.4).
#![forbid(unsafe_code)]

use crate::bus::mmio::MmioRegion;
use crate::error::DriverError;
use crate::host::Host;
use crate::pci::capability::{Capability, VENDOR_SPECIFIC, capabilities};
use crate::pci::{Bar, Bars, ConfigAccess, PciError, PciFunction};

/// Structure types (4.1.4).
mod kind {
    pub(super) const COMMON: u8 = 1;
    pub(super) const NOTIFY: u8 = 2;
    pub(super) const ISR: u8 = 3;
    pub(super) const DEVICE: u8 = 4;
}

/// One structure, as its capability describes it (4.1.4).
#[derive(Clone, Copy, Debug)]
pub(super) struct Structure {
    bar: u8,
    offset: u32,
    len: u32,
    /// `notify_off_multiplier`, for the notification structure.
    pub(super) multiplier: u32,
}

/// The structures that a function's capabilities name. The first of each kind that can be used
/// counts (4.1.4): one in a reserved BAR, or in port space, is passed over.
#[derive(Default)]
pub(super) struct Structures {
    pub(super) common: Option<Structure>,
    pub(super) notify: Option<Structure>,
    pub(super) isr: Option<Structure>,
    pub(super) device: Option<Structure>,
}

impl Structures {
    /// Reads the list of capabilities.
    ///
    /// # Errors
    /// The list is broken, or a structure in it too short for what it says.
    pub(super) fn read(
        access: &dyn ConfigAccess,
        function: &PciFunction,
        bars: &Bars,
    ) -> Result<Self, DriverError> {
        let mut found = Self::default();
        for capability in capabilities(access, function) {
            let capability = capability?;
            if capability.id != VENDOR_SPECIFIC {
                continue;
            }
            let kind = (access.read32(function.address, capability.offset.into()) >> 24) as u8;
            let wanted = match kind {
                kind::COMMON => &mut found.common,
                kind::NOTIFY => &mut found.notify,
                kind::ISR => &mut found.isr,
                kind::DEVICE => &mut found.device,
                _ => continue,
            };
            let structure = Structure::read(access, function, capability, kind)?;
            let usable = matches!(bars.get(structure.bar), Some(Bar::Memory { .. }));
            if usable && wanted.is_none() {
                *wanted = Some(structure);
            }
        }
        Ok(found)
    }
}

impl Structure {
    /// Reads `struct virtio_pci_cap`, and what follows it in a notification capability.
    fn read(
        access: &dyn ConfigAccess,
        function: &PciFunction,
        capability: Capability,
        kind: u8,
    ) -> Result<Self, PciError> {
        let offset = capability.offset;
        let len = (access.read32(function.address, offset.into()) >> 16) as u8;
        let short = PciError::CapabilityTooShort { offset, len };
        let word = |field: u8| match capability.field(field) {
            Some(at) if field + 4 <= len => Ok(access.read32(function.address, at)),
            _ => Err(short),
        };
        let multiplier = if kind == kind::NOTIFY { word(16)? } else { 0 };
        let bar = word(4)? as u8;
        Ok(Self {
            bar,
            offset: word(8)?,
            len: word(12)?,
            multiplier,
        })
    }
}

/// Maps a structure that lies inside its BAR.
pub(super) fn map(
    host: &dyn Host,
    bars: &Bars,
    structure: Structure,
) -> Result<MmioRegion, DriverError> {
    let (base, size) = bars.memory(structure.bar)?;
    let (offset, len) = (u64::from(structure.offset), u64::from(structure.len));
    if offset + len > size {
        return Err(PciError::OutsideBar {
            index: structure.bar,
            offset,
            len,
            size,
        }
        .into());
    }
    Ok(host.map_mmio(base + offset, structure.len as usize)?)
}
