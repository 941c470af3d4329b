//! A TCP flow's name: local and remote endpoint, and a keyed hash of the two.
//!
//! The classifier makes keys, the connection table looks them up. The hash is SipHash with a
//! key drawn at boot, so that a client cannot choose endpoints that collide. It is worked out once for
//! a segment, and stays with the connection.
#![forbid(unsafe_code)]

use core::hash::{Hash, Hasher};

use siphasher::sip::SipHasher13;
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
        // One or two words for IPv4, four and a bit for IPv6: hashing is paid for every segment.
        let ports = u32::from(self.local.port) << 16 | u32::from(self.remote.port);
        match (self.local.addr, self.remote.addr) {
            (IpAddress::Ipv4(local), IpAddress::Ipv4(remote)) => {
                state.write_u64(u64::from(local.to_bits()) << 32 | u64::from(remote.to_bits()));
            }
            (local, remote) => {
                for end in [local, remote] {
                    match end {
                        IpAddress::Ipv4(address) => state.write_u32(address.to_bits()),
                        IpAddress::Ipv6(address) => state.write(&address.octets()),
                    }
                }
            }
        }
        state.write_u32(ports);
    }
}

/// A flow with its hash.
#[derive(Clone, Copy, Debug)]
pub(super) struct Flow {
    /// Its name.
    pub key: FlowKey,
    /// The name's hash, by this boot's key.
    pub hash: u64,
}

/// Makes hashes, with this boot's key.
#[derive(Clone, Copy, Debug)]
pub(super) struct FlowHash {
    key: (u64, u64),
}

impl FlowHash {
    /// A hash keyed by two random words.
    pub(super) const fn new(key: (u64, u64)) -> Self {
        Self { key }
    }

    /// The flow of this name.
    pub(super) fn flow(&self, key: FlowKey) -> Flow {
        let mut hasher = SipHasher13::new_with_keys(self.key.0, self.key.1);
        key.hash(&mut hasher);
        Flow {
            key,
            hash: hasher.finish(),
        }
    }
}
