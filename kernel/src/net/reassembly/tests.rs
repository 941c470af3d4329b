//! Datagrams in pieces: in order, out of order, overlapping, endless, abandoned.

use super::*;
use crate::net::test_frames::*;
use smoltcp::wire::IpProtocol;
use std::vec::Vec;

const NOW: Instant = Instant::ZERO;

/// The datagram's payload cut at `cuts`, as frames with this identification.
fn cut(payload: &[u8], cuts: &[usize], ident: u16) -> Vec<Vec<u8>> {
    let mut edges = Vec::from([0]);
    edges.extend_from_slice(cuts);
    edges.push(payload.len());
    edges
        .windows(2)
        .map(|edge| fragment(payload, edge[0], edge[1], ident))
        .collect()
}

fn fragment(payload: &[u8], from: usize, to: usize, ident: u16) -> Vec<u8> {
    let mut frame = ipv4(IpProtocol::Udp, &payload[from..to]);
    let mut packet = Ipv4Packet::new_unchecked(&mut frame[14..]);
    packet.set_ident(ident);
    packet.set_more_frags(to < payload.len());
    packet.set_frag_offset(from as u16);
    packet.fill_checksum();
    frame
}

fn datagram(len: usize) -> Vec<u8> {
    let data: Vec<u8> = (0..len - 8).map(|n| (n * 7) as u8).collect();
    udp_bytes(PEER_V4.into(), OUR_V4.into(), (5000, 7), &data)
}

/// The payload of what came out, with its header checked.
fn payload(frame: &[u8]) -> Vec<u8> {
    let packet = Ipv4Packet::new_checked(&frame[14..]).unwrap();
    assert!(packet.verify_checksum() && !packet.more_frags() && packet.frag_offset() == 0);
    packet.payload().to_vec()
}

#[test]
fn pieces_come_together_in_any_order() {
    let whole = datagram(4000);
    for order in [[0, 1, 2], [2, 1, 0], [1, 2, 0], [1, 0, 2]] {
        let mut reassembly = Reassembly::default();
        let pieces = cut(&whole, &[1480, 2960], 1);
        for &n in &order[..2] {
            assert_eq!(reassembly.add(&pieces[n], NOW), Ok(None));
        }
        let frame = reassembly.add(&pieces[order[2]], NOW).unwrap().unwrap();
        assert_eq!(payload(frame), whole);
    }
}

#[test]
fn the_largest_datagram_fits_and_a_longer_one_does_not() {
    let whole = datagram(65_515);
    let cuts: Vec<usize> = (1..45)
        .map(|n| n * 1480)
        .filter(|at| *at < whole.len())
        .collect();
    let mut reassembly = Reassembly::default();
    let pieces = cut(&whole, &cuts, 1);
    for piece in &pieces[..pieces.len() - 1] {
        assert_eq!(reassembly.add(piece, NOW), Ok(None));
    }
    let frame = reassembly
        .add(&pieces[pieces.len() - 1], NOW)
        .unwrap()
        .unwrap();
    assert_eq!(payload(frame), whole);
    // Offset 65,528 is the largest there is; 1,000 bytes there are past any datagram's end.
    let mut beyond = fragment(&datagram(1000), 0, 1000, 2);
    let mut packet = Ipv4Packet::new_unchecked(&mut beyond[14..]);
    packet.set_frag_offset(65_528);
    packet.fill_checksum();
    assert_eq!(reassembly.add(&beyond, NOW), Err(Refusal::BadFragment));
}

#[test]
fn overlaps_end_the_datagram() {
    let whole = datagram(3000);
    let mut reassembly = Reassembly::default();
    assert_eq!(reassembly.add(&fragment(&whole, 0, 1480, 1), NOW), Ok(None));
    assert_eq!(
        reassembly.add(&fragment(&whole, 1472, 2952, 1), NOW),
        Err(Refusal::BadFragment)
    );
    // Its other parts do not complete it any more.
    assert_eq!(
        reassembly.add(&fragment(&whole, 1480, 3000, 1), NOW),
        Ok(None)
    );
}

#[test]
fn contradictory_ends_and_odd_lengths_are_refused() {
    let whole = datagram(3000);
    let mut reassembly = Reassembly::default();
    assert_eq!(
        reassembly.add(&fragment(&whole, 2960, 3000, 1), NOW),
        Ok(None)
    );
    let longer = datagram(4000);
    assert_eq!(
        reassembly.add(&fragment(&longer, 3200, 3360, 1), NOW),
        Err(Refusal::BadFragment)
    );
    assert_eq!(
        reassembly.add(&fragment(&whole, 0, 1001, 2), NOW),
        Err(Refusal::BadFragment)
    );
}

#[test]
fn two_datagrams_do_not_mix() {
    let (a, b) = (datagram(2000), datagram(2800));
    let mut reassembly = Reassembly::default();
    let (first, second) = (cut(&a, &[1480], 1), cut(&b, &[1480], 2));
    assert_eq!(reassembly.add(&first[0], NOW), Ok(None));
    assert_eq!(reassembly.add(&second[0], NOW), Ok(None));
    assert_eq!(
        payload(reassembly.add(&second[1], NOW).unwrap().unwrap()),
        b
    );
    assert_eq!(payload(reassembly.add(&first[1], NOW).unwrap().unwrap()), a);
}

#[test]
fn the_oldest_gives_way_and_time_runs_out() {
    let whole = datagram(2000);
    let mut reassembly = Reassembly::default();
    for ident in 0..SLOTS as u16 + 1 {
        let at = NOW + Duration::from_millis(u64::from(ident));
        assert_eq!(
            reassembly.add(&cut(&whole, &[1480], ident)[0], at),
            Ok(None)
        );
    }
    // Number 0 gave way; number 1 is still there until its time is over.
    assert_eq!(
        reassembly
            .add(&cut(&whole, &[1480], 1)[1], NOW)
            .map(|f| f.is_some()),
        Ok(true)
    );
    let late = NOW + TIMEOUT + Duration::from_secs(1);
    assert_eq!(reassembly.add(&cut(&whole, &[1480], 2)[1], late), Ok(None));
}
