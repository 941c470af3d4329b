//! What remains of connections that have ended on both sides (TIME-WAIT): their names.
//!
//! Whoever closed first has to answer for a while, since its last acknowledgement may have been lost;
//! then the peer sends its FIN again. What is to be said then can be read off that segment, so a
//! connection's socket and buffers are free for the next one at once. The table keeps the names, oldest
//! first, gives segments of theirs to [`acknowledge`], and lets a SYN take a name over (RFC 9293, 3.6.1).
//!
//! Nothing wakes a core for them: those whose time is over are forgotten at the next occasion.
#![forbid(unsafe_code)]

use alloc::collections::VecDeque;

use smoltcp::phy::{ChecksumCapabilities, Device, RxToken, TxToken};
use smoltcp::time::{Duration, Instant};
use smoltcp::wire::{
    ETHERNET_HEADER_LEN, EthernetAddress, EthernetFrame, EthernetProtocol, EthernetRepr,
    HardwareAddress, IpAddress, IpProtocol, IpRepr, Ipv4Packet, Ipv6Packet, TcpControl, TcpPacket,
    TcpRepr,
};

use super::flows::{Flows, Owner};
use crate::net::core::Core;
use crate::net::device::{Frame, Port};
use crate::net::flow::Flow;

/// How long a name is kept: smoltcp's TIME-WAIT.
const WAIT: Duration = Duration::from_secs(10);
/// Names that are kept; beyond, the oldest goes.
const MOST: usize = 1024;
/// Hops that an answer may go, as smoltcp's frames.
const HOP_LIMIT: u8 = 64;

/// The names, oldest first.
#[derive(Default)]
pub(super) struct Ended {
    /// With the time until which each is kept.
    names: VecDeque<(Flow, Instant)>,
    /// Number of the first of them.
    first: u32,
}

impl Ended {
    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.names.len()
    }

    /// Keeps the name of `flow`, which is in `flows`. Returns whether an older one gave way.
    pub(super) fn keep(&mut self, flow: Flow, now: Instant, flows: &mut Flows) -> bool {
        let full = self.names.len() >= MOST || self.names.try_reserve(1).is_err();
        let gave_way = full && self.forget_first(flows);
        if full && !gave_way {
            flows.remove(&flow); // no memory, not even for its name
            return false;
        }
        let number = self.first.wrapping_add(self.names.len() as u32);
        flows.give(flow, Owner::Ended(number));
        self.names.push_back((flow, now + WAIT));
        gave_way
    }

    /// Whether the one with this number is to be answered for.
    pub(super) fn lasts(&self, number: u32, now: Instant) -> bool {
        let at = number.wrapping_sub(self.first) as usize;
        self.names.get(at).is_some_and(|(_, until)| *until > now)
    }

    /// Forgets those whose time is over.
    pub(super) fn expire(&mut self, now: Instant, flows: &mut Flows) {
        while self.names.front().is_some_and(|(_, until)| *until <= now) {
            self.forget_first(flows);
        }
    }

    fn forget_first(&mut self, flows: &mut Flows) -> bool {
        let Some((flow, _)) = self.names.pop_front() else {
            return false;
        };
        // It may be another connection's by now.
        flows.remove_from(Owner::Ended(self.first), &flow);
        self.first = self.first.wrapping_add(1);
        true
    }
}

/// Acknowledges `frame`, a segment of a connection that has ended, if it carries anything.
///
/// # Errors
/// The frame, if the NIC had no room for an answer: try again next turn.
pub(super) fn acknowledge<'f>(frame: Frame<'f>, core: &mut Core) -> Result<(), Frame<'f>> {
    let HardwareAddress::Ethernet(ours) = core.iface.hardware_addr();
    let checksums = core.link.checksums();
    let mut port = Port::receiving(&mut core.link, &mut core.counters, frame);
    let mut answered = 0;
    if let Some((segment, token)) = port.receive(core.now)
        && let Some(answer) = segment.consume(Answer::to)
    {
        token.consume(answer.len(), |bytes| answer.emit(ours, bytes, &checksums));
        answered = 1;
    }
    let result = port.take_back().map(drop);
    core.counters.tcp_answered_late += answered;
    result
}

/// An acknowledgement of all that a segment carries, to where it came from.
struct Answer {
    to: EthernetAddress,
    ip: IpRepr,
    tcp: TcpRepr<'static>,
}

impl Answer {
    /// The answer to a sound frame. None to a reset, which ends nothing any more (RFC 1337), and none
    /// to what carries nothing: two ends that answer acknowledgements would never stop.
    fn to(frame: &[u8]) -> Option<Self> {
        let frame = EthernetFrame::new_checked(frame).ok()?;
        let (peer, us, segment): (IpAddress, IpAddress, _) = match frame.ethertype() {
            EthernetProtocol::Ipv4 => {
                let ip = Ipv4Packet::new_checked(frame.payload()).ok()?;
                (ip.src_addr().into(), ip.dst_addr().into(), ip.payload())
            }
            EthernetProtocol::Ipv6 => {
                let ip = Ipv6Packet::new_checked(frame.payload()).ok()?;
                if ip.next_header() != IpProtocol::Tcp {
                    return None;
                }
                (ip.src_addr().into(), ip.dst_addr().into(), ip.payload())
            }
            _ => return None,
        };
        let segment = TcpPacket::new_checked(segment).ok()?;
        let carried = segment.segment_len();
        if segment.rst() || segment.syn() || !segment.ack() || carried == 0 {
            return None;
        }
        let tcp = TcpRepr {
            src_port: segment.dst_port(),
            dst_port: segment.src_port(),
            control: TcpControl::None,
            seq_number: segment.ack_number(),
            ack_number: Some(segment.seq_number() + carried),
            // For what else the peer may have to send again before its FIN.
            window_len: u16::MAX,
            window_scale: None,
            max_seg_size: None,
            sack_permitted: false,
            sack_ranges: [None; 3],
            timestamp: None,
            payload: &[],
        };
        let ip = IpRepr::new(us, peer, IpProtocol::Tcp, tcp.buffer_len(), HOP_LIMIT);
        let to = frame.src_addr();
        Some(Self { to, ip, tcp })
    }

    fn len(&self) -> usize {
        ETHERNET_HEADER_LEN + self.ip.buffer_len()
    }

    fn emit(&self, ours: EthernetAddress, bytes: &mut [u8], checksums: &ChecksumCapabilities) {
        let Self { to, ip, tcp } = self;
        let header = EthernetRepr {
            src_addr: ours,
            dst_addr: *to,
            ethertype: match ip {
                IpRepr::Ipv4(_) => EthernetProtocol::Ipv4,
                IpRepr::Ipv6(_) => EthernetProtocol::Ipv6,
            },
        };
        let mut frame = EthernetFrame::new_unchecked(bytes);
        header.emit(&mut frame);
        ip.emit(&mut *frame.payload_mut(), checksums);
        let segment = &mut frame.payload_mut()[ip.header_len()..];
        let mut segment = TcpPacket::new_unchecked(segment);
        tcp.emit(&mut segment, &ip.src_addr(), &ip.dst_addr(), checksums);
    }
}
