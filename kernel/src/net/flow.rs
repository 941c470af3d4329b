//! A TCP flow's name: local and remote endpoint, and a keyed hash of the two.
//!
//! The classifier makes keys, the connection table looks them up. The hash is keyed by random words
//! drawn at boot and never shown, so that a client cannot choose endpoints that collide.
#![forbid(unsafe_code)]

use core::hash::{BuildHasher, Hash, Hasher};

use smoltcp::wire::{IpAddress, IpEndpoint};

/// Both ends of a TCP flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct FlowKey {
    /// Our end.
    pub local: IpEndpoint,
    /// The peer's end.
    pub remote: IpEndpoint,
}

impl Hash for FlowKey {
    fn hash<H: Hasher>(&self, state: &mut H) {
        // Two words for IPv4, five for IPv6: hashing is paid for every segment.
        let ports = u64::from(self.local.port) << 16 | u64::from(self.remote.port);
        match (self.local.addr, self.remote.addr) {
            (IpAddress::Ipv4(local), IpAddress::Ipv4(remote)) => {
                state.write_u64(u64::from(local.to_bits()) << 32 | u64::from(remote.to_bits()));
            }
            (local, remote) => {
                for end in [local, remote] {
                    match end {
                        IpAddress::Ipv4(address) => state.write_u64(address.to_bits().into()),
                        IpAddress::Ipv6(address) => {
                            let bits = address.to_bits();
                            state.write_u64((bits >> 64) as u64);
                            state.write_u64(bits as u64);
                        }
                    }
                }
            }
        }
        state.write_u64(ports);
    }
}

/// Makes the table's hashers, with this boot's key.
#[derive(Clone, Copy, Debug)]
pub(super) struct FlowHash {
    state: u64,
    factor: u64,
}

impl FlowHash {
    /// A hash keyed by two random words.
    pub(super) fn new(key: (u64, u64)) -> Self {
        // A factor with few bits set would spread nothing; even, it would lose bits with each word.
        let factor = fold(fold(key.0 ^ PI[0], PI[1]) ^ key.1, PI[2]);
        Self {
            state: key.0,
            factor: factor | 1,
        }
    }
}

/// The fraction of pi: words in which no pattern is hidden.
const PI: [u64; 3] = [
    0x243f_6a88_85a3_08d3,
    0x1319_8a2e_0370_7344,
    0xa409_3822_299f_31d0,
];

impl BuildHasher for FlowHash {
    type Hasher = FlowHasher;

    fn build_hasher(&self) -> FlowHasher {
        FlowHasher {
            state: self.state,
            factor: self.factor,
        }
    }
}

/// A hash of a few words, each mixed in by the product with a secret factor, both halves of which
/// count. A client knows neither of the two secrets, and sees nothing of what comes out.
#[derive(Clone, Copy, Debug)]
pub(super) struct FlowHasher {
    state: u64,
    factor: u64,
}

/// Both halves of a product, in one word.
fn fold(one: u64, other: u64) -> u64 {
    let product = u128::from(one) * u128::from(other);
    (product >> 64) as u64 ^ product as u64
}

impl Hasher for FlowHasher {
    fn write_u64(&mut self, word: u64) {
        self.state = fold(self.state ^ word, self.factor);
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u64((*byte).into());
        }
    }

    fn finish(&self) -> u64 {
        // The table takes its index from the lowest bits and its tag from the highest: once more,
        // so that each depends on all of the last word.
        fold(self.state, self.factor.rotate_left(32))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;
    use std::vec::Vec;

    use smoltcp::wire::{Ipv4Address, Ipv6Address};

    use super::*;

    fn flow(local: impl Into<IpAddress>, remote: impl Into<IpAddress>, port: u16) -> FlowKey {
        FlowKey {
            local: IpEndpoint::new(local.into(), 80),
            remote: IpEndpoint::new(remote.into(), port),
        }
    }

    /// Flows as a client can choose them: ports in a row, addresses in a row.
    fn flows() -> Vec<FlowKey> {
        let ours = Ipv4Address::new(10, 0, 0, 2);
        let ports = (0..4096).map(|n| flow(ours, Ipv4Address::new(10, 0, 0, 1), 1024 + n));
        let hosts = (0..4096_u16).map(|n| {
            let [high, low] = n.to_be_bytes();
            flow(ours, Ipv4Address::new(10, 1, high, low), 1024)
        });
        let ours = Ipv6Address::new(0xfe80, 0, 0, 0, 0, 0, 0, 2);
        let hosts_v6 =
            (0..4096).map(|n| flow(ours, Ipv6Address::new(0xfe80, 0, 0, 0, 0, 0, n, 1), 1024));
        ports.chain(hosts).chain(hosts_v6).collect()
    }

    #[test]
    fn flows_spread_over_lowest_and_highest_bits_whatever_the_key() {
        for key in [
            (0x2545_f491_4f6c_dd1d, 0x8ebc_6af0_9c88_c6e3),
            (0x9e37_79b9_7f4a_7c15, 0xd1b5_4a32_d192_ed03),
            (0, 0),
            (2, 3),
            (u64::MAX, 1 << 63),
        ] {
            let hash = FlowHash::new(key);
            let hashes: Vec<u64> = flows().iter().map(|flow| hash.hash_one(flow)).collect();
            let different: HashSet<_> = hashes.iter().collect();
            assert_eq!(different.len(), hashes.len(), "{key:x?}");
            // 12,288 balls in 128 bins: 96 in each, give or take 10.
            for shift in [0, 57] {
                let mut bins = [0; 128];
                for hash in &hashes {
                    bins[(hash >> shift) as usize & 127] += 1;
                }
                let most = bins.iter().max();
                assert!(
                    most.is_some_and(|most| *most < 160),
                    "{key:x?} {shift} {most:?}"
                );
            }
        }
    }

    #[test]
    fn the_key_decides() {
        let flow = flow(
            Ipv4Address::new(10, 0, 0, 2),
            Ipv4Address::new(10, 0, 0, 1),
            1,
        );
        let hash = |key| FlowHash::new(key).hash_one(flow);
        assert_eq!(hash((3, 5)), hash((3, 5)));
        assert_ne!(hash((3, 5)), hash((4, 5)));
        assert_ne!(hash((3, 5)), hash((3, 7)));
    }
}
