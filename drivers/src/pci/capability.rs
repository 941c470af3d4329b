//! The capability list (PCI 3.0, 6.7).
//!
//! A list is at most 48 entries long, since that many fit above the header; one that is longer, or
//! leaves the space for capabilities, yields an error once and ends.
#![forbid(unsafe_code)]

use pci_types::PciAddress;

use super::PciError;
use super::config::ConfigAccess;
use super::scan::PciFunction;

const STATUS: u16 = 0x06;
const HAS_CAPABILITIES: u16 = 1 << 4;
const POINTER: u16 = 0x34;
const FIRST_OFFSET: u8 = 0x40;

/// Vendor-specific: virtio's structures.
pub const VENDOR_SPECIFIC: u8 = 0x09;
/// PCI Express.
pub const PCI_EXPRESS: u8 = 0x10;
/// MSI-X.
pub const MSI_X: u8 = 0x11;

/// One capability.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Capability {
    /// Its kind.
    pub id: u8,
    /// Where it starts in configuration space; a multiple of four, at least 0x40.
    pub offset: u8,
}

impl Capability {
    /// Offset of the field `field` bytes into the capability, or `None` past the end of the space
    /// for capabilities.
    pub fn field(&self, field: u8) -> Option<u16> {
        self.offset.checked_add(field).map(u16::from)
    }
}

/// The capabilities of a function, in list order.
pub fn capabilities<'a>(
    access: &'a dyn ConfigAccess,
    function: &PciFunction,
) -> impl Iterator<Item = Result<Capability, PciError>> + 'a {
    let address = function.address;
    let present = access.read16(address, STATUS) & HAS_CAPABILITIES != 0;
    let next = if present {
        access.read8(address, POINTER)
    } else {
        0
    };
    Walk {
        access,
        address,
        next,
        seen: 0,
    }
}

/// The first capability of kind `id`.
///
/// # Errors
///
/// The list is malformed before one is found.
pub fn find_capability(
    access: &dyn ConfigAccess,
    function: &PciFunction,
    id: u8,
) -> Result<Option<Capability>, PciError> {
    for capability in capabilities(access, function) {
        let capability = capability?;
        if capability.id == id {
            return Ok(Some(capability));
        }
    }
    Ok(None)
}

struct Walk<'a> {
    access: &'a dyn ConfigAccess,
    address: PciAddress,
    next: u8,
    /// One bit for each word of the 256-byte space.
    seen: u64,
}

impl Walk<'_> {
    fn fail(&mut self, error: PciError) -> Option<Result<Capability, PciError>> {
        self.next = 0;
        Some(Err(error))
    }
}

impl Iterator for Walk<'_> {
    type Item = Result<Capability, PciError>;

    fn next(&mut self) -> Option<Self::Item> {
        // The low two bits are reserved and have to be masked.
        let offset = self.next & !3;
        if offset == 0 {
            return None;
        }
        if offset < FIRST_OFFSET {
            return self.fail(PciError::CapabilityOutOfRange { offset });
        }
        let bit = 1 << (offset / 4);
        if self.seen & bit != 0 {
            return self.fail(PciError::CapabilityLoop { offset });
        }
        self.seen |= bit;
        let header = self.access.read16(self.address, offset.into());
        self.next = (header >> 8) as u8;
        Some(Ok(Capability {
            id: header as u8,
            offset,
        }))
    }
}
