//! The PHY: a link that is negotiated, and frames that turn round in it for a self-test
//! (IEEE 802.3, 22.2.4.1).
//!
//! The card reaches its PHY over a slow serial bus, one register at a time. Nothing here is on the
//! path of a packet.
#![forbid(unsafe_code)]

use bitflags::bitflags;

use super::bus::{RegisterBus, Typed};
use super::model::Family;
use super::ownership::{disown_phy, own_phy};
use super::registers::*;
use super::reset::Card;
use crate::error::DriverError;
use crate::host::Host;

/// Number of the control register.
const PHY_CONTROL: u32 = 0;
/// Number of the status register.
const PHY_STATUS: u32 = 1;
/// I210: number of the register that chooses a page of the others.
const PHY_PAGE: u32 = 22;

bitflags! {
    /// The control register of every PHY.
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

    /// The status register of every PHY.
    #[derive(Clone, Copy, PartialEq, Eq, Debug)]
    struct Status: u16 {
        /// There is a link. Clear once after it was lost.
        const UP = 1 << 2;
        const NEGOTIATED = 1 << 5;
    }
}

/// What the card has to be told to go with a PHY that negotiates nothing.
const FORCED: Ctrl = Ctrl::FD
    .union(Ctrl::SLU)
    .union(Ctrl::SPEED_1000)
    .union(Ctrl::FRCSPD)
    .union(Ctrl::FRCDPLX);

/// Negotiating as usual.
const NORMAL: Control = Control::SPEED_1000
    .union(Control::FULL_DUPLEX)
    .union(Control::NEGOTIATE);

/// Has frames turn round in the PHY, at 1000 Mbit/s. Whatever is on the cable is not heard.
///
/// # Errors
/// The PHY does not answer.
pub fn loop_back<B: RegisterBus>(card: &Card<B>, host: &dyn Host) -> Result<(), DriverError> {
    let speed = Control::SPEED_1000 | Control::FULL_DUPLEX;
    with_phy(card, host, || {
        // Speed and duplex of a Marvell PHY change with a reset only.
        control(card, host, speed | Control::RESET)?;
        control(card, host, speed | Control::LOOPBACK)
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
    with_phy(card, host, || {
        control(card, host, NORMAL | Control::RESTART_NEGOTIATION)
    })
}

/// Has the PHY negotiate, unless it has, and there is a link: that would be lost for seconds. A PHY
/// may be left without power by whoever had the card before, and one emulation forgets its link
/// in each reset of the card.
///
/// # Errors
/// The PHY does not answer.
pub fn wake<B: RegisterBus>(card: &Card<B>, host: &dyn Host) -> Result<(), DriverError> {
    with_phy(card, host, || {
        read(card, host, PHY_STATUS)?; // what it says of the past
        let status = Status::from_bits_retain(read(card, host, PHY_STATUS)?);
        if status.contains(Status::UP | Status::NEGOTIATED) {
            return Ok(());
        }
        control(card, host, NORMAL | Control::RESTART_NEGOTIATION)
    })
}

/// Calls `access` while others keep off the PHY, which shows its first page.
fn with_phy<B: RegisterBus>(
    card: &Card<B>,
    host: &dyn Host,
    access: impl FnOnce() -> Result<(), DriverError>,
) -> Result<(), DriverError> {
    own_phy(card, host);
    let paged = card.family() == Family::I210;
    let on_page = if paged {
        write(card, host, PHY_PAGE, 0)
    } else {
        Ok(())
    };
    let outcome = on_page.and_then(|()| access());
    disown_phy(card, host);
    outcome
}

/// Writes the control register, and waits until a reset in it is over.
fn control<B: RegisterBus>(
    card: &Card<B>,
    host: &dyn Host,
    bits: Control,
) -> Result<(), DriverError> {
    write(card, host, PHY_CONTROL, bits.bits())?;
    let mut over = !bits.contains(Control::RESET);
    for _ in 0..LOOKS {
        if over {
            return Ok(());
        }
        host.delay_us(STEP_US);
        let now = Control::from_bits_retain(read(card, host, PHY_CONTROL)?);
        over = !now.contains(Control::RESET);
    }
    Err(DriverError::Timeout("the PHY to come out of its reset"))
}

fn write<B: RegisterBus>(
    card: &Card<B>,
    host: &dyn Host,
    register: u32,
    data: u16,
) -> Result<(), DriverError> {
    let data = Mdic::from_bits_retain(data.into());
    transfer(card, host, register, Mdic::WRITE | data).map(drop)
}

fn read<B: RegisterBus>(
    card: &Card<B>,
    host: &dyn Host,
    register: u32,
) -> Result<u16, DriverError> {
    transfer(card, host, register, Mdic::READ)
}

/// Microseconds between two looks: a transfer takes some 25.
const STEP_US: u32 = 50;
/// Looks at most.
const LOOKS: u32 = 200;
/// Where the number of the register is in [`MDIC`].
const REGISTER_SHIFT: u32 = 16;

/// Reads or writes a register; returns what it holds.
fn transfer<B: RegisterBus>(
    card: &Card<B>,
    host: &dyn Host,
    register: u32,
    command: Mdic,
) -> Result<u16, DriverError> {
    let register = Mdic::from_bits_retain(register << REGISTER_SHIFT);
    card.bus().set(MDIC, command | register | Mdic::PHY_1);
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
