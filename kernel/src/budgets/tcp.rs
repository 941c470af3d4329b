//! TCP clients on the far side of the card: just enough to keep connections of the stack busy.
//!
//! They answer only when told to, so a case decides what is on its way in each turn. Nothing is
//! lost on this wire, so nothing is sent again.
#![forbid(unsafe_code)]

use alloc::vec::Vec;

use kernel::net::test_frames as frames;
use smoltcp::wire::{EthernetFrame, Ipv4Packet, TcpControl, TcpPacket, TcpSeqNumber};

use super::card::Sent;
use super::rig::Rig;

/// Port of the first client.
const FIRST_PORT: u16 = 10_000;
/// Connections opened in one turn.
const AT_ONCE: usize = 32;
/// The window, and how far it is shifted.
const WINDOW: (u16, u8) = (u16::MAX, 7);

/// One connection, as the client sees it.
struct Client {
    service: u16,
    /// Number of the next byte to send.
    next: i32,
    /// Number of the next byte to come.
    expected: i32,
    /// Bytes that came and were not taken note of.
    came: usize,
    /// Segments that came since the last acknowledgement.
    unanswered: usize,
    /// The server has closed its side.
    finished: bool,
}

/// All clients of one rig.
#[derive(Default)]
pub(super) struct Clients(Vec<Client>);

impl Clients {
    /// Opens connections until there are `total`.
    pub(super) fn open(&mut self, rig: &mut Rig, service: u16, total: usize) {
        while self.0.len() < total {
            let from = self.0.len();
            self.begin(rig, service, AT_ONCE.min(total - from));
            rig.turn();
            self.take(rig.sent());
            for id in from..self.0.len() {
                assert_eq!(self.0[id].unanswered, 1, "SYN and ACK came");
                self.acknowledge(rig, id);
            }
            rig.turn();
        }
        self.take(rig.sent());
    }

    /// Sends the first segments of `count` more connections.
    pub(super) fn begin(&mut self, rig: &mut Rig, service: u16, count: usize) {
        for _ in 0..count {
            self.0.push(Client {
                service,
                next: 1000,
                expected: 0,
                came: 0,
                unanswered: 0,
                finished: false,
            });
            let id = self.0.len() - 1;
            self.segment(rig, id, TcpControl::Syn, &[], None);
        }
    }

    /// Takes note of what the stack sent; returns how many frames that were.
    pub(super) fn take(&mut self, sent: Vec<Sent>) -> usize {
        sent.iter().filter(|sent| self.note(&sent.head)).count()
    }

    fn note(&mut self, frame: &[u8]) -> bool {
        let frame = EthernetFrame::new_unchecked(frame);
        if frame.as_ref()[12..14] != [8, 0] {
            return false;
        }
        let ip = Ipv4Packet::new_unchecked(frame.payload());
        let tcp = TcpPacket::new_unchecked(&frame.payload()[usize::from(ip.header_len())..]);
        let id = usize::from(tcp.dst_port() - FIRST_PORT);
        let client = &mut self.0[id];
        assert!(!tcp.rst(), "a connection was reset");
        let len = usize::from(ip.total_len())
            - usize::from(ip.header_len())
            - usize::from(tcp.header_len());
        if tcp.syn() {
            client.expected = tcp.seq_number().0;
        }
        if len > 0 || tcp.syn() || tcp.fin() {
            assert_eq!(tcp.seq_number().0, client.expected, "nothing is sent twice");
            client.unanswered += 1;
            client.expected += len as i32 + i32::from(tcp.syn()) + i32::from(tcp.fin());
        }
        client.came += len;
        client.finished |= tcp.fin();
        true
    }

    /// Bytes that came to a client since this was last called.
    pub(super) fn came(&mut self, id: usize) -> usize {
        core::mem::take(&mut self.0[id].came)
    }

    /// Segments that came to a client since it last acknowledged.
    pub(super) fn unanswered(&self, id: usize) -> usize {
        self.0[id].unanswered
    }

    /// Whether the server has closed its side.
    pub(super) fn is_finished(&self, id: usize) -> bool {
        self.0[id].finished
    }

    /// Acknowledges what came.
    pub(super) fn acknowledge(&mut self, rig: &mut Rig, id: usize) {
        self.segment(rig, id, TcpControl::None, &[], None);
    }

    /// Sends `data`, as one frame merged of segments if `segment` says how long those were.
    pub(super) fn send(&mut self, rig: &mut Rig, id: usize, data: &[u8], segment: Option<u16>) {
        self.segment(rig, id, TcpControl::Psh, data, segment);
    }

    /// Closes the client's side.
    pub(super) fn finish(&mut self, rig: &mut Rig, id: usize) {
        self.segment(rig, id, TcpControl::Fin, &[], None);
    }

    fn segment(
        &mut self,
        rig: &mut Rig,
        id: usize,
        control: TcpControl,
        data: &[u8],
        merged: Option<u16>,
    ) {
        let client = &mut self.0[id];
        let opens = control == TcpControl::Syn;
        let frame = frames::tcp(|tcp| {
            tcp.src_port = FIRST_PORT + id as u16;
            tcp.dst_port = client.service;
            tcp.control = control;
            tcp.seq_number = TcpSeqNumber(client.next);
            tcp.ack_number = (!opens).then_some(TcpSeqNumber(client.expected));
            tcp.window_len = WINDOW.0;
            tcp.window_scale = opens.then_some(WINDOW.1);
            tcp.max_seg_size = opens.then_some(1460);
            tcp.payload = data;
        });
        let counts = matches!(control, TcpControl::Syn | TcpControl::Fin);
        client.next += data.len() as i32 + i32::from(counts);
        client.unanswered = 0;
        rig.receive(&frame, merged);
    }
}
