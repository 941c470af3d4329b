//! Who has the PHY: firmware and the drivers of a card's other ports use it too, over one serial bus
//! (82574 10.2.2.9, I210 4.6).
//!
//! [`reset`](super::reset) and [`phy`](super::phy) take it and give it back. Whoever holds it too long
//! is not waited for any more: there would be no other way to a link.
#![forbid(unsafe_code)]

use super::bus::{RegisterBus, Typed};
use super::model::Family;
use super::registers::igb::{SW_FW_SYNC, SWSM, SwFwSync, Swsm};
use super::registers::*;
use super::reset::Card;
use crate::host::Host;

/// Firmware's bits are so many above software's.
const FIRMWARE: u32 = 16;

/// Has everybody else keep off the PHY.
pub fn own_phy<B: RegisterBus>(card: &Card<B>, host: &dyn Host) {
    match card.family() {
        Family::E8254x => {}
        Family::E82574 => _ = card.wait(host, has_mdio),
        Family::E82576 | Family::I350 | Family::I210 => {
            let ours = phy_of(card);
            card.wait(host, |_| has_synchronised(card, host, ours));
        }
    }
}

/// Lets others have the PHY again.
pub fn disown_phy<B: RegisterBus>(card: &Card<B>, host: &dyn Host) {
    match card.family() {
        Family::E8254x => {}
        Family::E82574 => card
            .bus()
            .update(EXTCNF_CTRL, |held| held - Extcnf::MDIO_SW_OWNERSHIP),
        Family::E82576 | Family::I350 | Family::I210 => {
            let ours = phy_of(card);
            take_semaphore(card, host);
            card.bus().update(SW_FW_SYNC, |held| held - ours);
            give_semaphore(card);
        }
    }
}

fn has_mdio<B: RegisterBus>(bus: &B) -> bool {
    bus.update(EXTCNF_CTRL, |held| held | Extcnf::MDIO_SW_OWNERSHIP);
    bus.get(EXTCNF_CTRL).contains(Extcnf::MDIO_SW_OWNERSHIP)
}

/// igb: the bit of the PHY of this port.
fn phy_of<B: RegisterBus>(card: &Card<B>) -> SwFwSync {
    match card.port() {
        0 => SwFwSync::PHY_0,
        1 => SwFwSync::PHY_1,
        2 => SwFwSync::PHY_2,
        _ => SwFwSync::PHY_3,
    }
}

/// igb: notes down that we have `ours`, if nobody does.
fn has_synchronised<B: RegisterBus>(card: &Card<B>, host: &dyn Host, ours: SwFwSync) -> bool {
    let either = ours.bits() | ours.bits() << FIRMWARE;
    take_semaphore(card, host);
    let held = card.bus().get(SW_FW_SYNC);
    let free = held.bits() & either == 0;
    if free {
        card.bus().set(SW_FW_SYNC, held | ours);
    }
    give_semaphore(card);
    free
}

/// igb: takes the semaphore that guards [`SW_FW_SYNC`], first from other drivers, then from firmware.
fn take_semaphore<B: RegisterBus>(card: &Card<B>, host: &dyn Host) {
    card.wait(host, |bus| !bus.get(SWSM).contains(Swsm::SMBI));
    card.wait(host, |bus| {
        bus.update(SWSM, |held| held | Swsm::SWESMBI);
        bus.get(SWSM).contains(Swsm::SWESMBI)
    });
}

fn give_semaphore<B: RegisterBus>(card: &Card<B>) {
    card.bus()
        .update(SWSM, |held| held - (Swsm::SMBI | Swsm::SWESMBI));
}
