//! Finding a card on PCI: its registers in BAR 0, its interrupts, and what errata ask of the bus.
//!
//! The kernel calls [`probe`] with a function that [`model`] knows. The card is reset before it may
//! reach memory: firmware may have left it running.
#![forbid(unsafe_code)]

use alloc::format;

use super::bus::Window;
use super::model::model;
use super::registers::WINDOW;
use super::reset::Card;
use crate::error::DriverError;
use crate::host::Host;
use crate::pci::capability::PCI_EXPRESS;
use crate::pci::{Bars, ConfigAccess, PciError, PciFunction, bridge_to, find_capability, msix};

/// The BAR with the registers.
const REGISTERS: u8 = 0;
/// Offset of link control, and of link status in its upper half, in the PCI Express capability.
const LINK_CONTROL: u8 = 0x10;
/// Bits of link control that allow the power states L0s and L1.
const POWER_STATES: u32 = 0b11;

/// Maps and resets the card at `function`, lets it reach memory and, if it can, gives it
/// MSI-X messages for its queue pairs.
///
/// # Errors
/// It is none that is driven here, its registers cannot be reached, or it does not reset.
pub fn probe(
    access: &dyn ConfigAccess,
    function: &PciFunction,
    host: &dyn Host,
) -> Result<Card<Window>, DriverError> {
    let model = model(function).ok_or(DriverError::NoDevice)?;
    let bars = Bars::read(access, function)?;
    let (base, size) = bars.memory(REGISTERS)?;
    if size < WINDOW.into() {
        let (index, len) = (REGISTERS, WINDOW.into());
        let offset = 0;
        return Err(PciError::OutsideBar {
            index,
            offset,
            len,
            size,
        }
        .into());
    }
    let window = Window::new(&host.map_mmio(base, WINDOW.into())?)?;
    let location = format!("pci {}", function.address);
    let mut card = Card::new(window, model, location, 0);
    function.enable_memory(access);
    if model.family.is_express() {
        stay_awake(access, function)?;
    }
    card.reset(host)?;
    function.enable_dma(access);
    let wanted = model.family.vectors(model.family.pairs());
    card.set_vectors(msix::enable_first(wanted, access, function, &bars, host)?);
    Ok(card)
}

/// Keeps the link out of the power states in which the 82574 hangs (its errata 20 and 25), and out of
/// which all take microseconds: the card itself and then the bridge above it, since each end enters L0s by its own setting. The lower end
/// is the first to be told (PCI Express 3.0, 5.4.1.3).
fn stay_awake(access: &dyn ConfigAccess, function: &PciFunction) -> Result<(), PciError> {
    keep_awake(access, function)?;
    if let Some(bridge) = bridge_to(access, function.address.bus()) {
        // A bridge that is at odds with itself is no reason to do without the card.
        let _ = keep_awake(access, &bridge);
    }
    Ok(())
}

/// Takes the power states from one end of a link.
fn keep_awake(access: &dyn ConfigAccess, function: &PciFunction) -> Result<(), PciError> {
    let express = find_capability(access, function, PCI_EXPRESS)?;
    if let Some(field) = express.and_then(|capability| capability.field(LINK_CONTROL)) {
        // Bits of the status half are cleared by ones, so zeros change nothing there.
        let control = access.read32(function.address, field) & 0xffff;
        access.write32(function.address, field, control & !POWER_STATES);
    }
    Ok(())
}
