//! What the stack may ask of an Intel card besides moving packets. The wishes are kept, since a reset
//! forgets them; a broken card is told with its reset.
#![forbid(unsafe_code)]

use super::super::bus::{RegisterBus, Typed};
use super::super::registers::*;
use super::super::{bring_up, filter, interrupts};
use super::IntelNet;
use crate::net::*;

impl<B: RegisterBus> IntelNet<B> {
    /// Counts a request, unless the card is broken.
    fn ask(&mut self) -> Result<(), ControlError> {
        if let Some(fault) = self.fault {
            return Err(ControlError::Broken(fault));
        }
        self.stats.commands += 1;
        Ok(())
    }

    pub(super) fn ask_mac(&mut self, mac: MacAddr) -> Result<(), ControlError> {
        if !mac.is_station() {
            return Err(ControlError::Refused("an address that no station has"));
        }
        self.info.mac = mac;
        self.ask()?;
        filter::own(self.card.bus(), mac);
        Ok(())
    }

    pub(super) fn ask_filter(&mut self, wanted: &RxFilter) -> Result<(), ControlError> {
        let before = filter::control(self.wishes.filter.as_ref());
        let after = filter::control(Some(wanted));
        self.wishes.filter = Some(wanted.clone());
        self.ask()?;
        filter::tables(self.card.bus(), Some(wanted));
        if before != after {
            // Not more often than need be: one emulation receives nothing for a second then.
            self.card
                .bus()
                .update(RCTL, |control| (control - before) | after);
        }
        Ok(())
    }

    pub(super) fn ask_vlan(&mut self, vlan: VlanId, admitted: bool) -> Result<(), ControlError> {
        if admitted {
            self.wishes.vlans.insert(vlan);
        } else {
            self.wishes.vlans.remove(&vlan);
        }
        self.ask()?;
        filter::vlan(self.card.bus(), vlan, admitted);
        Ok(())
    }

    pub(super) fn ask_membership(&mut self, vlan: Option<VlanId>) -> Result<(), ControlError> {
        let left = core::mem::replace(&mut self.wishes.joined, vlan);
        self.ask()?;
        let bus = self.card.bus();
        if let Some(left) = left.filter(|left| !self.wishes.vlans.contains(left)) {
            filter::vlan(bus, left, false);
        }
        if let Some(vlan) = vlan {
            filter::vlan(bus, vlan, true);
        }
        bus.update(CTRL, |ctrl| bring_up::tags(ctrl, vlan));
        Ok(())
    }

    pub(super) fn ask_moderation(&mut self, limits: Moderation) -> Result<(), ControlError> {
        if limits.max_packets != 0 {
            let what = "moderation by a number of packets";
            return Err(ControlError::Unsupported(what));
        }
        self.wishes.moderation = Some(limits);
        self.ask()?;
        interrupts::moderate(&self.card, Some(limits));
        Ok(())
    }
}
