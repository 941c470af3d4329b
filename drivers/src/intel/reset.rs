//! Stopping a card, whatever it was at (SDM 14.5, 82574 4.6).
//!
//! The invariant: after a reset that succeeded the card neither reads nor writes memory, raises no
//! interrupt, and keeps so until it is programmed. So what it held may be taken back.
#![forbid(unsafe_code)]

use alloc::string::String;

use super::bus::{RegisterBus, Typed};
use super::interrupts;
use super::model::{Family, Model};
use super::ownership::{disown_phy, own_phy};
use super::registers::*;
use crate::error::DriverError;
use crate::host::Host;

/// Microseconds for transfers under way to end, before the reset and without one.
const SETTLE_US: u32 = 10_000;
/// Microseconds after a reset in which the registers are left alone: the card reads its EEPROM.
const RELOAD_US: u32 = 5_000;
/// Microseconds between two looks at a bit that is waited for.
const STEP_US: u32 = 100;
/// igb: microseconds in which a card reads its EEPROM, if it has one.
const EEPROM_US: u32 = 10_000;
/// Looks at most: a tenth of a second.
const LOOKS: u32 = 1_000;

/// A card: its registers, which kind it is, and how it hangs on the machine.
#[derive(Debug)]
pub struct Card<B> {
    bus: B,
    model: Model,
    location: String,
    /// MSI-X messages; 0: the interrupt line.
    vectors: u16,
}

impl<B: RegisterBus> Card<B> {
    /// A card at `location` that interrupts by so many MSI-X vectors, or by its line if there are none.
    /// Touches nothing.
    pub fn new(bus: B, model: Model, location: String, vectors: u16) -> Self {
        Self {
            bus,
            model,
            location,
            vectors,
        }
    }

    /// Its registers.
    pub fn bus(&self) -> &B {
        &self.bus
    }

    /// Which kind it is.
    pub fn model(&self) -> Model {
        self.model
    }

    /// How it is driven.
    pub fn family(&self) -> Family {
        self.model.family
    }

    /// Where it is, for a person to read.
    pub fn location(&self) -> &str {
        &self.location
    }

    /// Whether it interrupts by MSI-X.
    pub fn has_msix(&self) -> bool {
        self.vectors > 0
    }

    /// MSI-X vectors that it interrupts by; 0: by its line.
    pub fn vectors(&self) -> u16 {
        self.vectors
    }

    /// Says how it interrupts, which is settled once it was reset.
    pub fn set_vectors(&mut self, vectors: u16) {
        self.vectors = vectors;
    }

    /// Whether it went away: nothing drives the bus, so all bits read as ones. Some of the status
    /// register are always zero.
    pub fn is_gone(&self) -> bool {
        self.bus.read32(STATUS.offset()) == u32::MAX
    }

    /// Stops the card and resets it, and waits until it says that it is done.
    ///
    /// # Errors
    /// It is not there, or does not come out of the reset. It may still write to memory.
    pub fn reset(&self, host: &dyn Host) -> Result<(), DriverError> {
        if self.is_gone() {
            return Err(DriverError::NoDevice);
        }
        let quiet = self.stop_requests(host);
        self.reset_once(host)?;
        if !quiet {
            // Requests that were under way may have outlived the first (82574 3.1.3.10).
            self.reset_once(host)?;
        }
        Ok(())
    }

    /// The number of the port that it is of a card with several.
    pub fn port(&self) -> u32 {
        let status = self.bus.get(STATUS);
        let bit = |set, value| if status.contains(set) { value } else { 0 };
        bit(Status::PORT_LOW, 1) | bit(Status::PORT_HIGH, 2)
    }

    /// Waits until `what` holds, for a tenth of a second at most. Returns whether it does.
    pub(super) fn wait(&self, host: &dyn Host, what: impl Fn(&B) -> bool) -> bool {
        self.wait_for(LOOKS, host, what)
    }

    /// The same for a number of looks at most.
    fn wait_for(&self, looks: u32, host: &dyn Host, what: impl Fn(&B) -> bool) -> bool {
        (0..looks).any(|_| {
            let reached = what(&self.bus);
            if !reached {
                host.delay_us(STEP_US);
            }
            reached
        })
    }

    /// PCI Express: has the card issue no more requests. Returns whether all have ended.
    fn stop_requests(&self, host: &dyn Host) -> bool {
        if !self.family().is_express() {
            return true;
        }
        self.bus
            .update(CTRL, |ctrl| (ctrl | Ctrl::GIO_MASTER_DISABLE) - Ctrl::RST);
        self.wait(host, |bus| {
            !bus.get(STATUS).contains(Status::GIO_MASTER_ENABLE)
        })
    }

    fn reset_once(&self, host: &dyn Host) -> Result<(), DriverError> {
        let bus = &self.bus;
        interrupts::mask_all(bus, self.family());
        bus.set(RCTL, Rctl::empty());
        bus.set(TCTL, Tctl::PSP);
        bus.get(STATUS); // what was written is there when this returns
        host.delay_us(SETTLE_US);
        if self.family() == Family::E82574 {
            own_phy(self, host);
        }
        bus.update(CTRL, |ctrl| ctrl | Ctrl::RST);
        host.delay_us(RELOAD_US);
        if !self.wait(host, |bus| !bus.get(CTRL).contains(Ctrl::RST)) {
            return Err(DriverError::Timeout("the card to come out of its reset"));
        }
        match self.family() {
            Family::E8254x => bus.update(MANC, |manc| manc - Manc::ARP_EN),
            Family::E82574 => {
                disown_phy(self, host);
                if !self.wait(host, |bus| bus.get(EECD).contains(Eecd::AUTO_RD)) {
                    return Err(DriverError::Timeout("the card to read its EEPROM"));
                }
            }
            Family::E82576 | Family::I350 | Family::I210 => {
                // A card without an EEPROM may never say so; what it did not read is missed later.
                let limit = EEPROM_US / STEP_US;
                self.wait_for(limit, host, |bus| bus.get(EECD).contains(Eecd::AUTO_RD));
            }
        }
        // A reset may leave what it likes in the registers, and one card's leaves all as it was.
        interrupts::mask_all(bus, self.family());
        bus.set(RCTL, Rctl::empty());
        bus.set(TCTL, Tctl::PSP);
        bus.get(ICR);
        Ok(())
    }
}
