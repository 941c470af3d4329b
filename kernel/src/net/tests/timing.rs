//! When segments leave: how much at once, and what time alone brings. The machine sleeps as long as the
//! stack allows, so a deadline that was told too late would show.
#![forbid(unsafe_code)]

use std::vec::Vec;

use smoltcp::time::{Duration, Instant};
use smoltcp::wire::{
    IPV6_LINK_LOCAL_ALL_NODES, Icmpv6Packet, IpProtocol, Ipv4Packet, Ipv6Address, TcpControl,
    TcpPacket, TcpSeqNumber,
};

use super::{Bench, Rest};
use crate::net::test_frames::{arp_request, ipv6, tcp};

/// Ports of the services.
const ECHO: u16 = 7;
const DISCARD: u16 = 9;

/// What the peer sees of a segment: the number of its first byte, and how many follow.
type Seen = (i32, usize);

fn seen(frame: &[u8]) -> Seen {
    let ip = Ipv4Packet::new_checked(&frame[14..]).unwrap();
    let segment = TcpPacket::new_checked(ip.payload()).unwrap();
    (segment.seq_number().0, segment.payload().len())
}

/// A peer with one connection.
struct Open {
    bench: Bench,
    port: u16,
    /// The number of its next byte, and of the next byte that it expects.
    next: i32,
    expected: i32,
}

impl Open {
    fn new(port: u16) -> Self {
        let mut bench = Bench::serving();
        let answer = bench.ask(tcp(|segment| segment.dst_port = port));
        let expected = seen(&answer[0]).0 + 1;
        let mut open = Self {
            bench,
            port,
            next: 1001,
            expected,
        };
        assert!(open.say(&[]).is_empty());
        open
    }

    /// Sends `data` with an acknowledgement of all that is expected to have come.
    fn say(&mut self, data: &[u8]) -> Vec<Seen> {
        let (next, expected) = (self.next, self.expected);
        self.next += data.len() as i32;
        let frame = tcp(|segment| {
            segment.dst_port = self.port;
            segment.control = TcpControl::None;
            segment.max_seg_size = None;
            segment.seq_number = TcpSeqNumber(next);
            segment.ack_number = Some(TcpSeqNumber(expected));
            segment.payload = data;
        });
        self.bench.wire.send(frame);
        self.turn()
    }

    /// Has the stack turn, and takes what it sends. Who is asked for the peer's hardware address says it.
    fn turn(&mut self) -> Vec<Seen> {
        self.bench.settle();
        let mut all = Vec::new();
        while let Some(frame) = self.bench.wire.receive() {
            match frame[12..14] {
                [8, 0] => all.push(seen(&frame)),
                [8, 6] if frame[21] == 1 => {
                    self.bench.wire.send(arp_request());
                    self.bench.settle();
                }
                _ => {}
            }
        }
        all
    }

    /// Sleeps, and turns when the stack wanted to be woken, until something is sent or `limit` is
    /// over. Returns what was sent, and how long it took.
    fn wait(&mut self, limit: Duration) -> (Vec<Seen>, Duration) {
        let from = self.bench.now;
        loop {
            let Rest::Until(wake) = self.bench.stack.rest() else {
                panic!("it came to rest before");
            };
            self.bench.now = wake.map_or(from + limit, |at: Instant| at.min(from + limit));
            let sent = self.turn();
            let slept = self.bench.now - from;
            if !sent.is_empty() || slept >= limit {
                return (sent, slept);
            }
        }
    }
}

/// Milliseconds that `slept` took; a wake-up may come a little late.
fn millis(slept: Duration) -> u64 {
    slept.total_millis()
}

#[test]
fn an_answer_within_the_initial_window_needs_no_acknowledgement() {
    let mut open = Open::new(ECHO);
    let first = open.expected;
    let segment = [0x55; 1400];
    let sent: Vec<Seen> = (0..3).flat_map(|_| open.say(&segment)).collect();
    assert_eq!(sent.iter().map(|(_, len)| len).sum::<usize>(), 4200);
    // What goes beyond waits for an acknowledgement of what is under way.
    assert!(open.say(&segment).iter().all(|(_, len)| *len == 0));
    open.expected = first + 4200;
    let sent = open.say(&[]);
    assert_eq!(sent, [(first + 4200, 1400)]);
}

#[test]
fn what_is_not_acknowledged_is_sent_again_when_its_time_has_come() {
    let mut open = Open::new(ECHO);
    let first = open.expected;
    // Some echoes that all goes well with, half a second apart.
    for n in 0..5 {
        assert_eq!(open.say(b"x"), [(first + n, 1)]);
        open.expected += 1;
        assert!(open.say(&[]).is_empty());
        assert_eq!(open.wait(Duration::from_millis(500)).0, []);
    }
    assert_eq!(open.say(b"y"), [(first + 5, 1)]);
    for after in [1000, 2000, 4000] {
        let (sent, slept) = open.wait(Duration::from_secs(10));
        assert_eq!((sent, millis(slept)), (Vec::from([(first + 5, 1)]), after));
    }
    open.expected += 1;
    assert!(open.say(&[]).is_empty());
    assert_eq!(open.wait(Duration::from_secs(30)).0, []);
}

#[test]
fn an_acknowledgement_that_nothing_carries_is_not_late() {
    let mut open = Open::new(DISCARD);
    for _ in 0..3 {
        assert!(open.say(b"x").is_empty());
        let (sent, slept) = open.wait(Duration::from_secs(1));
        assert_eq!((sent, millis(slept)), (Vec::from([(open.expected, 0)]), 10));
        open.wait(Duration::from_millis(700));
    }
}

/// Sends a byte that comes back, and sees the echo sent again twice for want of an acknowledgement.
fn assert_sent_again(open: &mut Open) {
    let first = open.expected;
    assert_eq!(open.say(b"x"), [(first, 1)]);
    for after in [1000, 2000] {
        let (sent, slept) = open.wait(Duration::from_secs(5));
        assert_eq!((sent, millis(slept)), (Vec::from([(first, 1)]), after));
    }
    open.expected += 1;
    assert!(open.say(&[]).is_empty());
}

/// IPv6 is on, and its solicitations are over after twelve seconds.
#[test]
fn routers_that_do_not_answer_keep_nobody_awake() {
    let mut open = Open::new(ECHO);
    for _ in 0..20 {
        // It comes to rest each time.
        open.wait(Duration::from_secs(1));
    }
    assert_sent_again(&mut open);
}

#[test]
fn a_router_with_nothing_to_offer_stops_no_timers() {
    let mut open = Open::new(ECHO);
    let router = Ipv6Address::new(0xfe80, 0, 0, 0, 0, 0, 0, 1);
    // A lifetime of zero: it is no default router; and no prefix.
    let mut advertisement = [134, 0, 0, 0, 64, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    Icmpv6Packet::new_unchecked(&mut advertisement[..])
        .fill_checksum(&router, &IPV6_LINK_LOCAL_ALL_NODES);
    let mut frame = ipv6(IpProtocol::Icmpv6, &advertisement);
    frame[..6].copy_from_slice(&[0x33, 0x33, 0, 0, 0, 1]);
    frame[21] = 255;
    frame[22..38].copy_from_slice(&router.octets());
    frame[38..54].copy_from_slice(&IPV6_LINK_LOCAL_ALL_NODES.octets());
    open.bench.ask(frame);
    assert_sent_again(&mut open);
}

#[test]
fn a_silent_peer_is_probed_and_given_up() {
    let mut open = Open::new(ECHO);
    let first = open.expected;
    assert_eq!(open.say(b"x"), [(first, 1)]);
    open.expected += 1;
    assert!(open.say(&[]).is_empty());
    for _ in 0..3 {
        let (sent, slept) = open.wait(Duration::from_secs(100));
        assert_eq!((sent, millis(slept)), (Vec::from([(first, 1)]), 60_000));
    }
    assert_eq!(open.bench.stack.core().tcp_open, 1);
    open.wait(Duration::from_secs(90));
    assert_eq!(open.bench.stack.core().tcp_open, 0);
}
