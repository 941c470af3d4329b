//! Which receive ring an 82574 or a card of the igb family puts a frame into (82574 7.1.2.10, 82576
//! 7.1.2.8), written from the card's side, and the hash of Microsoft's specification.

use super::intel::{IntelCard, at};

/// What goes into the hash, if anything does.
fn hashed(frame: &[u8]) -> Option<Vec<u8>> {
    let (addresses, protocol, ports) = match frame.get(12..14)? {
        [0x08, 0x00] => (26..34, 23, 34),
        [0x86, 0xdd] => (22..54, 20, 54),
        _ => return None,
    };
    let mut bytes = frame.get(addresses)?.to_vec();
    if frame.get(protocol) == Some(&6) {
        bytes.extend(frame.get(ports..ports + 4)?);
    }
    Some(bytes)
}

/// Toeplitz: each one bit of `bytes` adds the 32 bits of the key that begin at its place.
pub(crate) fn toeplitz(key: &[u8], bytes: &[u8]) -> u32 {
    let bit = |bytes: &[u8], n: usize| bytes[n / 8] >> (7 - n % 8) & 1 != 0;
    let window = |n: usize| (n..n + 32).fold(0, |word, n| word << 1 | u32::from(bit(key, n)));
    let ones = (0..8 * bytes.len()).filter(|&n| bit(bytes, n));
    ones.fold(0, |hash, n| hash ^ window(n))
}

impl IntelCard {
    /// The pair that `frame` is for.
    pub(crate) fn pair_of(&self, frame: &[u8]) -> u16 {
        let control = self.register(at::MRQC);
        let igb = self.family.is_igb();
        if control & 7 != if igb { 2 } else { 1 } {
            return 0;
        }
        // Without these it would not say what it hashed.
        assert!(self.is_extended(), "extended descriptors");
        assert_ne!(self.register(at::RXCSUM) & 1 << 13, 0, "PCSD");
        let both = if igb { 0b11_0111 } else { 0b1_0111 };
        assert_eq!(control >> 16, both, "TCP and IP of both versions");
        let words = |first: u16, count: u16| {
            let each = (0..count).map(move |n| self.register(first + 4 * n));
            each.flat_map(u32::to_le_bytes).collect::<Vec<_>>()
        };
        let (table, key) = (words(at::RETA, 32), words(at::RSSRK, 10));
        hashed(frame).map_or(0, |bytes| {
            let entry = table[toeplitz(&key, &bytes) as usize & 0x7f];
            if igb {
                assert!(entry < 2, "a queue that is not in use");
                return entry.into();
            }
            assert_eq!(entry & 0x7f, 0, "one bit says which");
            (entry >> 7).into()
        })
    }
}

/// The specification's own examples.
#[test]
fn hashes_are_those_of_the_specification() {
    const KEY: [u8; 40] = [
        0x6d, 0x5a, 0x56, 0xda, 0x25, 0x5b, 0x0e, 0xc2, 0x41, 0x67, 0x25, 0x3d, 0x43, 0xa3, 0x8f,
        0xb0, 0xd0, 0xca, 0x2b, 0xcb, 0xae, 0x7b, 0x30, 0xb4, 0x77, 0xcb, 0x2d, 0xa3, 0x80, 0x30,
        0xf2, 0x0c, 0x6a, 0x42, 0xb7, 0x3b, 0xbe, 0xac, 0x01, 0xfa,
    ];
    let mut bytes = vec![66, 9, 149, 187, 161, 142, 100, 80];
    assert_eq!(toeplitz(&KEY, &bytes), 0x323e_8fc2);
    bytes.extend([2794_u16, 1766].into_iter().flat_map(u16::to_be_bytes));
    assert_eq!(toeplitz(&KEY, &bytes), 0x51cc_c178);
}
