//! What a card does to a frame on its way out: completes its checksum, cuts it into segments.
//!
//! As Virtio says it (1.2, 5.1.6.2), and as hosts do it in software: the checksum field holds the sum
//! over the pseudo-header, with the length of the whole frame in it.
#![forbid(unsafe_code)]

use std::vec;
use std::vec::Vec;

use pbufpool::{GsoKind, Offload, PartialChecksum};
use smoltcp::wire::{Ipv4Packet, TcpPacket, TcpSeqNumber};

/// Bytes of an Ethernet header.
const ETHERNET: usize = 14;

/// The frames that leave the card for one that asked for `offload`.
pub(super) fn leave(frame: &[u8], offload: &Offload) -> Vec<Vec<u8>> {
    let mut frames = match offload.gso {
        None => vec![frame.to_vec()],
        Some(gso) => {
            assert_eq!(gso.kind, GsoKind::TcpV4, "the stack asks for no other kind");
            let partial = offload.tx_checksum.expect("cut frames need a checksum");
            let (header, payload) = frame.split_at(gso.header_len.into());
            let pieces = payload.chunks(gso.mss.into()).enumerate();
            let count = pieces.len();
            pieces
                .map(|(number, piece)| {
                    let segment = Segment {
                        number,
                        offset: number * usize::from(gso.mss),
                        is_last: number + 1 == count,
                    };
                    segment.make(header, piece, payload.len(), partial)
                })
                .collect()
        }
    };
    if let Some(partial) = offload.tx_checksum {
        for frame in &mut frames {
            complete(frame, partial);
        }
    }
    frames
}

/// A piece of a frame that is cut.
struct Segment {
    number: usize,
    /// Of its payload in the frame's.
    offset: usize,
    is_last: bool,
}

impl Segment {
    /// The segment with `piece`, whose sum is still partial.
    fn make(&self, header: &[u8], piece: &[u8], of: usize, partial: PartialChecksum) -> Vec<u8> {
        let mut frame = [header, piece].concat();
        let field = usize::from(partial.start + partial.offset);
        let tcp_header = header.len() - usize::from(partial.start);
        // The length of the whole frame gives way to the segment's in the pseudo-header's sum.
        let lengths = [!(tcp_header + of) as u16, (tcp_header + piece.len()) as u16];
        let sum = [word(&frame, field)].into_iter().chain(lengths);
        let sum = fold(sum.map(u32::from).sum());
        frame[field..field + 2].copy_from_slice(&sum.to_be_bytes());
        let length = frame.len() - ETHERNET;
        let mut ip = Ipv4Packet::new_unchecked(&mut frame[ETHERNET..]);
        ip.set_total_len(length as u16);
        ip.set_ident(ip.ident().wrapping_add(self.number as u16));
        ip.fill_checksum();
        let mut tcp = TcpPacket::new_unchecked(ip.payload_mut());
        tcp.set_seq_number(TcpSeqNumber(
            tcp.seq_number().0.wrapping_add(self.offset as i32),
        ));
        if !self.is_last {
            tcp.set_fin(false);
            tcp.set_psh(false);
        }
        frame
    }
}

/// Sums from the start on, the field's own content included, and puts the complement there.
fn complete(frame: &mut [u8], partial: PartialChecksum) {
    let (start, field) = (
        usize::from(partial.start),
        usize::from(partial.start + partial.offset),
    );
    let sum = frame[start..].chunks(2).map(|pair| {
        let low = pair.get(1).copied().unwrap_or(0);
        u32::from(u16::from_be_bytes([pair[0], low]))
    });
    let sum = !fold(sum.sum());
    frame[field..field + 2].copy_from_slice(&sum.to_be_bytes());
}

fn word(frame: &[u8], at: usize) -> u16 {
    u16::from_be_bytes([frame[at], frame[at + 1]])
}

/// A one's complement sum in 16 bits.
fn fold(mut sum: u32) -> u16 {
    while sum > 0xffff {
        sum = (sum >> 16) + (sum & 0xffff);
    }
    sum as u16
}
