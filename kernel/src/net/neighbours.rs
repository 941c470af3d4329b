//! Asks for hardware addresses where smoltcp does not.
//!
//! smoltcp sends one ARP request or neighbour solicitation a second, all destinations together,
//! so one forged sender could keep every other host waiting. Whoever finds that an answer could
//! not be addressed (echo, UDP, TCP) calls [`ask`], which asks for that host itself:
//! at most once a second for each, and within [`PER_SECOND`] for all. What comes back fills
//! smoltcp's own table, since it listens to every ARP and neighbour message to us.
#![forbid(unsafe_code)]

use smoltcp::iface::Interface;
use smoltcp::phy::{ChecksumCapabilities, Device, TxToken};
use smoltcp::time::{Duration, Instant};
use smoltcp::wire::{
    ArpOperation, ArpPacket, ArpRepr, ETHERNET_HEADER_LEN, EthernetAddress, EthernetFrame,
    EthernetProtocol, EthernetRepr, HardwareAddress, Icmpv6Packet, Icmpv6Repr, IpAddress,
    IpProtocol, Ipv4Address, Ipv6Address, Ipv6Packet, Ipv6Repr, NdiscRepr,
};

use super::core::Core;

/// Requests a second, for all destinations together.
const PER_SECOND: u32 = 200;
/// How long one request stands for its destination.
const PATIENCE: Duration = Duration::from_secs(1);
/// Destinations remembered; a power of two.
const REMEMBERED: usize = 64;
/// Bytes of an ARP packet for IPv4 on Ethernet.
const ARP_LEN: usize = 28;

/// A group and its hardware address (RFC 2464, 7).
pub(super) type Group = (Ipv6Address, EthernetAddress);

/// All nodes of a link (RFC 4291, 2.7.1).
pub(super) const ALL_NODES: Group = (
    Ipv6Address::new(0xff02, 0, 0, 0, 0, 0, 0, 1),
    EthernetAddress([0x33, 0x33, 0, 0, 0, 1]),
);

/// Who was asked for, and when.
pub(super) struct Neighbours {
    asked: [Option<(IpAddress, Instant)>; REMEMBERED],
    /// The second that is being counted, and requests in it.
    second: (i64, u32),
}

impl Default for Neighbours {
    fn default() -> Self {
        Self {
            asked: [None; REMEMBERED],
            second: (0, 0),
        }
    }
}

impl Neighbours {
    /// Whether `hop` may be asked for now; if so, that is taken as done.
    fn may_ask(&mut self, hop: IpAddress, now: Instant) -> bool {
        if self.second.0 != now.secs() {
            self.second = (now.secs(), 0);
        }
        let slot = &mut self.asked[place(hop)];
        let lately = slot.is_some_and(|(whom, when)| whom == hop && now < when + PATIENCE);
        if lately || self.second.1 >= PER_SECOND {
            return false;
        }
        self.second.1 += 1;
        *slot = Some((hop, now));
        true
    }
}

/// Asks for the hardware address of the next hop to `to`, unless that was done lately.
pub(super) fn ask(to: IpAddress, core: &mut Core) {
    let Some(hop) = next_hop(to, core) else {
        return;
    };
    if !core.neighbours.may_ask(hop, core.now) {
        return;
    }
    let HardwareAddress::Ethernet(ours) = core.iface.hardware_addr();
    match hop {
        IpAddress::Ipv4(hop) => {
            if let Some(IpAddress::Ipv4(from)) = core.iface.get_source_address(&to) {
                arp(ours, from, hop, core);
            }
        }
        IpAddress::Ipv6(hop) => {
            let from = core.iface.get_source_address_ipv6(&hop);
            solicit(ours, from, hop, core);
        }
    }
}

/// Where an address is remembered: by its last byte, in which hosts of a network differ.
fn place(address: IpAddress) -> usize {
    let last = match address {
        IpAddress::Ipv4(address) => address.octets()[3],
        IpAddress::Ipv6(address) => address.octets()[15],
    };
    usize::from(last) % REMEMBERED
}

/// The neighbour that leads to `to`: itself on our networks, else the IPv4 gateway. An IPv6
/// router is smoltcp's to find.
fn next_hop(to: IpAddress, core: &Core) -> Option<IpAddress> {
    let near = |iface: &Interface| iface.ip_addrs().iter().any(|cidr| cidr.contains_addr(&to));
    match to {
        _ if !to.is_unicast() => None,
        _ if near(&core.iface) => Some(to),
        IpAddress::Ipv4(_) => core.addresses.gateway.map(IpAddress::Ipv4),
        IpAddress::Ipv6(_) => None,
    }
}

/// Writes one frame of `len` bytes behind its Ethernet header, if the NIC has room for it.
fn send(
    core: &mut Core,
    to: EthernetAddress,
    kind: EthernetProtocol,
    len: usize,
    write: impl FnOnce(&mut [u8]),
) {
    let HardwareAddress::Ethernet(ours) = core.iface.hardware_addr();
    let now = core.now;
    let mut port = core.port();
    let Some(token) = port.transmit(now) else {
        return;
    };
    token.consume(ETHERNET_HEADER_LEN + len, |bytes| {
        let header = EthernetRepr {
            src_addr: ours,
            dst_addr: to,
            ethertype: kind,
        };
        let mut frame = EthernetFrame::new_unchecked(bytes);
        header.emit(&mut frame);
        write(frame.payload_mut());
    });
}

/// Sends an ICMPv6 message of the local link, which no router forwards.
pub(super) fn send_icmpv6(
    message: &Icmpv6Repr<'_>,
    from: Ipv6Address,
    (to, hardware): Group,
    core: &mut Core,
) {
    let ip = Ipv6Repr {
        src_addr: from,
        dst_addr: to,
        next_header: IpProtocol::Icmpv6,
        payload_len: message.buffer_len(),
        hop_limit: 255,
    };
    let len = ip.buffer_len() + ip.payload_len;
    send(core, hardware, EthernetProtocol::Ipv6, len, |bytes| {
        ip.emit(&mut Ipv6Packet::new_unchecked(&mut *bytes));
        let mut packet = Icmpv6Packet::new_unchecked(&mut bytes[ip.buffer_len()..]);
        message.emit(&from, &to, &mut packet, &ChecksumCapabilities::default());
    });
}

/// The group of those who may have `address` (RFC 4291, 2.7.1).
pub(super) fn solicited_node(address: Ipv6Address) -> Group {
    let [.., x, y, z] = address.octets();
    let low = u16::from(y) << 8 | u16::from(z);
    let group = Ipv6Address::new(0xff02, 0, 0, 0, 0, 1, 0xff00 | u16::from(x), low);
    (group, EthernetAddress([0x33, 0x33, 0xff, x, y, z]))
}

/// An ARP request (RFC 826).
pub(super) fn arp(ours: EthernetAddress, from: Ipv4Address, hop: Ipv4Address, core: &mut Core) {
    let request = ArpRepr::EthernetIpv4 {
        operation: ArpOperation::Request,
        source_hardware_addr: ours,
        source_protocol_addr: from,
        target_hardware_addr: EthernetAddress([0; 6]),
        target_protocol_addr: hop,
    };
    let everybody = EthernetAddress::BROADCAST;
    send(core, everybody, EthernetProtocol::Arp, ARP_LEN, |bytes| {
        request.emit(&mut ArpPacket::new_unchecked(bytes));
    });
}

/// A neighbour solicitation (RFC 4861, 4.3), to the target's solicited-node group.
fn solicit(ours: EthernetAddress, from: Ipv6Address, hop: Ipv6Address, core: &mut Core) {
    let solicitation = Icmpv6Repr::Ndisc(NdiscRepr::NeighborSolicit {
        target_addr: hop,
        lladdr: Some(ours.into()),
    });
    send_icmpv6(&solicitation, from, solicited_node(hop), core);
}
