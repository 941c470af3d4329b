//! Makes the station known: to switches, which learn where it is now, and to its neighbours.
//!
//! The turn calls [`announce`] when the link came up, and when the NIC says that the station was
//! moved, as a virtual machine may be. One frame for each address: a gratuitous ARP request (RFC
//! 5227, 3) or an unsolicited neighbour advertisement (RFC 4861, 7.2.6).
#![forbid(unsafe_code)]

use smoltcp::wire::{
    ArpOperation, ArpRepr, EthernetAddress, HardwareAddress, Icmpv6Repr, IpAddress, Ipv4Address,
    Ipv6Address, NdiscNeighborFlags, NdiscRepr,
};

use super::core::Core;
use super::neighbours;

const ALL_NODES: Ipv6Address = Ipv6Address::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
const TO_ALL_NODES: EthernetAddress = EthernetAddress([0x33, 0x33, 0, 0, 0, 1]);

/// Announces every address.
pub(super) fn announce(core: &mut Core) {
    let addresses: heapless::Vec<IpAddress, 8> = (core.iface.ip_addrs().iter().take(8))
        .map(|cidr| cidr.address())
        .collect();
    for address in addresses {
        match address {
            IpAddress::Ipv4(address) => gratuitous(address, core),
            IpAddress::Ipv6(address) => advertise(address, core),
        }
    }
}

fn gratuitous(address: Ipv4Address, core: &mut Core) {
    let HardwareAddress::Ethernet(ours) = core.iface.hardware_addr();
    let request = ArpRepr::EthernetIpv4 {
        operation: ArpOperation::Request,
        source_hardware_addr: ours,
        source_protocol_addr: address,
        target_hardware_addr: EthernetAddress([0; 6]),
        target_protocol_addr: address,
    };
    neighbours::send_arp(request, core);
}

fn advertise(address: Ipv6Address, core: &mut Core) {
    let HardwareAddress::Ethernet(ours) = core.iface.hardware_addr();
    let advertisement = Icmpv6Repr::Ndisc(NdiscRepr::NeighborAdvert {
        flags: NdiscNeighborFlags::OVERRIDE,
        target_addr: address,
        lladdr: Some(ours.into()),
    });
    neighbours::send_icmpv6(&advertisement, address, ALL_NODES, TO_ALL_NODES, core);
}
