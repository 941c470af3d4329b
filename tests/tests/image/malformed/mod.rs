//! Frames that no decent host sends: each is counted under its own reason and dropped, and
//! service goes on.

mod damage;
mod fragments;
mod internet;
mod link;
mod transport;

use anyhow::{Context, Result, ensure};
use libtest_mimic::Trial;
use tests::clients::eventually;
use tests::fixture::Shared;
use tests::frames::ipv4::Ipv4;
use tests::frames::{ethernet, ethertype};
use tests::guest::Guest;
use tests::launch::Machine;
use tests::peer::Peer;
use tests::stats::Stats;

use crate::boot::must_serve;

/// Makes frames of one kind, all of which must be counted under one reason.
type Make = fn(&Peer) -> Vec<Vec<u8>>;

/// Test, reason, frames.
const CASES: [(&str, &str, Make); 18] = [
    (
        "frames_for_another_station",
        "rx_not_for_us",
        link::other_station,
    ),
    (
        "frames_from_a_group_address",
        "rx_bad_source",
        link::group_source,
    ),
    (
        "unknown_ethertypes",
        "rx_ethertype",
        link::unknown_ethertype,
    ),
    ("malformed_arp_messages", "rx_bad_arp", link::bad_arp),
    (
        "ipv4_packets_with_wrong_lengths_or_version",
        "rx_bad_ipv4",
        internet::bad_ipv4,
    ),
    (
        "ipv4_packets_with_a_wrong_checksum",
        "rx_ipv4_checksum",
        internet::ipv4_checksum,
    ),
    (
        "ipv6_packets_with_wrong_lengths_or_headers",
        "rx_bad_ipv6",
        internet::bad_ipv6,
    ),
    (
        "ipv6_fragments",
        "rx_ipv6_fragment",
        internet::ipv6_fragments,
    ),
    (
        "overflowing_and_uneven_fragments",
        "rx_bad_fragment",
        internet::bad_fragments,
    ),
    ("truncated_icmp_messages", "rx_bad_icmp", internet::bad_icmp),
    (
        "icmp_messages_with_a_wrong_checksum",
        "rx_icmp_checksum",
        internet::icmp_checksum,
    ),
    (
        "udp_datagrams_with_wrong_lengths_or_port_zero",
        "rx_bad_udp",
        transport::bad_udp,
    ),
    (
        "udp_datagrams_with_a_wrong_checksum",
        "rx_udp_checksum",
        transport::udp_checksum,
    ),
    (
        "tcp_segments_with_wrong_offsets_ports_or_flags",
        "rx_bad_tcp",
        transport::bad_tcp,
    ),
    (
        "tcp_segments_with_wrong_options",
        "rx_bad_tcp_options",
        transport::bad_tcp_options,
    ),
    (
        "tcp_segments_with_a_wrong_checksum",
        "rx_tcp_checksum",
        transport::tcp_checksum,
    ),
    ("frames_longer_than_the_mtu", "rx_oversize", link::oversize),
    (
        "frames_cut_short_in_a_header",
        "rx_drops",
        internet::cut_short,
    ),
];

pub(crate) fn tests() -> Vec<Trial> {
    let guest = Shared::new("malformed", || {
        // A card that filters would keep frames for others from being seen at all.
        let guest = Guest::boot(Machine::Q35, "virtio.features=-ctrl_rx,-ctrl_vlan")?;
        guest.tap().set_mtu(4000)?;
        Ok(guest)
    });
    let counted = CASES.map(|(name, reason, make)| {
        let body = move |guest: &Guest| must_count(guest, reason, make);
        guest.case(&format!("{name}_are_counted_and_dropped"), 30, body)
    });
    let mut trials = Vec::from(counted);
    trials.extend([
        guest.case(
            "overlapping_fragments_are_given_up",
            30,
            fragments::overlapping,
        ),
        guest.case(
            "shuffled_fragments_are_put_together",
            30,
            fragments::shuffled,
        ),
        guest.case(
            "fragments_of_endless_datagrams_take_bounded_memory",
            60,
            fragments::incomplete,
        ),
        guest.case(
            "every_byte_of_good_frames_may_be_damaged",
            180,
            damage::damaged,
        ),
    ]);
    trials
}

fn must_count(guest: &Guest, reason: &str, make: Make) -> Result<()> {
    let peer = Peer::on_tap(guest, 9)?;
    ensure!(peer.ping(1, b"resolved")?, "no reply to a plain ping");
    let frames = make(&peer);
    let before = Stats::read(guest)?;
    for frame in &frames {
        peer.send_frame(frame)?;
    }
    let expected = frames.len() as u64;
    eventually(std::time::Duration::from_secs(3), || {
        let after = Stats::read(guest)?;
        let counted = match reason {
            "rx_drops" => after.drops().saturating_sub(before.drops()),
            _ => after.grown(reason, &before)?,
        };
        let changes = after.changes(&before);
        ensure!(
            counted == expected,
            "{counted} of {expected} as {reason}; {changes}"
        );
        Ok(())
    })?;
    must_serve(guest).context("afterwards")
}

fn eth(peer: &Peer, ethertype: u16, payload: &[u8]) -> Vec<u8> {
    ethernet(peer.guest_mac, peer.mac, ethertype, payload)
}

/// An IPv4 frame with this transport payload.
fn ip4(peer: &Peer, protocol: u8, payload: &[u8]) -> Vec<u8> {
    eth(
        peer,
        ethertype::IPV4,
        &Ipv4::new(peer.addr, peer.guest, protocol).packet(payload),
    )
}
