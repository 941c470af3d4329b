//! The 12-byte header in front of each frame (virtio 1.2, 5.1.6), read and written as bytes.
//!
//! Received headers are claims: [`parse`] accepts only what was negotiated and lies inside the
//! frame.
#![forbid(unsafe_code)]

use pbufpool::{Offload, PartialChecksum, RxChecksum};

use crate::net::DropReason;

/// Bytes of the header with `VERSION_1`.
pub const HEADER_LEN: usize = 12;

/// The checksum is partial and has to be completed (5.1.6).
const NEEDS_CSUM: u8 = 1;
/// The device has checked the checksum.
const DATA_VALID: u8 = 2;

/// Offsets of the fields.
mod field {
    pub(super) const FLAGS: usize = 0;
    pub(super) const GSO_TYPE: usize = 1;
    pub(super) const CSUM_START: usize = 6;
    pub(super) const CSUM_OFFSET: usize = 8;
}

fn word(header: &[u8; HEADER_LEN], at: usize) -> u16 {
    u16::from_le_bytes([header[at], header[at + 1]])
}

/// What a received header says of a frame of `frame_len` bytes. `guest_csum` says whether partial
/// checksums were negotiated.
///
/// # Errors
/// Why the frame is to be dropped.
pub(super) fn parse(
    header: &[u8; HEADER_LEN],
    frame_len: usize,
    guest_csum: bool,
) -> Result<RxChecksum, DropReason> {
    if header[field::GSO_TYPE] != 0 {
        return Err(DropReason::RxBadGso); // no segmentation offload is negotiated
    }
    let flags = header[field::FLAGS];
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
    // Without GUEST_CSUM the flag has no meaning (5.1.6.4.2).
    let valid = guest_csum && flags & DATA_VALID != 0;
    Ok(if valid {
        RxChecksum::Verified
    } else {
        RxChecksum::Unverified
    })
}

/// The header for a frame to be sent. `num_buffers` stays zero (5.1.6.2.1).
pub(super) fn build(offload: &Offload) -> [u8; HEADER_LEN] {
    let mut header = [0; HEADER_LEN];
    if let Some(partial) = offload.tx_checksum {
        header[field::FLAGS] = NEEDS_CSUM;
        header[field::CSUM_START..][..2].copy_from_slice(&partial.start.to_le_bytes());
        header[field::CSUM_OFFSET..][..2].copy_from_slice(&partial.offset.to_le_bytes());
    }
    header
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(flags: u8, gso: u8, start: u16, offset: u16) -> [u8; HEADER_LEN] {
        let mut header = [0; HEADER_LEN];
        header[0] = flags;
        header[1] = gso;
        header[6..8].copy_from_slice(&start.to_le_bytes());
        header[8..10].copy_from_slice(&offset.to_le_bytes());
        header
    }

    #[test]
    fn what_was_not_negotiated_is_refused() {
        assert_eq!(
            parse(&header(0, 1, 0, 0), 60, true),
            Err(DropReason::RxBadGso)
        );
        assert_eq!(
            parse(&header(1, 0, 34, 16), 60, false),
            Err(DropReason::RxBadChecksum)
        );
        assert_eq!(
            parse(&header(2, 0, 0, 0), 60, false),
            Ok(RxChecksum::Unverified)
        );
    }

    #[test]
    fn a_checksum_outside_the_frame_is_refused() {
        let inside = PartialChecksum {
            start: 34,
            offset: 24,
        };
        assert_eq!(
            parse(&header(1, 0, 34, 24), 60, true),
            Ok(RxChecksum::Partial(inside))
        );
        assert_eq!(
            parse(&header(1, 0, 34, 25), 60, true),
            Err(DropReason::RxBadChecksum)
        );
        assert_eq!(
            parse(&header(1, 0, 0xffff, 0xffff), 60, true),
            Err(DropReason::RxBadChecksum)
        );
    }

    #[test]
    fn a_header_says_what_the_packet_asks_for() {
        assert_eq!(build(&Offload::default()), [0; HEADER_LEN]);
        let partial = PartialChecksum {
            start: 34,
            offset: 16,
        };
        let offload = Offload {
            tx_checksum: Some(partial),
            ..Offload::default()
        };
        assert_eq!(build(&offload), header(1, 0, 34, 16));
    }
}
