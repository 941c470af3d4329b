//! Which frames the NIC is to hand over: our groups, and broadcasts where IPv4 needs them.
//!
//! The address keeper says when addresses changed, the turn tries again once a second what could
//! not be told. The classifier looks at every frame all the same, so a NIC that cannot filter, or
//! lets more through, only costs time.
#![forbid(unsafe_code)]

use drivers::net::{ControlError, MacAddr, NetDevice, RxFilter};
use log::{debug, warn};
use smoltcp::iface::Interface;
use smoltcp::wire::IpCidr;

use super::neighbours::{ALL_NODES, solicited_node};

/// All systems of an IPv4 network, 224.0.0.1 (RFC 1112, 6.4).
const ALL_SYSTEMS: MacAddr = MacAddr([0x01, 0, 0x5e, 0, 0, 1]);

/// What the NIC was told, and what it is to be told.
#[derive(Debug)]
pub(super) struct Reception {
    ipv4: bool,
    wanted: RxFilter,
    told: Option<RxFilter>,
}

impl Reception {
    /// For what `iface` listens to, `ipv4` being on or not.
    pub(super) fn new(iface: &Interface, ipv4: bool) -> Self {
        Self {
            ipv4,
            wanted: wanted(iface.ip_addrs(), ipv4),
            told: None,
        }
    }

    /// Notes what `iface` listens to now.
    pub(super) fn note(&mut self, iface: &Interface) {
        self.wanted = wanted(iface.ip_addrs(), self.ipv4);
    }

    /// Tells `nic`, unless it knows.
    pub(super) fn tell(&mut self, nic: &mut dyn NetDevice) {
        if self.told.as_ref() == Some(&self.wanted) {
            return;
        }
        match nic.set_filter(&self.wanted) {
            // A broken one is told after its reset.
            Ok(()) | Err(ControlError::Broken(_)) => {}
            Err(ControlError::NoBuffer) => return,
            Err(why @ ControlError::Unsupported(_)) => debug!("nic: {why}"),
            Err(why @ ControlError::Refused(_)) => warn!("nic: {why}"),
        }
        self.told = Some(self.wanted.clone());
    }
}

fn wanted(addresses: &[IpCidr], ipv4: bool) -> RxFilter {
    let mut filter = RxFilter {
        broadcast: ipv4,
        ..RxFilter::default()
    };
    if ipv4 {
        filter.groups.push(ALL_SYSTEMS);
    }
    for cidr in addresses {
        let IpCidr::Ipv6(cidr) = cidr else { continue };
        for (_, group) in [ALL_NODES, solicited_node(cidr.address())] {
            let group = MacAddr(group.0);
            if !filter.groups.contains(&group) {
                filter.groups.push(group);
            }
        }
    }
    filter
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_follow_the_addresses() {
        let addresses = [
            "10.0.0.2/24".parse().unwrap(),
            "fe80::5054:ff:fe12:3456/64".parse().unwrap(),
            "2001:db8::7:8:9/64".parse().unwrap(),
        ];
        let all = [
            ALL_SYSTEMS,
            MacAddr([0x33, 0x33, 0, 0, 0, 1]),
            MacAddr([0x33, 0x33, 0xff, 0x12, 0x34, 0x56]),
            MacAddr([0x33, 0x33, 0xff, 0x08, 0, 0x09]),
        ];
        let filter = wanted(&addresses, true);
        assert_eq!(filter.groups, all);
        assert!(filter.broadcast && !filter.promiscuous && !filter.all_multicast);
    }

    #[test]
    fn without_ipv4_nobody_broadcasts_to_us() {
        let filter = wanted(&["fe80::1/64".parse().unwrap()], false);
        assert!(!filter.broadcast);
        assert_eq!(filter.groups.len(), 2);
        assert!(wanted(&[], false).groups.is_empty());
    }
}
