//! An IPv6 router that says one thing: which prefix is on this wire (RFC 4861, RFC 4862).
#![forbid(unsafe_code)]

use anyhow::Result;

use crate::frames::{ethernet, ethertype, ipv6, link_local};
use crate::guest::Guest;
use crate::link::{Link, PacketSocket};

/// Advertises the tap's prefix, as if by the host, to all nodes on the guest's wire.
pub fn advertise(guest: &Guest) -> Result<()> {
    let tap = guest.tap();
    let mac = tap.host_mac();
    let advert = ipv6::router_advert(link_local(mac), mac, tap.prefix6());
    let group = ipv6::multicast_mac(ipv6::ALL_NODES);
    let frame = ethernet(group, mac, ethertype::IPV6, &advert);
    PacketSocket::open(tap.name())?.send(&frame)
}
