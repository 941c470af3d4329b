//! Joining packets as the parts of a merged frame come in: what comes out is what `append` would have
//! made of them, and what is said of it stays true when the packet changes.

mod common;
use common::{Rig, on_demand, regular};
use pbufpool::{AppendReason, Gather, Packet};

/// Bytes of a buffer.
const SIZE: usize = 2048;

/// `n` packets in the order of their addresses, each of a whole buffer of `b'a'`, `b'b'` and so on.
fn neighbours(rig: &Rig, n: usize) -> Vec<Packet> {
    let mut packets = Vec::new();
    assert!(rig.pool.alloc_vec(n, &mut packets).is_complete());
    packets.sort_by_key(|packet| packet.first().expect("a buflet").base_dma().as_u64());
    for (byte, packet) in (b'a'..).zip(&mut packets) {
        packet.set_span(0, SIZE).expect("the whole buffer");
        packet.data_mut().expect("exclusive").fill(byte);
    }
    packets
}

fn gather(packets: impl IntoIterator<Item = Packet>) -> Packet {
    let mut packets = packets.into_iter();
    let mut gather = Gather::new(packets.next().expect("a first one"));
    for packet in packets {
        gather.push(packet).expect("not too many");
    }
    gather.finish()
}

/// The bytes that the buflets hold, one after the other.
fn bytes(packet: &Packet) -> Vec<u8> {
    packet.buflets().flat_map(|b| b.data()).copied().collect()
}

fn letters(counts: &[(u8, usize)]) -> Vec<u8> {
    let all = counts.iter();
    all.flat_map(|(byte, n)| std::iter::repeat_n(*byte, *n))
        .collect()
}

#[test]
fn neighbours_become_one_slice_and_their_metadata_goes_back() {
    let rig = Rig::new(on_demand(16).monolithic(true));
    let mut parts = neighbours(&rig, 4);
    parts[0].set_span(12, SIZE - 12).expect("fits");
    parts[3].set_span(0, 5).expect("fits");
    let packet = gather(parts);
    let all = letters(&[(b'a', SIZE - 12), (b'b', SIZE), (b'c', SIZE), (b'd', 5)]);
    assert_eq!((packet.buflet_count(), packet.len()), (4, all.len()));
    assert_eq!(packet.contiguous(), Some(&all[..]));
    assert_eq!(rig.pool.stats().packets_in_use, 1);
    drop(packet);
    rig.finish();
}

#[test]
fn parts_that_do_not_follow_each_other_are_a_chain_in_pieces() {
    let rig = Rig::new(on_demand(16).monolithic(true));
    for (first, second) in [(1, 0), (0, 2)] {
        let mut all = neighbours(&rig, 3);
        let second = all.remove(second);
        let packet = gather([all.remove(first.min(all.len() - 1)), second]);
        assert_eq!((packet.buflet_count(), packet.len()), (2, 2 * SIZE));
        assert_eq!(packet.contiguous(), None);
    }
    // A gap in the middle is no better, whatever follows it.
    let mut parts = neighbours(&rig, 3);
    parts[1].set_span(0, SIZE - 1).expect("fits");
    let packet = gather(parts);
    assert_eq!(
        (packet.contiguous(), packet.len()),
        (None, 3 * SIZE - 1),
        "a gap"
    );
    drop(packet);
    rig.finish();
}

/// What changes, how, to which letters, and whether they are still one slice.
type Change = (&'static str, fn(&mut Packet), &'static [(u8, usize)], bool);

#[test]
fn a_changed_span_or_chain_is_looked_at_anew() {
    let rig = Rig::new(on_demand(16).monolithic(true));
    let whole = letters(&[(b'a', SIZE), (b'b', SIZE), (b'c', SIZE)]);
    let changes: [Change; 6] = [
        (
            "the first span",
            |p| p.set_span(8, SIZE - 8).expect("fits"),
            &[(b'a', SIZE - 8), (b'b', SIZE), (b'c', SIZE)],
            true,
        ),
        (
            "a shorter first span",
            |p| p.set_span(0, 8).expect("fits"),
            &[(b'a', 8), (b'b', SIZE), (b'c', SIZE)],
            false,
        ),
        (
            "bytes off the front",
            |p| p.pull_front(20).expect("as many"),
            &[(b'a', SIZE - 20), (b'b', SIZE), (b'c', SIZE)],
            true,
        ),
        (
            "a span in the middle",
            |p| {
                let mut middle = p.buflet_mut(1).expect("three");
                middle.set_span(0, 1).expect("fits");
            },
            &[(b'a', SIZE), (b'b', 1), (b'c', SIZE)],
            false,
        ),
        (
            "the last span",
            |p| {
                let mut last = p.buflet_mut(2).expect("three");
                last.set_span(0, 1).expect("fits");
            },
            &[(b'a', SIZE), (b'b', SIZE), (b'c', 1)],
            true,
        ),
        (
            "room in front",
            |p| {
                p.pull_front(4).expect("as many");
                p.push_front(2).expect("room");
            },
            &[(b'a', SIZE - 2), (b'b', SIZE), (b'c', SIZE)],
            true,
        ),
    ];
    for (what, change, expected, in_one_piece) in changes {
        let mut packet = gather(neighbours(&rig, 3));
        assert_eq!(packet.contiguous(), Some(&whole[..]), "{what}: before");
        change(&mut packet);
        let expected = letters(expected);
        assert_eq!(bytes(&packet), expected, "{what}");
        assert_eq!(packet.len(), expected.len(), "{what}");
        let slice = in_one_piece.then_some(&expected[..]);
        assert_eq!(packet.contiguous(), slice, "{what}");
    }
    let mut packet = gather(neighbours(&rig, 3));
    packet.append(rig.packet(0, b"end")).expect("not too many");
    let expected = [&whole[..], b"end"].concat();
    assert_eq!(
        (bytes(&packet), packet.len()),
        (expected.clone(), 3 * SIZE + 3)
    );
    // Gathering goes on behind what was appended.
    let packet = gather([packet, rig.packet(0, b"more")]);
    assert_eq!(bytes(&packet), [&expected[..], b"more"].concat());
    drop(packet);
    rig.finish();
}

#[test]
fn what_cannot_be_joined_is_handed_back() {
    let rig = Rig::new(on_demand(16));
    let mut gather = Gather::new(rig.pool.alloc_buflets(7).expect("free"));
    gather.push(rig.packet(0, b"8")).expect("the eighth");
    let too_many = gather.push(rig.packet(0, b"9")).expect_err("too many");
    let reason = AppendReason::TooLong { buflets: 9, max: 8 };
    assert_eq!(
        (too_many.reason, bytes(&too_many.packet)),
        (reason, b"9".into())
    );
    let other = Rig::new(on_demand(8));
    let mut gather = Gather::new(gather.finish().linearise(&rig.pool).expect("room"));
    let foreign = gather.push(other.packet(0, b"x")).expect_err("foreign");
    assert_eq!(foreign.reason, AppendReason::OtherPool);
    let single = Rig::new(regular(8));
    let mut alone = Gather::new(single.packet(0, b"alone"));
    let refused = alone.push(single.packet(0, b"x")).expect_err("regular");
    assert_eq!(refused.reason, AppendReason::RegularPool);
    assert_eq!(bytes(&alone.finish()), b"alone");
    let mut dropped = Gather::new(other.packet(0, b"dropped"));
    dropped
        .push(other.packet(0, b"half-way"))
        .expect("not too many");
    drop((gather, dropped, too_many, foreign, refused));
    for rig in [rig, other, single] {
        rig.finish();
    }
}

/// Clones, large buffers and chains take the way of `append`.
#[test]
fn unusual_parts_are_joined_as_well() {
    let rig = Rig::new(on_demand(16));
    let mut source = rig.packet(3, b"shared ");
    let clone = source.clone_light().expect("on demand");
    let mut large = rig.pool.alloc_large().expect("free");
    common::fill(&mut large, 0, b"large ");
    let chain = gather([rig.packet(0, b"two "), rig.packet(9, b"parts ")]);
    let plain = || rig.packet(1, b"plain ");
    let packet = gather([large, plain(), clone, plain(), chain, plain()]);
    let all = b"large plain shared plain two parts plain ";
    assert_eq!(bytes(&packet), all);
    assert_eq!((packet.buflet_count(), packet.len()), (7, all.len()));
    assert_eq!(bytes(&source), b"shared ");
    drop((packet, source));
    rig.finish();
}
