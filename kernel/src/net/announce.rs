//! Makes the station known: to switches, which learn where it is now, and to its neighbours.
//!
//! The turn calls [`announce`] when the link came up, and when the NIC says that the station was
//! moved, as a virtual machine may be. One frame for each address: a gratuitous ARP request (RFC
//! 5227, 3) or an unsolicited neighbour advertisement (RFC 4861, 7.2.6).
#![forbid(unsafe_code)]

use smoltcp::wire::{HardwareAddress, Icmpv6Repr, IpAddress, NdiscNeighborFlags, NdiscRepr};

use super::core::Core;
use super::neighbours::{self, ALL_NODES};

/// Announces every address.
pub(super) fn announce(core: &mut Core) {
    let HardwareAddress::Ethernet(ours) = core.iface.hardware_addr();
    let all = core.iface.ip_addrs().iter().take(8);
    let addresses: heapless::Vec<IpAddress, 8> = all.map(|cidr| cidr.address()).collect();
    for address in addresses {
        match address {
            // A question for ourselves, which nobody else answers.
            IpAddress::Ipv4(address) => neighbours::arp(ours, address, address, core),
            IpAddress::Ipv6(address) => {
                let advertisement = Icmpv6Repr::Ndisc(NdiscRepr::NeighborAdvert {
                    flags: NdiscNeighborFlags::OVERRIDE,
                    target_addr: address,
                    lladdr: Some(ours.into()),
                });
                neighbours::send_icmpv6(&advertisement, address, ALL_NODES, core);
            }
        }
    }
}
