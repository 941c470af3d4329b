//! ARP for IPv4 over Ethernet (RFC 826).

use std::net::Ipv4Addr;

use super::{Mac, get16};

/// Operation: who has?
pub const REQUEST: u16 = 1;
/// Operation: it is at.
pub const REPLY: u16 = 2;

/// One ARP message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arp {
    /// [`REQUEST`] or [`REPLY`].
    pub operation: u16,
    /// Sender, hardware address.
    pub sender_mac: Mac,
    /// Sender, IPv4 address.
    pub sender: Ipv4Addr,
    /// Target, hardware address; zero in a request.
    pub target_mac: Mac,
    /// Target, IPv4 address.
    pub target: Ipv4Addr,
}

impl Arp {
    /// The message as an Ethernet payload.
    pub fn bytes(&self) -> Vec<u8> {
        let mut bytes = vec![0, 1, 0x08, 0x00, 6, 4];
        bytes.extend(self.operation.to_be_bytes());
        bytes.extend(self.sender_mac);
        bytes.extend(self.sender.octets());
        bytes.extend(self.target_mac);
        bytes.extend(self.target.octets());
        bytes
    }

    /// Reads an Ethernet payload.
    pub fn parse(bytes: &[u8]) -> Option<Arp> {
        if bytes.get(..6)? != [0, 1, 0x08, 0x00, 6, 4] {
            return None;
        }
        let address = |at: usize| -> Option<Ipv4Addr> {
            Some(<[u8; 4]>::try_from(bytes.get(at..at + 4)?).ok()?.into())
        };
        Some(Arp {
            operation: get16(bytes, 6)?,
            sender_mac: bytes.get(8..14)?.try_into().ok()?,
            sender: address(14)?,
            target_mac: bytes.get(18..24)?.try_into().ok()?,
            target: address(24)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_arp_message_survives_the_wire() {
        let arp = Arp {
            operation: REQUEST,
            sender_mac: [2, 0, 0, 0, 0, 9],
            sender: Ipv4Addr::new(10, 7, 0, 9),
            target_mac: [0; 6],
            target: Ipv4Addr::new(10, 7, 0, 2),
        };
        assert_eq!(arp.bytes().len(), 28);
        assert_eq!(Arp::parse(&arp.bytes()), Some(arp));
        assert_eq!(Arp::parse(&arp.bytes()[..27]), None);
    }
}
