//! The Internet checksum (RFC 1071) over what every packet has: an IPv4 header, a pseudo-header. Their
//! words are few and their places known, so they are added without a loop; data is summed by smoltcp.
//!
//! Called by the classifier and by all that writes or completes a frame. The invariant: every sum here
//! is of fewer words than would overflow it.
#![forbid(unsafe_code)]

use smoltcp::wire::{IPV4_HEADER_LEN, IpProtocol, Ipv4Address};

/// Both addresses' words, added.
#[inline(always)]
pub(super) fn addresses(from: Ipv4Address, to: Ipv4Address) -> u32 {
    [from.to_bits(), to.to_bits()]
        .iter()
        .map(|bits| (bits >> 16) + (bits & 0xffff))
        .sum()
}

/// What the words of a sum come to with the carries added.
#[inline(always)]
pub(super) fn fold(sum: u32) -> u16 {
    let once = (sum >> 16) + (sum & 0xffff);
    ((once >> 16) + once) as u16
}

/// The sum over a pseudo-header (RFC 9293, 3.1), with which a checksum starts; `addresses` is what
/// [`addresses`] says of it.
#[inline(always)]
pub(super) fn pseudo_header(addresses: u32, protocol: IpProtocol, len: u16) -> u16 {
    fold(addresses + u32::from(u8::from(protocol)) + u32::from(len))
}

/// Whether the checksum of an IPv4 header without options is right.
#[inline(always)]
pub(super) fn is_sound(header: &[u8; IPV4_HEADER_LEN]) -> bool {
    let (words, _) = header.as_chunks::<4>();
    // The sum is in whatever order of bytes the machine has, and of longer words (RFC 1071, 2): adding
    // the carries keeps the remainder. It has to become all ones, which zeros alone do not.
    let sum: u64 = words
        .iter()
        .map(|word| u64::from(u32::from_ne_bytes(*word)))
        .sum();
    sum != 0 && sum.is_multiple_of(0xffff)
}

#[cfg(test)]
mod tests {
    use super::*;
    use smoltcp::wire::{Ipv4Packet, checksum};

    /// Words that look random.
    fn noise() -> impl Iterator<Item = u32> {
        let mut seed = 0x2545_f491_4f6c_dd1d_u64;
        core::iter::repeat_with(move || {
            seed ^= seed << 13;
            seed ^= seed >> 7;
            seed ^= seed << 17;
            (seed >> 16) as u32
        })
    }

    #[test]
    fn pseudo_headers_sum_up_as_smoltcp_has_it() {
        let mut noise = noise();
        let mut ends = [0, u32::MAX, 0xffff_0000, 0xffff, 1].into_iter();
        for _ in 0..10_000 {
            let mut next = || ends.next().or_else(|| noise.next()).unwrap_or(0);
            let [from, to] = [next(), next()].map(Ipv4Address::from_bits);
            let len = next() as u16;
            let ours = pseudo_header(addresses(from, to), IpProtocol::Udp, len);
            let theirs = checksum::pseudo_header_v4(&from, &to, IpProtocol::Udp, len.into());
            assert_eq!(ours, theirs, "{from} {to} {len}");
        }
    }

    #[test]
    fn a_header_is_sound_where_smoltcp_finds_it_so() {
        let mut noise = noise();
        let mut sound = 0;
        for round in 0..10_000_u32 {
            let mut header = [0; IPV4_HEADER_LEN];
            for word in header.as_chunks_mut::<4>().0 {
                *word = noise.next().unwrap_or(0).to_be_bytes();
            }
            header[0] = 0x45;
            let mut packet = Ipv4Packet::new_unchecked(&mut header[..]);
            packet.fill_checksum();
            let damage = (round % 21) as usize;
            if let Some(byte) = header.get_mut(damage) {
                *byte = byte.wrapping_add(noise.next().unwrap_or(0) as u8 & 3);
            }
            header[0] = 0x45;
            let expected = Ipv4Packet::new_unchecked(&header[..]).verify_checksum();
            assert_eq!(is_sound(&header), expected, "{header:?}");
            sound += u32::from(expected);
        }
        assert!((1000..9000).contains(&sound), "{sound}");
        assert!(!is_sound(&[0; IPV4_HEADER_LEN]));
        assert!(is_sound(&[0xff; IPV4_HEADER_LEN]));
    }
}
