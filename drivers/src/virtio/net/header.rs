//! The header in front of each frame (virtio 1.2, 5.1.6), read and written as bytes: 12 of them, or
//! 10 with a legacy device that does not merge buffers.
//!
//! Received headers are claims: [`parse`] accepts only what was negotiated and lies inside the
//! frame.
#![forbid(unsafe_code)]

use pbufpool::{Gso, GsoKind, Offload, PartialChecksum, RxChecksum};

use crate::net::DropReason;
use crate::virtio::Features;

/// Bytes of the header, at most.
pub const HEADER_LEN: usize = 12;

/// Bytes of the header with these features: without `VERSION_1` the last field is there only if it
/// says something (5.1.6.1).
pub(super) fn len(features: Features) -> usize {
    if features.intersects(Features::VERSION_1 | Features::MRG_RXBUF) {
        HEADER_LEN
    } else {
        field::NUM_BUFFERS
    }
}

/// Longest frame that segmentation makes or leaves whole: an Ethernet header, and an IP packet of
/// the greatest length.
pub const MOST_FRAME: usize = 14 + 65_535;

/// What a device may write for one received frame, header included (5.1.6.3.1 asks for 65,562
/// bytes; a full IPv6 payload behind its header is longer).
pub const MOST_RECEIVED: usize = HEADER_LEN + 14 + 40 + 65_535;

/// The checksum is partial and has to be completed (5.1.6).
const NEEDS_CSUM: u8 = 1;
/// The device has checked the checksum.
const DATA_VALID: u8 = 2;

/// `gso_type`: what is to be cut, or was merged.
mod gso {
    pub(super) const TCPV4: u8 = 1;
    pub(super) const TCPV6: u8 = 4;
    /// Set beside one of the others.
    pub(super) const ECN: u8 = 0x80;
}

/// Offsets of the fields.
mod field {
    pub(super) const FLAGS: usize = 0;
    pub(super) const GSO_TYPE: usize = 1;
    pub(super) const HDR_LEN: usize = 2;
    pub(super) const GSO_SIZE: usize = 4;
    pub(super) const CSUM_START: usize = 6;
    pub(super) const CSUM_OFFSET: usize = 8;
    pub(super) const NUM_BUFFERS: usize = 10;
}

fn word(header: &[u8; HEADER_LEN], at: usize) -> u16 {
    u16::from_le_bytes([header[at], header[at + 1]])
}

/// How many buffers the device says that the frame fills. Without `MRG_RXBUF` the field says
/// nothing, and it is one (5.1.6.4).
#[inline(always)]
pub(super) fn buffers(header: &[u8; HEADER_LEN], features: Features) -> u16 {
    if features.contains(Features::MRG_RXBUF) {
        word(header, field::NUM_BUFFERS)
    } else {
        1
    }
}

/// Whether a received header says nothing: no segments, no checksum.
#[inline(always)]
pub(super) fn is_silent(header: &[u8; HEADER_LEN]) -> bool {
    header[field::FLAGS] | header[field::GSO_TYPE] == 0
}

/// Whether a received header says that the frame was merged of segments.
#[inline(always)]
pub(super) fn names_segments(header: &[u8; HEADER_LEN]) -> bool {
    header[field::GSO_TYPE] != 0
}

/// What a received header says of a frame of `frame_len` bytes.
///
/// # Errors
/// Why the frame is to be dropped.
#[inline]
pub(super) fn parse(
    header: &[u8; HEADER_LEN],
    frame_len: usize,
    features: Features,
) -> Result<(RxChecksum, Option<Gso>), DropReason> {
    let merged = if names_segments(header) {
        merged(header, frame_len, features)?
    } else {
        None
    };
    Ok((checksum(header, frame_len, features)?, merged))
}

/// What a received header says of the checksum of a frame of `frame_len` bytes.
///
/// # Errors
/// Why the frame is to be dropped.
#[inline(always)]
pub(super) fn checksum(
    header: &[u8; HEADER_LEN],
    frame_len: usize,
    features: Features,
) -> Result<RxChecksum, DropReason> {
    let flags = header[field::FLAGS];
    // Without GUEST_CSUM the flag has no meaning (5.1.6.4.2).
    let guest_csum = features.contains(Features::GUEST_CSUM);
    if flags & NEEDS_CSUM != 0 {
        let partial = PartialChecksum {
            start: word(header, field::CSUM_START),
            offset: word(header, field::CSUM_OFFSET),
        };
        let end = usize::from(partial.start) + usize::from(partial.offset) + 2;
        if !guest_csum || end > frame_len {
            return Err(DropReason::RxBadChecksum);
        }
        return Ok(RxChecksum::Partial(partial));
    }
    if guest_csum && flags & DATA_VALID != 0 {
        Ok(RxChecksum::Verified)
    } else {
        Ok(RxChecksum::Unverified)
    }
}

/// What a header that names segments says of them: only kinds that were negotiated, with a size.
fn merged(
    header: &[u8; HEADER_LEN],
    frame_len: usize,
    features: Features,
) -> Result<Option<Gso>, DropReason> {
    let said = header[field::GSO_TYPE];
    let (kind, needed) = match said & !gso::ECN {
        gso::TCPV4 => (GsoKind::TcpV4, Features::GUEST_TSO4),
        gso::TCPV6 => (GsoKind::TcpV6, Features::GUEST_TSO6),
        _ => return Err(DropReason::RxBadGso),
    };
    let marked = said & gso::ECN != 0;
    let mss = word(header, field::GSO_SIZE);
    // The length of the headers is a hint, which may be anything (5.1.6.4.2).
    let header_len = word(header, field::HDR_LEN).min(u16::try_from(frame_len).unwrap_or(u16::MAX));
    let allowed = features.contains(needed) && (!marked || features.contains(Features::GUEST_ECN));
    if !allowed || mss == 0 {
        return Err(DropReason::RxBadGso);
    }
    Ok(Some(Gso {
        kind,
        mss,
        header_len,
    }))
}

/// The header of a frame that asks for nothing.
pub(super) const PLAIN: [u8; HEADER_LEN] = [0; HEADER_LEN];

/// The header of a frame that asks for nothing, or for its checksum.
#[inline(always)]
pub(super) fn asking_for(checksum: Option<PartialChecksum>) -> [u8; HEADER_LEN] {
    let Some(PartialChecksum { start, offset }) = checksum else {
        return PLAIN;
    };
    let ([s, t], [o, p]) = (start.to_le_bytes(), offset.to_le_bytes());
    [NEEDS_CSUM, 0, 0, 0, 0, 0, s, t, o, p, 0, 0]
}

/// The header for a frame to be sent. `num_buffers` stays zero (5.1.6.2.1).
pub(super) fn build(offload: &Offload) -> [u8; HEADER_LEN] {
    let mut header = asking_for(offload.tx_checksum);
    // Each segment has its checksum from the device, too.
    if let (Some(_), Some(segments)) = (offload.tx_checksum, offload.gso) {
        let mut put =
            |at: usize, value: u16| header[at..][..2].copy_from_slice(&value.to_le_bytes());
        put(field::HDR_LEN, segments.header_len);
        put(field::GSO_SIZE, segments.mss);
        header[field::GSO_TYPE] = match segments.kind {
            GsoKind::TcpV4 => gso::TCPV4,
            GsoKind::TcpV6 => gso::TCPV6,
            GsoKind::Udp => 0, // not offered: refused before
        };
    }
    header
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: Features = Features::all();
    const NO_TSO: Features = ALL.difference(
        Features::GUEST_TSO4
            .union(Features::GUEST_TSO6)
            .union(Features::GUEST_ECN),
    );

    fn header(flags: u8, gso: u8, mss: u16, start: u16, offset: u16) -> [u8; HEADER_LEN] {
        let mut header = [0; HEADER_LEN];
        header[0] = flags;
        header[1] = gso;
        header[4..6].copy_from_slice(&mss.to_le_bytes());
        header[6..8].copy_from_slice(&start.to_le_bytes());
        header[8..10].copy_from_slice(&offset.to_le_bytes());
        header
    }

    #[test]
    fn what_was_not_negotiated_is_refused() {
        let no_csum = ALL - Features::GUEST_CSUM;
        for gso in [1, 4, 0x81] {
            let said = header(0, gso, 1448, 0, 0);
            assert_eq!(parse(&said, 60, NO_TSO), Err(DropReason::RxBadGso));
        }
        let marked = header(0, 0x81, 1448, 0, 0);
        let unmarked = ALL - Features::GUEST_ECN;
        assert_eq!(parse(&marked, 60, unmarked), Err(DropReason::RxBadGso));
        let partial = header(1, 0, 0, 34, 16);
        assert_eq!(parse(&partial, 60, no_csum), Err(DropReason::RxBadChecksum));
        let valid = header(2, 0, 0, 0, 0);
        assert_eq!(
            parse(&valid, 60, no_csum),
            Ok((RxChecksum::Unverified, None))
        );
    }

    #[test]
    fn segments_are_of_a_known_kind_and_size() {
        for (gso, kind) in [(1, GsoKind::TcpV4), (0x84, GsoKind::TcpV6)] {
            let said = header(2, gso, 1448, 0, 0);
            let gso = Gso {
                kind,
                mss: 1448,
                header_len: 0,
            };
            let expected = Ok((RxChecksum::Verified, Some(gso)));
            assert_eq!(parse(&said, 9000, ALL), expected);
        }
        for (gso, mss) in [(1, 0), (4, 0), (2, 9), (3, 9), (5, 9), (0x80, 9), (0xff, 9)] {
            let said = header(0, gso, mss, 0, 0);
            assert_eq!(parse(&said, 9000, ALL), Err(DropReason::RxBadGso), "{gso}");
        }
    }

    #[test]
    fn a_checksum_outside_the_frame_is_refused() {
        let inside = PartialChecksum {
            start: 34,
            offset: 24,
        };
        assert_eq!(
            parse(&header(1, 0, 0, 34, 24), 60, ALL),
            Ok((RxChecksum::Partial(inside), None))
        );
        for (start, offset) in [(34, 25), (0xffff, 0xffff)] {
            assert_eq!(
                parse(&header(1, 0, 0, start, offset), 60, ALL),
                Err(DropReason::RxBadChecksum)
            );
        }
    }

    #[test]
    fn the_number_of_buffers_counts_only_if_it_was_negotiated() {
        let mut said = [0; HEADER_LEN];
        said[10..].copy_from_slice(&7_u16.to_le_bytes());
        assert_eq!(buffers(&said, ALL), 7);
        assert_eq!(buffers(&said, ALL - Features::MRG_RXBUF), 1);
    }

    #[test]
    fn the_header_is_shorter_only_where_nothing_can_be_merged_before_virtio_1() {
        assert_eq!(len(Features::empty()), 10);
        assert_eq!(len(ALL - Features::VERSION_1 - Features::MRG_RXBUF), 10);
        assert_eq!(len(Features::VERSION_1), 12);
        assert_eq!(len(Features::MRG_RXBUF), 12);
    }

    #[test]
    fn a_header_says_what_the_packet_asks_for() {
        assert_eq!(build(&Offload::default()), [0; HEADER_LEN]);
        let partial = PartialChecksum {
            start: 34,
            offset: 16,
        };
        let mut offload = Offload {
            tx_checksum: Some(partial),
            ..Offload::default()
        };
        assert_eq!(build(&offload), header(1, 0, 0, 34, 16));
        assert_eq!(asking_for(None), [0; HEADER_LEN]);
        assert_eq!(asking_for(Some(partial)), build(&offload));
        offload.gso = Some(Gso {
            kind: GsoKind::TcpV6,
            mss: 1428,
            header_len: 74,
        });
        let mut expected = header(1, 4, 1428, 34, 16);
        expected[2] = 74;
        assert_eq!(build(&offload), expected);
    }
}
