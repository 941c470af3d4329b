//! A station in a virtual LAN: the card tags what is sent, takes the tag off what comes, and what is
//! not of that LAN does not get in.

use crate::models::bench::{PAIR, frame};
use crate::models::intel::{DD, EOP, MAC, Said};
use crate::models::intel_rig::{KINDS, Rig, Setup};
use drivers::net::{ControlError, DropReason, NetDevice, VlanId};
use pbufpool::{Gso, GsoKind, PartialChecksum};

const OURS: u16 = 0x123;

fn vlan(id: u16) -> VlanId {
    VlanId::new(id).expect("in range")
}

fn tagged(frame: &[u8], tag: u16) -> Vec<u8> {
    let (addresses, rest) = frame.split_at(12);
    [addresses, &[0x81, 0], &tag.to_be_bytes(), rest].concat()
}

#[track_caller]
fn outside(rig: &Rig) -> u64 {
    rig.nic.stats().drops.get(DropReason::RxVlan)
}

/// Frames pass with tags on the wire and without them here, and others do not pass.
#[track_caller]
fn assert_member(rig: &mut Rig) {
    for n in 0..40 {
        let (out, back) = (frame(n, 60 + n as usize), frame(!n, 1514 - n as usize));
        assert_eq!(rig.send(&out).frame(), tagged(&out, OURS));
        // A priority goes with the tag.
        let tag = OURS | (n as u16 % 8) << 13;
        assert!(rig.card().deliver(&tagged(&back, tag)));
        assert_eq!(rig.receive(), [back]);
    }
    let before = outside(rig);
    assert!(rig.card().deliver(&frame(1, 60)), "without a tag");
    assert!(rig.card().deliver(&tagged(&frame(1, 60), OURS + 1)));
    assert!(rig.card().deliver(&tagged(&frame(1, 60), 0)));
    assert_eq!(rig.receive().len(), 0);
    assert_eq!(outside(rig), before + 3);
    assert!(rig.card().admits(MAC, Some(OURS)));
    assert!(!rig.card().admits(MAC, Some(OURS + 1)));
    rig.assert_idle();
}

#[test]
fn a_member_sends_and_receives_in_its_lan_alone_before_and_after_a_reset() {
    for kind in KINDS {
        let mut rig = Rig::with(kind);
        assert_eq!(rig.nic.join_vlan(Some(vlan(OURS))), Ok(()));
        assert_member(&mut rig);
        rig.nic.reset().expect("comes up");
        assert_member(&mut rig);
        // Frames with other tags are not ours, though they are let through.
        assert_eq!(rig.nic.set_vlan(vlan(7), true), Ok(()));
        assert_member(&mut rig);
        assert_eq!(rig.nic.join_vlan(None), Ok(()));
        assert!(!rig.card().admits(MAC, Some(OURS)));
        assert!(rig.card().admits(MAC, Some(7)));
        rig.assert_traffic_flows();
    }
}

#[test]
fn a_lan_that_was_let_through_before_still_is_when_it_is_left() {
    let mut rig = Rig::with(KINDS[0]);
    for done in [
        rig.nic.set_vlan(vlan(OURS), true),
        rig.nic.join_vlan(Some(vlan(OURS))),
        rig.nic.join_vlan(Some(vlan(9))),
    ] {
        assert_eq!(done, Ok(()));
    }
    assert!(rig.card().admits(MAC, Some(OURS)) && rig.card().admits(MAC, Some(9)));
    assert_eq!(rig.nic.join_vlan(None), Ok(()));
    assert!(rig.card().admits(MAC, Some(OURS)) && !rig.card().admits(MAC, Some(9)));
}

#[test]
fn what_is_in_the_rings_at_that_moment_is_not_lost() {
    let mut rig = Rig::with(KINDS[2]);
    assert!(rig.post(&frame(1, 60)));
    rig.nic.flush(PAIR);
    assert_eq!(rig.nic.join_vlan(Some(vlan(OURS))), Ok(()));
    let sent = rig.card().transmit_all();
    assert_eq!(sent[0].frame(), frame(1, 60));
    assert_eq!(rig.nic.reclaim(PAIR), 1);
    assert_member(&mut rig);
}

#[test]
fn jumbo_frames_over_several_buffers_have_one_tag() {
    for kind in KINDS {
        let mut rig = Setup::jumbo(kind).start();
        assert_eq!(rig.nic.join_vlan(Some(vlan(OURS))), Ok(()));
        let jumbo = frame(3, 9014);
        assert!(rig.card().deliver(&tagged(&jumbo, OURS)));
        assert_eq!(rig.receive(), std::slice::from_ref(&jumbo));
        let parts: Vec<_> = jumbo.chunks(2048).collect();
        let chain = rig.chain(&parts);
        assert_eq!(rig.send_packet(chain).frame(), tagged(&jumbo, OURS));
        assert_member(&mut rig);
    }
}

/// A TCP/IPv4 frame with `payload` bytes, its checksum field as the contract has it.
fn tcp(payload: usize) -> Vec<u8> {
    let mut bytes = frame(5, 54 + payload);
    bytes[12..16].copy_from_slice(&[8, 0, 0x45, 0]);
    bytes[16..18].copy_from_slice(&(40 + payload as u16).to_be_bytes());
    bytes[20..22].fill(0);
    bytes[23] = 6;
    bytes[46] = 0x50;
    bytes
}

/// The same frame is cut and summed as without a tag, and each segment has one.
#[test]
fn segments_and_checksums_are_those_of_frames_without_a_tag() {
    for kind in KINDS {
        for cut in [false, true] {
            let send = |rig: &mut Rig| {
                let mut packet = rig.packet(&tcp(1900));
                let offload = packet.offload_mut();
                offload.tx_checksum = Some(PartialChecksum {
                    start: 34,
                    offset: 16,
                });
                offload.gso = cut.then_some(Gso {
                    kind: GsoKind::TcpV4,
                    mss: 500,
                    header_len: 54,
                });
                rig.send_packet(packet).wire
            };
            let mut setup = Setup::new(kind);
            setup.options.mtu = 1990;
            let mut rig = setup.start();
            let plain = send(&mut rig);
            assert_eq!(plain.len(), if cut { 4 } else { 1 });
            assert_eq!(rig.nic.join_vlan(Some(vlan(OURS))), Ok(()));
            let expected: Vec<_> = plain.iter().map(|bytes| tagged(bytes, OURS)).collect();
            assert_eq!(send(&mut rig), expected);
        }
    }
}

/// The card says what it likes of tags.
#[test]
fn claims_of_another_lan_or_none_are_counted_and_dropped() {
    for kind in KINDS {
        let mut rig = Rig::with(kind);
        assert_eq!(rig.nic.join_vlan(Some(vlan(OURS))), Ok(()));
        const STRIPPED: u32 = 1 << 3;
        for (status, tag, ours) in [
            (DD | EOP | STRIPPED, OURS, true),
            (DD | EOP, OURS, false),
            (DD | EOP | STRIPPED, OURS ^ 0x800, false),
            (DD | EOP | STRIPPED, 0xffff, false),
        ] {
            let before = outside(&rig);
            rig.card().tag = tag;
            assert!(rig.card().say(&frame(1, 60), Said { status, len: 60 }));
            assert_eq!(
                rig.receive().len(),
                usize::from(ours),
                "{status:#x} {tag:#x}"
            );
            assert_eq!(outside(&rig) - before, u64::from(!ours));
        }
        rig.card().tag = 0;
        assert_member(&mut rig);
    }
}

#[test]
fn a_broken_card_joins_with_its_reset() {
    let mut rig = Rig::with(KINDS[1]);
    rig.card().faults.gone = true;
    rig.nic.link();
    let told = rig.nic.join_vlan(Some(vlan(OURS)));
    assert!(matches!(told, Err(ControlError::Broken(_))));
    rig.card().faults.gone = false;
    rig.nic.reset().expect("comes up");
    assert_member(&mut rig);
}
