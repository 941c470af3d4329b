//! What remains of connections that have ended: they take no memory but for their names, and their peers
//! still hear what they have to.
#![forbid(unsafe_code)]

use std::vec::Vec;

use smoltcp::time::Duration;
use smoltcp::wire::{Ipv4Packet, TcpControl, TcpPacket, TcpRepr, TcpSeqNumber};

use super::Bench;
use crate::net::test_frames::{OUR_V4, PEER_V4, tcp};

const HTTP: u16 = 80;
/// More than are kept in mind.
const MANY: u16 = 1100;

/// What the peer sees of a segment: its flags, and the two numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Seen {
    fin: bool,
    syn: bool,
    rst: bool,
    number: TcpSeqNumber,
    acknowledged: TcpSeqNumber,
    carried: usize,
}

fn seen(frame: &[u8]) -> Seen {
    let ip = Ipv4Packet::new_checked(&frame[14..]).unwrap();
    let segment = TcpPacket::new_checked(ip.payload()).unwrap();
    assert!(ip.verify_checksum());
    assert!(segment.verify_checksum(&OUR_V4.into(), &PEER_V4.into()));
    Seen {
        fin: segment.fin(),
        syn: segment.syn(),
        rst: segment.rst(),
        number: segment.seq_number(),
        acknowledged: segment.ack_number(),
        carried: segment.segment_len(),
    }
}

/// One end of a connection to the HTTP service.
struct Peer {
    port: u16,
    next: TcpSeqNumber,
    expected: TcpSeqNumber,
}

impl Peer {
    /// Sends a segment of its connection, as `change` has it, and returns what comes.
    fn say<'a>(&self, bench: &mut Bench, change: impl FnOnce(&mut TcpRepr<'a>)) -> Vec<Seen> {
        let frame = tcp(|segment| {
            segment.src_port = self.port;
            segment.dst_port = HTTP;
            segment.control = TcpControl::None;
            segment.max_seg_size = None;
            segment.seq_number = self.next;
            segment.ack_number = Some(self.expected);
            change(segment);
        });
        let answers = bench.ask(frame);
        // The stack looks for IPv6 routers, too.
        let ours = answers.iter().filter(|frame| frame[12..14] == [8, 0]);
        ours.map(|frame| seen(frame)).collect()
    }

    fn fin(&self, bench: &mut Bench) -> Vec<Seen> {
        self.say(bench, |segment| segment.control = TcpControl::Fin)
    }

    /// Has a page sent and its connection closed by the service, and closes it too, up to the FIN.
    fn served(bench: &mut Bench, port: u16) -> Self {
        let mut peer = Self {
            port,
            next: TcpSeqNumber(1000),
            expected: TcpSeqNumber(0),
        };
        let answer = peer.say(bench, |segment| {
            segment.control = TcpControl::Syn;
            segment.max_seg_size = Some(1460);
            segment.ack_number = None;
        });
        assert!(answer[0].syn);
        peer.next += 1;
        peer.expected = answer[0].number + 1;
        let request = b"GET /no HTTP/1.0\r\n\r\n";
        let answers = peer.say(bench, |segment| segment.payload = request);
        peer.next += request.len();
        let last = answers.last().unwrap();
        assert!(last.fin, "the service closes");
        peer.expected = last.number + last.carried;
        peer
    }

    /// The acknowledgement of its FIN.
    fn last(&self) -> Seen {
        Seen {
            fin: false,
            syn: false,
            rst: false,
            number: self.expected,
            acknowledged: self.next + 1,
            carried: 0,
        }
    }
}

/// Connections there are, and names of such as have ended.
fn there_are(bench: &Bench) -> (usize, usize) {
    let core = bench.stack.core();
    (core.tcp_open, core.tcp_ended)
}

#[test]
fn a_repeated_fin_is_acknowledged_until_the_wait_is_over() {
    let mut bench = Bench::serving();
    let peer = Peer::served(&mut bench, 2000);
    assert_eq!(there_are(&bench), (1, 0));
    assert_eq!(peer.fin(&mut bench), [peer.last()]);
    assert_eq!(there_are(&bench), (0, 1));

    // That was lost.
    bench.now += Duration::from_millis(300);
    assert_eq!(peer.fin(&mut bench), [peer.last()]);
    // So was what came before it, and there is more.
    let part = peer.say(&mut bench, |segment| {
        segment.seq_number = TcpSeqNumber(1001);
        segment.payload = &[0x55; 7];
    });
    assert_eq!(part.len(), 1);
    assert_eq!(part[0].acknowledged, TcpSeqNumber(1008));
    assert_eq!(bench.counters().tcp_answered_late, 2);

    // An acknowledgement asks for nothing, and a reset ends nothing.
    assert_eq!(peer.say(&mut bench, |_| {}), []);
    assert_eq!(
        peer.say(&mut bench, |segment| segment.control = TcpControl::Rst),
        []
    );
    assert_eq!(peer.fin(&mut bench), [peer.last()]);

    bench.now += Duration::from_secs(10);
    assert!(peer.fin(&mut bench)[0].rst, "nobody remembers");
    assert_eq!(there_are(&bench), (0, 0));
    bench.assert_at_rest();
}

#[test]
fn a_syn_takes_the_name_over() {
    let mut bench = Bench::serving();
    let peer = Peer::served(&mut bench, 2000);
    peer.fin(&mut bench);
    let again = Peer::served(&mut bench, 2000);
    assert_eq!(again.say(&mut bench, |_| {}), [], "all has come");
    assert_eq!(there_are(&bench), (1, 1));
    // The old name's end is not the new connection's.
    bench.now += Duration::from_secs(11);
    bench.settle();
    assert_eq!(there_are(&bench), (1, 0));
    assert_eq!(again.fin(&mut bench), [again.last()]);
    assert_eq!(again.fin(&mut bench), [again.last()]);
    assert_eq!(there_are(&bench), (0, 1));
    bench.assert_at_rest();
}

#[test]
fn of_too_many_the_oldest_is_forgotten() {
    let mut bench = Bench::serving();
    let peers: Vec<Peer> = (0..MANY)
        .map(|n| {
            let peer = Peer::served(&mut bench, 2000 + n);
            assert_eq!(peer.fin(&mut bench), [peer.last()]);
            peer
        })
        .collect();
    assert_eq!(there_are(&bench), (0, 1024));
    assert_eq!(bench.counters().tcp_recycled, u64::from(MANY) - 1024);
    let first = usize::from(MANY) - 1024;
    assert!(peers[first - 1].fin(&mut bench)[0].rst);
    assert_eq!(peers[first].fin(&mut bench), [peers[first].last()]);
    bench.assert_at_rest();
}

#[test]
fn without_room_for_an_answer_the_segment_waits() {
    let mut bench = Bench::serving();
    let peer = Peer::served(&mut bench, 2000);
    peer.fin(&mut bench);
    bench.wire.set_tx_room(0);
    assert_eq!(peer.fin(&mut bench), []);
    bench.wire.set_tx_room(64);
    bench.settle();
    assert_eq!(seen(&bench.wire.receive().unwrap()), peer.last());
    bench.assert_at_rest();
}
