//! The PHY, as far as a self-test needs it: frames that turn round in it, and the way back to a
//! link that is negotiated (IEEE 802.3, 22.2.4.1).
//!
//! The card reaches its PHY over a slow serial bus, one register at a time. Nothing here is on the
//! path of a packet.
#![forbid(unsafe_code)]

use bitflags::bitflags;

use super::bus::{RegisterBus, Typed};
use super::model::Family;
use super::registers::*;
use super::reset::Card;
use crate::error::DriverError;
use crate::host::Host;

bitflags! {
    /// The control register, which is register 0 of every PHY.
    #[derive(Clone, Copy, PartialEq, Eq, Debug)]
    struct Control: u16 {
        /// Speed, upper bit: 1000 Mbit/s.
        const SPEED_1000 = 1 << 6;
        const FULL_DUPLEX = 1 << 8;
        const RESTART_NEGOTIATION = 1 << 9;
        const NEGOTIATE = 1 << 12;
        const LOOPBACK = 1 << 14;
        /// Clears itself.
        const RESET = 1 << 15;
    }
}

/// What the card has to be told to go with a PHY that negotiates nothing.
const FORCED: Ctrl = Ctrl::FD
    .union(Ctrl::SLU)
    .union(Ctrl::SPEED_1000)
    .union(Ctrl::FRCSPD)
    .union(Ctrl::FRCDPLX);

/// Has frames turn round in the PHY, at 1000 Mbit/s. Whatever is on the cable is not heard.
///
/// # Errors
/// The PHY does not answer.
pub fn loop_back<B: RegisterBus>(card: &Card<B>, host: &dyn Host) -> Result<(), DriverError> {
    let speed = Control::SPEED_1000 | Control::FULL_DUPLEX;
    with_phy(card, host, || {
        // Speed and duplex of a Marvell PHY change with a reset only.
        write(card, host, speed | Control::RESET)?;
        write(card, host, speed | Control::LOOPBACK)
    })?;
    card.bus()
        .update(CTRL, |ctrl| (ctrl | FORCED) - (Ctrl::ASDE | Ctrl::LRST));
    Ok(())
}

/// Has the PHY negotiate with the other end of the cable again.
///
/// # Errors
/// The PHY does not answer.
pub fn negotiate<B: RegisterBus>(card: &Card<B>, host: &dyn Host) -> Result<(), DriverError> {
    let normal = Control::SPEED_1000 | Control::FULL_DUPLEX | Control::NEGOTIATE;
    with_phy(card, host, || {
        write(card, host, normal | Control::RESTART_NEGOTIATION)
    })
}

/// Calls `access` while firmware keeps off the PHY.
fn with_phy<B: RegisterBus>(
    card: &Card<B>,
    host: &dyn Host,
    access: impl FnOnce() -> Result<(), DriverError>,
) -> Result<(), DriverError> {
    if card.family() == Family::E8254x {
        return access();
    }
    card.own_phy(host);
    let outcome = access();
    card.disown_phy();
    outcome
}

/// Writes the control register, and waits until a reset in it is over.
fn write<B: RegisterBus>(
    card: &Card<B>,
    host: &dyn Host,
    control: Control,
) -> Result<(), DriverError> {
    let data = Mdic::from_bits_retain(control.bits().into());
    transfer(card, host, Mdic::WRITE | data)?;
    let mut over = !control.contains(Control::RESET);
    for _ in 0..LOOKS {
        if over {
            return Ok(());
        }
        host.delay_us(STEP_US);
        let now = Control::from_bits_retain(transfer(card, host, Mdic::READ)?);
        over = !now.contains(Control::RESET);
    }
    Err(DriverError::Timeout("the PHY to come out of its reset"))
}

/// Microseconds between two looks: a transfer takes some 25.
const STEP_US: u32 = 50;
/// Looks at most.
const LOOKS: u32 = 200;

/// Reads or writes the control register; returns what it holds.
fn transfer<B: RegisterBus>(
    card: &Card<B>,
    host: &dyn Host,
    command: Mdic,
) -> Result<u16, DriverError> {
    card.bus().set(MDIC, command | Mdic::PHY_1);
    for _ in 0..LOOKS {
        let answer = card.bus().get(MDIC);
        if answer.contains(Mdic::ERROR) {
            break; // all ones, from a card that is gone, are an error too
        }
        if answer.contains(Mdic::READY) {
            return Ok(answer.bits() as u16);
        }
        host.delay_us(STEP_US);
    }
    Err(DriverError::Timeout("the PHY to answer"))
}
