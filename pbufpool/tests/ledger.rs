//! Behaviours 76 to 88: packets and buflets on loan to clients that write what they like.

mod common;
use common::{Rig, on_demand, regular};
use pbufpool::Layer;
use pbufpool::ledger::view::{ClientBuflet, ClientPacket, NONE, client_flag};
use pbufpool::ledger::{Ledger, OwnerId, ReturnError, ViewFault};
use pbufpool::{Packet, PacketQueue};
use std::sync::atomic::Ordering::Relaxed;

const ALICE: OwnerId = OwnerId::new(1).unwrap();
const BOB: OwnerId = OwnerId::new(2).unwrap();

fn rig() -> (Rig, Ledger) {
    let rig = Rig::new(on_demand(64));
    let ledger = rig.pool.ledger().unwrap();
    (rig, ledger)
}

/// A packet of `k` buflets with 100 bytes each.
fn chain(rig: &Rig, k: usize) -> Packet {
    let mut packet = rig.pool.alloc_buflets(0).unwrap();
    for _ in 0..k {
        packet.append(rig.packet(0, &[7; 100])).unwrap();
    }
    packet
}

fn view(ledger: &Ledger, index: u32) -> &ClientPacket {
    ledger.packet_view(index).unwrap()
}

/// Numbers of the buflets of a loaned packet, from the client's view.
fn numbers(ledger: &Ledger, index: u32) -> Vec<u32> {
    let mut next = view(ledger, index).next.load(Relaxed);
    let mut numbers = Vec::new();
    while let Some(buflet) = ledger.buflet_view(next) {
        numbers.push(next);
        next = buflet.next.load(Relaxed);
    }
    numbers
}

/// Takes the packet back and expects `fault`; the packet comes along, dropped and empty.
fn bad(ledger: &Ledger, index: u32) -> ViewFault {
    match ledger.take_back(index, ALICE) {
        Err(ReturnError::Bad { fault, item }) => {
            assert!(item.is_dropped() && item.is_empty());
            fault
        }
        other => panic!("expected a bad packet, got {other:?}"),
    }
}

fn finish(rig: Rig, ledger: Ledger) {
    ledger.purge(None);
    assert!(ledger.is_empty());
    drop(ledger);
    rig.finish();
}

#[test]
fn b76_a_loaned_packet_comes_back_once() {
    let (rig, ledger) = rig();
    let packet = rig.packet(40, b"on loan");
    let index = ledger.loan(packet, ALICE).unwrap();
    assert!(ledger.has_packet(index));
    let packet = ledger.take_back(index, ALICE).unwrap();
    assert_eq!(
        (packet.index(), packet.data(), packet.headroom()),
        (index, &b"on loan"[..], 40)
    );
    assert!(matches!(
        ledger.take_back(index, ALICE),
        Err(ReturnError::Unknown)
    ));
    assert!(matches!(
        ledger.take_back(99_999, ALICE),
        Err(ReturnError::Unknown)
    ));
    drop(packet);
    finish(rig, ledger);
}

#[test]
fn b76_a_regular_packet_keeps_its_embedded_buffer() {
    let rig = Rig::new(regular(8));
    let ledger = rig.pool.ledger().unwrap();
    let index = ledger.loan(rig.packet(0, b"embedded"), ALICE).unwrap();
    view(&ledger, index).dlen.store(5, Relaxed);
    view(&ledger, index).length.store(5, Relaxed);
    assert_eq!(ledger.take_back(index, ALICE).unwrap().data(), b"embed");
    let index = ledger.loan(rig.packet(0, b"x"), ALICE).unwrap();
    let own = view(&ledger, index).buffer.load(Relaxed);
    view(&ledger, index).buffer.store(own + 1, Relaxed);
    assert_eq!(bad(&ledger, index), ViewFault::BufferIndex);
    finish(rig, ledger);
}

#[test]
fn b77_a_batch_records_all_packets_and_buflets() {
    let (rig, ledger) = rig();
    let mut queue: PacketQueue = (1..=4).map(|k| chain(&rig, k)).collect();
    let indices = ledger.loan_queue(&mut queue, ALICE).unwrap();
    assert_eq!((indices.len(), ledger.counts()), (4, (4, 10)));
    for (at, index) in indices.iter().enumerate() {
        assert!(ledger.has_packet(*index));
        assert!(
            numbers(&ledger, *index)
                .iter()
                .all(|n| ledger.has_buflet(*n))
        );
        let packet = ledger.take_back(*index, ALICE).unwrap();
        assert_eq!(
            (packet.buflet_count(), packet.len()),
            (at + 1, (at + 1) * 100)
        );
    }
    assert!(ledger.is_empty());
    finish(rig, ledger);
}

#[test]
fn b78_another_owners_index_is_refused() {
    let (rig, ledger) = rig();
    let index = ledger.loan(chain(&rig, 2), ALICE).unwrap();
    assert!(matches!(
        ledger.take_back(index, BOB),
        Err(ReturnError::NotOwner)
    ));
    assert!(ledger.has_packet(index));
    // Nor can a client link another one's buflets.
    let theirs = ledger.loan(chain(&rig, 1), BOB).unwrap();
    let stolen = numbers(&ledger, theirs)[0];
    view(&ledger, index).next.store(stolen, Relaxed);
    assert_eq!(bad(&ledger, index), ViewFault::NotOnLoan { buflet: stolen });
    assert!(ledger.has_buflet(stolen));
    assert!(ledger.take_back(theirs, BOB).is_ok());
    finish(rig, ledger);
}

#[test]
fn b79_a_count_above_max_frags_is_refused() {
    for count in [9, 0x1_0001, u32::MAX] {
        let (rig, ledger) = rig();
        let index = ledger.loan(chain(&rig, 2), ALICE).unwrap();
        view(&ledger, index).count.store(count, Relaxed);
        assert_eq!(bad(&ledger, index), ViewFault::CountAboveMax);
        assert_eq!(
            ledger.counts(),
            (0, 2),
            "its buflets stay on loan until purged"
        );
        finish(rig, ledger);
    }
}

#[test]
fn b80_broken_chains_are_refused_without_leaks() {
    let set = |ledger: &Ledger, number: u32, next: u32| {
        ledger
            .buflet_view(number)
            .unwrap()
            .next
            .store(next, Relaxed);
    };
    for case in 0..6 {
        let (rig, ledger) = rig();
        let index = ledger.loan(chain(&rig, 3), ALICE).unwrap();
        let n = numbers(&ledger, index);
        let fault = match case {
            0 => {
                set(&ledger, n[1], NONE); // short
                bad(&ledger, index)
            }
            1 => {
                view(&ledger, index).count.store(2, Relaxed); // long
                bad(&ledger, index)
            }
            2 => {
                set(&ledger, n[2], n[0]); // cyclic, with a count to match
                view(&ledger, index).count.store(4, Relaxed);
                bad(&ledger, index)
            }
            3 => {
                set(&ledger, n[0], n[0]); // duplicated
                bad(&ledger, index)
            }
            4 => {
                set(&ledger, n[0], 60_000); // forged: out of the table
                bad(&ledger, index)
            }
            _ => {
                let free = (0..).find(|n| !ledger.has_buflet(*n)).unwrap();
                set(&ledger, n[0], free); // forged: not on loan
                bad(&ledger, index)
            }
        };
        let expected = match case {
            0 | 1 => ViewFault::ChainLength,
            2 | 3 => ViewFault::NotOnLoan { buflet: n[0] },
            4 => ViewFault::NotOnLoan { buflet: 60_000 },
            _ => fault,
        };
        assert_eq!(fault, expected, "case {case}");
        assert!(matches!(
            fault,
            ViewFault::ChainLength | ViewFault::NotOnLoan { .. }
        ));
        finish(rig, ledger);
    }
}

#[test]
fn b81_no_next_never_resurrects_the_loaned_chain() {
    let (rig, ledger) = rig();
    let index = ledger.loan(chain(&rig, 3), ALICE).unwrap();
    view(&ledger, index).next.store(NONE, Relaxed);
    assert_eq!(bad(&ledger, index), ViewFault::ChainLength);
    assert_eq!(ledger.counts(), (0, 3));
    let index = ledger.loan(chain(&rig, 3), ALICE).unwrap();
    view(&ledger, index).next.store(NONE, Relaxed);
    view(&ledger, index).count.store(0, Relaxed);
    assert_eq!(bad(&ledger, index), ViewFault::NoBuflets);
    finish(rig, ledger);
}

#[test]
fn b82_recombining_own_buflets_succeeds() {
    let (rig, ledger) = rig();
    let a = ledger.loan(chain(&rig, 2), ALICE).unwrap();
    let b = ledger.loan(chain(&rig, 1), ALICE).unwrap();
    let lone = ledger
        .loan_buflet(rig.pool.alloc_buflet(false).unwrap(), ALICE)
        .unwrap();
    let (na, nb) = (numbers(&ledger, a), numbers(&ledger, b));
    // b := b's buflet, a's second, the lone one; a := its first alone.
    ledger
        .buflet_view(nb[0])
        .unwrap()
        .next
        .store(na[1], Relaxed);
    ledger.buflet_view(na[1]).unwrap().next.store(lone, Relaxed);
    ledger.buflet_view(na[0]).unwrap().next.store(NONE, Relaxed);
    view(&ledger, b).count.store(3, Relaxed);
    view(&ledger, b).length.store(200, Relaxed);
    view(&ledger, a).count.store(1, Relaxed);
    view(&ledger, a).length.store(100, Relaxed);
    let b = ledger.take_back(b, ALICE).unwrap();
    let a = ledger.take_back(a, ALICE).unwrap();
    assert_eq!((a.buflet_count(), b.buflet_count(), b.len()), (1, 3, 200));
    assert!(ledger.is_empty());
    drop((a, b));
    finish(rig, ledger);
}

#[test]
fn b83_a_span_that_wraps_is_refused() {
    let (rig, ledger) = rig();
    for (doff, dlen) in [
        (u32::MAX, 2),
        (2, u32::MAX),
        (1 << 31, 1 << 31),
        (2048, 1),
        (0, 2049),
    ] {
        let index = ledger.loan(chain(&rig, 1), ALICE).unwrap();
        let buflet = ledger.buflet_view(numbers(&ledger, index)[0]).unwrap();
        buflet.doff.store(doff, Relaxed);
        buflet.dlen.store(dlen, Relaxed);
        view(&ledger, index).length.store(dlen, Relaxed);
        assert_eq!(bad(&ledger, index), ViewFault::Span, "{doff}+{dlen}");
    }
    finish(rig, ledger);
}

#[test]
fn b84_each_field_error_is_reported() {
    let (rig, ledger) = rig();
    let broken = |change: &dyn Fn(&ClientPacket, &ClientBuflet)| {
        let index = ledger.loan(chain(&rig, 1), ALICE).unwrap();
        let buflet = ledger.buflet_view(numbers(&ledger, index)[0]).unwrap();
        change(view(&ledger, index), buflet);
        bad(&ledger, index)
    };
    let checksum = |start: u32, stuff: u32| {
        broken(&move |p, _| {
            p.flags.store(client_flag::PARTIAL_CHECKSUM, Relaxed);
            p.csum_start.store(start, Relaxed);
            p.csum_stuff.store(stuff, Relaxed);
        })
    };
    assert_eq!(
        broken(&|p, _| p.flags.store(1 << 9, Relaxed)),
        ViewFault::Flags
    );
    assert_eq!(
        broken(&|p, _| p.flags.store(client_flag::DROPPED, Relaxed)),
        ViewFault::MarkedDropped
    );
    assert_eq!(
        broken(&|p, _| p.max_frags.store(9, Relaxed)),
        ViewFault::MaxFrags
    );
    assert_eq!(
        broken(&|_, b| _ = b.buffer.fetch_add(1, Relaxed)),
        ViewFault::BufferIndex
    );
    assert_eq!(
        broken(&|_, b| _ = b.seal.fetch_add(1, Relaxed)),
        ViewFault::Seal
    );
    assert_eq!(
        broken(&|p, _| p.length.store(99, Relaxed)),
        ViewFault::Length
    );
    assert_eq!(
        broken(&|p, _| p.headroom.store(1, Relaxed)),
        ViewFault::Headroom
    );
    assert_eq!(
        broken(&|p, _| p.l2_len.store(2048, Relaxed)),
        ViewFault::Headroom
    );
    assert_eq!(
        broken(&|p, _| p.l2_len.store(u32::MAX, Relaxed)),
        ViewFault::Headroom
    );
    assert_eq!(checksum(50, 40), ViewFault::Checksum);
    assert_eq!(checksum(101, 101), ViewFault::Checksum);
    assert_eq!(checksum(0, 99), ViewFault::Checksum);
    assert_eq!(checksum(0, u32::MAX), ViewFault::Checksum);

    let index = ledger.loan(chain(&rig, 1), ALICE).unwrap();
    view(&ledger, index).flags.store(
        client_flag::PARTIAL_CHECKSUM | client_flag::TRUNCATED,
        Relaxed,
    );
    view(&ledger, index).csum_start.store(34, Relaxed);
    view(&ledger, index).csum_stuff.store(50, Relaxed);
    let good = ledger.take_back(index, ALICE).unwrap();
    let partial = good.offload().tx_checksum.unwrap();
    assert_eq!(
        (partial.start, partial.offset, good.is_truncated()),
        (34, 16, true)
    );
    drop(good);

    let index = ledger.loan(chain(&rig, 1), ALICE).unwrap();
    view(&ledger, index).seal.store(0, Relaxed);
    assert!(matches!(
        ledger.take_back(index, ALICE),
        Err(ReturnError::Forged)
    ));
    assert_eq!(ledger.purge(Some(ALICE)), (1, 1));

    let payload = Rig::new(on_demand(4).layer(Layer::Payload));
    let loans = payload.pool.ledger().unwrap();
    let index = loans.loan(payload.packet(0, b"x"), ALICE).unwrap();
    view(&loans, index).l2_len.store(14, Relaxed);
    assert_eq!(bad(&loans, index), ViewFault::Headroom);
    finish(payload, loans);
    finish(rig, ledger);
}

#[test]
fn b85_a_purge_takes_only_its_owners_loans() {
    let (rig, ledger) = rig();
    let hers = ledger.loan(chain(&rig, 3), ALICE).unwrap();
    let his = ledger.loan(chain(&rig, 2), BOB).unwrap();
    let lone = ledger
        .loan_buflet(rig.pool.alloc_buflet(true).unwrap(), BOB)
        .unwrap();
    assert_eq!(ledger.purge(Some(ALICE)), (1, 3));
    assert!(!ledger.has_packet(hers) && ledger.has_packet(his) && ledger.has_buflet(lone));
    assert_eq!(ledger.counts(), (1, 3));
    assert!(
        ledger
            .take_buflet_back(lone, BOB)
            .unwrap()
            .span()
            .is_large()
    );
    finish(rig, ledger);
}

#[test]
fn b86_a_purge_of_all_empties_the_ledger() {
    let (rig, ledger) = rig();
    for owner in [ALICE, BOB] {
        ledger.loan(chain(&rig, 2), owner).unwrap();
        ledger
            .loan_buflet(rig.pool.alloc_buflet(false).unwrap(), owner)
            .unwrap();
    }
    assert_eq!(ledger.purge(None), (2, 6));
    assert!(ledger.is_empty());
    rig.assert_idle();
    finish(rig, ledger);
}

#[test]
fn b87_the_final_release_reclaims_loans() {
    let (rig, ledger) = rig();
    ledger.loan(chain(&rig, 3), ALICE).unwrap();
    ledger
        .loan_buflet(rig.pool.alloc_buflet(false).unwrap(), BOB)
        .unwrap();
    let Rig { pool, dma, .. } = rig;
    drop(ledger);
    assert!(dma.live_segments() > 0);
    assert_eq!(
        pool.ledger().unwrap().counts(),
        (1, 4),
        "all handles share one ledger"
    );
    drop(pool);
    assert_eq!(dma.live_segments(), 0);
}

#[test]
fn b88_removing_an_unknown_lone_buflet_is_refused() {
    let (rig, ledger) = rig();
    assert!(matches!(
        ledger.take_buflet_back(3, ALICE),
        Err(ReturnError::Unknown)
    ));
    assert!(matches!(
        ledger.take_buflet_back(u32::MAX, ALICE),
        Err(ReturnError::Unknown)
    ));
    let lone = ledger
        .loan_buflet(rig.pool.alloc_buflet(false).unwrap(), ALICE)
        .unwrap();
    assert!(matches!(
        ledger.take_buflet_back(lone, BOB),
        Err(ReturnError::NotOwner)
    ));
    assert!(ledger.take_buflet_back(lone, ALICE).is_ok());
    assert!(matches!(
        ledger.take_buflet_back(lone, ALICE),
        Err(ReturnError::Unknown)
    ));
    finish(rig, ledger);
}

#[test]
fn b80_a_client_that_writes_while_the_packet_returns_harms_nobody() {
    let (rig, ledger) = rig();
    for round in 0..if cfg!(miri) { 5 } else { 200u32 } {
        let index = ledger.loan(chain(&rig, 3), ALICE).unwrap();
        let n = numbers(&ledger, index);
        std::thread::scope(|s| {
            s.spawn(|| {
                for i in 0..50u32 {
                    let p = view(&ledger, index);
                    p.next.store(n[(i + round) as usize % 3], Relaxed);
                    p.count.store((i * 7 + round) % 12, Relaxed);
                    let b = ledger.buflet_view(n[i as usize % 3]).unwrap();
                    b.next.store(n[(i + 1) as usize % 3], Relaxed);
                    b.doff.store(i.wrapping_mul(round), Relaxed);
                }
            });
            drop(ledger.take_back(index, ALICE));
        });
        ledger.purge(Some(ALICE));
        rig.assert_idle();
    }
    finish(rig, ledger);
}
