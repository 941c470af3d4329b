//! Good frames, each byte of which is damaged in turn.

use std::net::{IpAddr, Ipv6Addr};
use std::time::Duration;

use anyhow::{Result, ensure};
use tests::clients::eventually;
use tests::frames::ipv4::{echo_request, fix_checksum};
use tests::frames::transport::{Ports, Segment, fix_tcp_checksum, flag, udp};
use tests::frames::{ETH_HEADER, ethernet, ethertype, ipv6, protocol};
use tests::guest::Guest;
use tests::peer::Peer;

use super::internet::{hop_by_hop, ipv6_frame};
use super::link::bad_arp;
use super::transport::datagram;
use super::{eth, ip4};
use crate::boot::must_serve;

/// Each byte of each kind of frame, damaged in three ways: no more is asked than that the image
/// goes on and leaks nothing.
pub(super) fn damaged(guest: &Guest) -> Result<()> {
    let peer = Peer::on_tap(guest, 9)?;
    ensure!(peer.ping(1, b"resolved")?, "no reply to a plain ping");
    let ends: (IpAddr, IpAddr) = (peer.link_local().into(), peer.guest_link_local().into());
    let mut options = Segment::new(Ports { src: 4102, dst: 80 }, flag::SYN, 1, 0);
    options.options = vec![
        2, 4, 5, 0xb4, 4, 2, 8, 10, 0, 0, 0, 1, 0, 0, 0, 0, 1, 3, 3, 7,
    ];
    let six = |next: u8, payload: &[u8]| {
        let packet = ipv6::packet(
            peer.link_local(),
            peer.guest_link_local(),
            next,
            255,
            payload,
        );
        eth(&peer, ethertype::IPV6, &packet)
    };
    let router = ipv6::router_advert(peer.link_local(), peer.mac, Ipv6Addr::LOCALHOST);
    let frames = [
        bad_arp(&peer)[2].clone(),
        ip4(&peer, protocol::ICMP, &echo_request(1, 1, b"x")),
        datagram(&peer, Ports { src: 4000, dst: 9 }, |_| ()),
        ip4(&peer, protocol::TCP, &options.bytes(peer.ends())),
        six(protocol::UDP, &udp(ends, Ports { src: 4000, dst: 9 }, b"x")),
        six(protocol::TCP, &options.bytes(ends)),
        ethernet(peer.guest_mac, peer.mac, ethertype::IPV6, &router),
        ipv6_frame(&peer, |packet| hop_by_hop(packet, 0)),
    ];
    for frame in frames {
        for at in 12..frame.len() {
            for damage in [0x01, 0x80, 0xff] {
                let mut frame = frame.clone();
                frame[at] ^= damage;
                peer.send_frame(&frame)?;
                mend_checksums(&mut frame);
                peer.send_frame(&frame)?;
            }
        }
        // Forged sources may keep address resolution busy for a while.
        eventually(Duration::from_secs(3), || must_serve(guest))?;
    }
    Ok(())
}

/// Puts the checksums of an IPv4 frame right, so that the damage gets further in.
pub(super) fn mend_checksums(frame: &mut [u8]) {
    let packet = &mut frame[ETH_HEADER..];
    if packet.len() < 40 || packet[0] >> 4 != 4 {
        return;
    }
    fix_checksum(packet);
    let (header, transport) = packet.split_at_mut(20);
    let address =
        |at: usize| IpAddr::from([header[at], header[at + 1], header[at + 2], header[at + 3]]);
    if header[9] == protocol::TCP {
        fix_tcp_checksum(transport, (address(12), address(16)));
    }
}
