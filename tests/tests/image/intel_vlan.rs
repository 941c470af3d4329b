//! A guest in a virtual LAN, which an Intel card puts it into: tags on the wire, none above the card.

use std::net::Ipv4Addr;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use libtest_mimic::Trial;
use tests::clients::eventually;
use tests::frames::ipv4::{Ipv4, echo_request};
use tests::frames::{ethernet, ethertype, protocol};
use tests::guest::Guest;
use tests::launch::{Launch, Machine, Nic};
use tests::limit::case;
use tests::link::{DatagramLink, Link, TaggedLink};
use tests::peer::Peer;
use tests::stats::Stats;

use crate::intel::CARDS;

const GUEST_MAC: [u8; 6] = [0x52, 0x54, 0, 0x12, 0x34, 0x56];
const PEER_MAC: [u8; 6] = [0x02, 0, 0, 0, 0, 9];
const GUEST: Ipv4Addr = Ipv4Addr::new(10, 9, 0, 2);
const PEER: Ipv4Addr = Ipv4Addr::new(10, 9, 0, 9);
const VLAN: u16 = 0x123;

pub(crate) fn tests() -> Vec<Trial> {
    CARDS
        .into_iter()
        .map(|(name, nic)| {
            let name = format!("intel::{name}_in_a_virtual_lan_serves_that_lan_alone");
            case(name, 60, move || member(nic))
        })
        .collect()
}

fn member(nic: Nic) -> Result<()> {
    let (link, wire) = DatagramLink::open()?;
    let untagged = link.try_clone()?;
    let other = TaggedLink::new(link.try_clone()?, VLAN + 1);
    let words = format!("ip={GUEST}/24 services=all nic.vlan={VLAN}");
    let launch = Launch::pvh(Machine::Q35, words).nic(nic);
    let vm = Guest::start_on(&launch, &wire, GUEST_MAC)?;
    vm.wait_ready(Duration::from_secs(20))?;
    let link = TaggedLink::new(link, VLAN);
    // Whatever comes without our tag is an error of this link.
    let peer = Peer::on_link(link, (PEER_MAC, PEER), (GUEST_MAC, GUEST));
    eventually(Duration::from_secs(10), || peer.introduce())?;
    for (number, size) in (1..).zip([0, 1, 17, 18, 64, 1000, 1472]) {
        let data = vec![0x5a; size];
        ensure!(peer.ping(number, &data)?, "no reply to {size} bytes");
        let answer = peer.ask_udp(4000, 7, &data);
        ensure!(answer? == data, "{size} bytes came back changed");
    }
    let before = read(&peer)?;
    let request = echo_request(7, 99, b"from elsewhere");
    let packet = Ipv4::new(PEER, GUEST, protocol::ICMP).packet(&request);
    let frame = ethernet(GUEST_MAC, PEER_MAC, ethertype::IPV4, &packet);
    for _ in 0..10 {
        untagged.send(&frame)?;
        other.send(&frame)?;
    }
    let strange = peer.wait_echo_reply(99, Duration::from_millis(500))?;
    ensure!(strange.is_none(), "a frame of another LAN was answered");
    let after = read(&peer)?;
    let outside = after.grown("nic_drop_rx_vlan", &before)?;
    ensure!(outside == 10, "{outside} of 10 frames without a tag");
    ensure!(peer.ping(100, b"still there")?, "no reply");
    eventually(Duration::from_secs(5), || read(&peer)?.must_be_idle())
}

fn read(peer: &Peer) -> Result<Stats> {
    let line = peer.ask_udp(4000, 11, b"?").context("statistics")?;
    Stats::parse(&String::from_utf8(line)?)
}
