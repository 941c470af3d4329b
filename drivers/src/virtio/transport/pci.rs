//! Virtio over PCI (4.1): which device a function is, which of the two interfaces it has, and its
//! interrupts, which both share.
//!
//! A transitional device is driven by its modern structures ([`PciModern`]); one that has none, by
//! its ports ([`PciLegacy`]).
#![forbid(unsafe_code)]

mod legacy;
mod modern;
mod structures;

pub use legacy::PciLegacy;
pub use modern::PciModern;

use alloc::boxed::Box;

use self::structures::Structures;
use super::Transport;
use crate::error::DriverError;
use crate::host::Host;
use crate::net::InterruptMode;
use crate::pci::{Bars, ConfigAccess, PciFunction};
use crate::virtio::PCI_VENDOR;

/// Modern device ids are this plus the device type (4.1.2).
const MODERN_BASE: u16 = 0x1040;
/// Transitional ids; their type is in the subsystem id (4.1.2.1).
const TRANSITIONAL: core::ops::RangeInclusive<u16> = 0x1000..=0x103f;
/// "No vector" (4.1.5.1.2).
const NO_VECTOR: u16 = 0xffff;

/// The virtio device type of a function; `None` if it is no virtio device.
pub fn device_type(function: &PciFunction) -> Option<u32> {
    if function.vendor != PCI_VENDOR {
        return None;
    }
    if TRANSITIONAL.contains(&function.device) {
        return Some(function.subsystem.into());
    }
    let kind = function.device.checked_sub(MODERN_BASE)?;
    (1..=63).contains(&kind).then_some(kind.into())
}

/// Finds out which interface `function` has, and makes it ready: [`PciModern::probe`] or
/// [`PciLegacy::probe`].
///
/// # Errors
/// Theirs. A device that may be transitional and names no common structure is taken for a legacy
/// one.
pub fn probe(
    access: &dyn ConfigAccess,
    function: &PciFunction,
    host: &dyn Host,
) -> Result<Box<dyn Transport>, DriverError> {
    let bars = Bars::read(access, function)?;
    let found = Structures::read(access, function, &bars)?;
    if found.common.is_none() && TRANSITIONAL.contains(&function.device) {
        Ok(Box::new(PciLegacy::probe(access, function, host)?))
    } else {
        Ok(Box::new(PciModern::probe(access, function, host)?))
    }
}

/// How a device interrupts, whose MSI-X is on or not.
fn interrupts(msix: bool) -> InterruptMode {
    if msix {
        InterruptMode::MsiX(1)
    } else {
        InterruptMode::Line
    }
}
