//! Frames that a raw socket would not send: of every length from nothing to far too long, over
//! QEMU's datagram wire.

use std::net::Ipv4Addr;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use libtest_mimic::Trial;
use tests::clients::eventually;
use tests::frames::{ethernet, ethertype};
use tests::guest::Guest;
use tests::launch::{Launch, Machine};
use tests::limit::case;
use tests::link::DatagramLink;
use tests::peer::Peer;
use tests::stats::Stats;

const GUEST_MAC: [u8; 6] = [0x52, 0x54, 0, 0x12, 0x34, 0x56];
const PEER_MAC: [u8; 6] = [0x02, 0, 0, 0, 0, 9];
const GUEST: Ipv4Addr = Ipv4Addr::new(10, 9, 0, 2);
const PEER: Ipv4Addr = Ipv4Addr::new(10, 9, 0, 9);

pub(crate) fn tests() -> Vec<Trial> {
    vec![
        case(
            "runts::frames_of_any_length_are_survived_over_pci",
            60,
            || any_length(Machine::Q35),
        ),
        case(
            "runts::frames_of_any_length_are_survived_over_mmio",
            60,
            || any_length(Machine::Microvm),
        ),
    ]
}

fn any_length(machine: Machine) -> Result<()> {
    let (link, wire) = DatagramLink::open()?;
    let launch = Launch::pvh(machine, format!("ip={GUEST}/24 services=all"));
    let vm = Guest::start_on(&launch, &wire, GUEST_MAC)?;
    vm.wait_ready(Duration::from_secs(20))?;
    let peer = Peer::on_link(link, (PEER_MAC, PEER), (GUEST_MAC, GUEST));
    peer.introduce()?;
    ensure!(peer.ping(1, b"hello")?, "no reply to a ping");

    let before = read(&peer)?;
    let long = ethernet(GUEST_MAC, PEER_MAC, ethertype::IPV4, &[0x45; 40_000]);
    // (An empty datagram would end QEMU's wire.)
    for length in 1..64 {
        peer.send_frame(&long[..length])?;
    }
    let after = read(&peer)?;
    let counted = after.drops() - before.drops();
    ensure!(
        counted >= 63,
        "{counted} of 63 short frames counted: {}",
        after.changes(&before)
    );
    let runts = after.grown("rx_runt", &before)? + after.grown("nic_drop_rx_runt", &before)?;
    ensure!(runts >= 13, "{runts} runts: {}", after.changes(&before));

    for length in [1514, 1515, 2000, 2035, 2036, 2037, 2048, 4096, 9000, 40_000] {
        peer.send_frame(&long[..length])?;
        ensure!(
            peer.ping(2, b"still there?")?,
            "no reply after a frame of {length} bytes"
        );
    }
    eventually(Duration::from_secs(5), || read(&peer)?.must_be_idle())
}

fn read(peer: &Peer) -> Result<Stats> {
    let line = peer.ask_udp(4000, 11, b"?").context("statistics")?;
    Stats::parse(&String::from_utf8(line)?)
}
