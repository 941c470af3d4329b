//! Requests to the device, through its control queue.
//!
//! What is asked for is noted in [`Wishes`](crate::net::wishes::Wishes) unless the device cannot or will
//! not do it, and asked again after each start. The invariant: a device that runs is as the wishes
//! say.
#![forbid(unsafe_code)]

use super::super::config;
use super::super::control::{Command, Rss};
use super::VirtioNet;
use crate::error::DriverError;
use crate::net::*;
use crate::virtio::Features;
use crate::virtio::transport::Transport;

/// Entries of each address list that is told to the device; it may have room for fewer, and lets
/// more through then.
const MOST_ADDRESSES: usize = 64;

impl<T: Transport> VirtioNet<T> {
    /// Makes a device that was started what it is to be.
    pub(super) fn configure(&mut self) -> Result<(), DriverError> {
        self.spread()?;
        let wishes = self.wishes.clone();
        if let Some(mac) = wishes.mac {
            self.tell_mac(mac)?;
        }
        if let Some(filter) = &wishes.filter {
            self.tell_filter(filter)?;
        }
        for vlan in wishes.vlans {
            self.tell_vlan(vlan, true)?;
        }
        if let Some(limits) = wishes.moderation {
            self.tell_moderation(limits)?;
        }
        Ok(())
    }

    /// Puts all queue pairs to use.
    fn spread(&mut self) -> Result<(), ControlError> {
        let pairs = self.info.queue_pairs;
        if pairs < 2 {
            return Ok(());
        }
        let hashes = self.rules.features.contains(Features::RSS);
        let can = hashes.then(|| config::steering(&self.transport)).flatten();
        let Some(can) = can else {
            return self.command(Features::MQ, Command::Pairs(pairs));
        };
        let key = self.options.rss_key;
        let rss = Rss {
            hash_types: can.hash_types,
            pairs,
            entries: can.entries,
            key: &key,
        };
        self.command(Features::RSS, Command::Steering(rss))
    }

    pub(super) fn ask_mac(&mut self, mac: MacAddr) -> Result<(), ControlError> {
        if !mac.is_station() {
            return Err(ControlError::Refused("an address that no station has"));
        }
        let outcome = self.tell_mac(mac);
        if is_to_hold(outcome) {
            self.wishes.mac = Some(mac);
            self.info.mac = mac;
        }
        outcome
    }

    pub(super) fn ask_filter(&mut self, filter: &RxFilter) -> Result<(), ControlError> {
        let outcome = self.tell_filter(filter);
        if is_to_hold(outcome) {
            self.wishes.filter = Some(filter.clone());
        }
        outcome
    }

    pub(super) fn ask_vlan(&mut self, vlan: VlanId, admitted: bool) -> Result<(), ControlError> {
        let outcome = self.tell_vlan(vlan, admitted);
        match admitted {
            _ if !is_to_hold(outcome) => {}
            true => _ = self.wishes.vlans.insert(vlan),
            false => _ = self.wishes.vlans.remove(&vlan),
        }
        outcome
    }

    pub(super) fn ask_moderation(&mut self, limits: Moderation) -> Result<(), ControlError> {
        let outcome = self.tell_moderation(limits);
        if is_to_hold(outcome) {
            self.wishes.moderation = Some(limits);
        }
        outcome
    }

    pub(super) fn acknowledge_announcement(&mut self) -> Result<(), ControlError> {
        self.announce = false;
        self.command(Features::GUEST_ANNOUNCE, Command::Announced)
    }

    fn tell_mac(&mut self, mac: MacAddr) -> Result<(), ControlError> {
        self.command(Features::CTRL_MAC_ADDR, Command::Address(mac))
    }

    fn tell_vlan(&mut self, vlan: VlanId, admitted: bool) -> Result<(), ControlError> {
        self.command(Features::CTRL_VLAN, Command::Vlan(vlan, admitted))
    }

    fn tell_moderation(&mut self, limits: Moderation) -> Result<(), ControlError> {
        self.command(Features::NOTF_COAL, Command::ModerateRx(limits))?;
        self.command(Features::NOTF_COAL, Command::ModerateTx(limits))
    }

    /// Sets the filter so that nothing that is wanted is kept out in between: what opens it comes
    /// before what closes it.
    fn tell_filter(&mut self, filter: &RxFilter) -> Result<(), ControlError> {
        let rx = Features::CTRL_RX;
        let RxFilter {
            stations, groups, ..
        } = filter;
        let promiscuous = filter.promiscuous || stations.len() > MOST_ADDRESSES;
        let all_groups = filter.all_multicast || groups.len() > MOST_ADDRESSES;
        if promiscuous {
            self.command(rx, Command::Promiscuous(true))?;
        }
        self.command(rx, Command::AllMulticast(all_groups))?;
        let table = Command::AddressTable {
            stations: if promiscuous { &[] } else { stations },
            groups: if all_groups { &[] } else { groups },
        };
        self.command(rx, table)?;
        if self.rules.features.contains(Features::CTRL_RX_EXTRA) {
            let none = groups.is_empty() && !all_groups;
            let extra = Features::CTRL_RX_EXTRA;
            self.command(extra, Command::NoMulticast(none))?;
            self.command(extra, Command::NoBroadcast(!filter.broadcast))?;
        }
        if !promiscuous {
            self.command(rx, Command::Promiscuous(false))?;
        }
        Ok(())
    }

    /// Gives the device one command, which `needed` allows.
    fn command(&mut self, needed: Features, command: Command<'_>) -> Result<(), ControlError> {
        let unsupported = Err(ControlError::Unsupported(command.name()));
        if !self.rules.features.contains(needed) {
            return unsupported;
        }
        if let Some(fault) = self.fault {
            return Err(ControlError::Broken(fault));
        }
        let Some(control) = self.queues.as_mut().and_then(|q| q.control.as_mut()) else {
            return unsupported;
        };
        let packet = self.pool.alloc().map_err(|_| ControlError::NoBuffer)?;
        self.stats.commands += 1;
        let outcome = control.execute(&self.transport, self.host, packet, &command);
        if let Err(ControlError::Broken(fault)) = outcome {
            self.fault = Some(fault);
        }
        outcome
    }

    /// Commands that the device holds.
    pub(super) fn unanswered(&self) -> usize {
        let control = self.queues.as_ref().and_then(|q| q.control.as_ref());
        control.map_or(0, |control| control.queue.lent())
    }
}

/// Whether the device is to be as it was asked to be, now or after its reset.
fn is_to_hold(outcome: Result<(), ControlError>) -> bool {
    matches!(outcome, Ok(()) | Err(ControlError::Broken(_)))
}
