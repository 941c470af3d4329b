//! Commands of the control queue and their bytes (virtio 1.2, 5.1.6.5): a class, a command, and
//! what goes with it, little-endian.
#![forbid(unsafe_code)]

use alloc::vec::Vec;

use crate::net::{MacAddr, Moderation, VlanId};

/// Bytes of the key of a Toeplitz hash that is told to a device.
pub const RSS_KEY: usize = 40;

/// One command.
#[derive(Clone, Copy, Debug)]
pub(in super::super) enum Command<'a> {
    /// All frames (`CTRL_RX`).
    Promiscuous(bool),
    /// All frames for groups (`CTRL_RX`).
    AllMulticast(bool),
    /// No frames for groups (`CTRL_RX_EXTRA`).
    NoMulticast(bool),
    /// No frames for everybody (`CTRL_RX_EXTRA`).
    NoBroadcast(bool),
    /// Frames for these, besides the device's own address (`CTRL_RX`).
    AddressTable {
        stations: &'a [MacAddr],
        groups: &'a [MacAddr],
    },
    /// The device's own address (`CTRL_MAC_ADDR`).
    Address(MacAddr),
    /// Whether frames of a virtual LAN are let through (`CTRL_VLAN`).
    Vlan(VlanId, bool),
    /// What the device asked to be announced is (`GUEST_ANNOUNCE`).
    Announced,
    /// Queue pairs in use, the device steers (`MQ`).
    Pairs(u16),
    /// Queue pairs in use, a hash steers (`RSS`).
    Steering(Rss<'a>),
    /// Interrupts of what was sent (`NOTF_COAL`).
    ModerateTx(Moderation),
    /// Interrupts of what is received (`NOTF_COAL`).
    ModerateRx(Moderation),
}

/// How received frames are spread over queue pairs (5.1.6.5.7).
#[derive(Clone, Copy, Debug)]
pub(in super::super) struct Rss<'a> {
    /// What is hashed, a set of bits (5.1.6.4.3.1).
    pub(in super::super) hash_types: u32,
    /// Queue pairs.
    pub(in super::super) pairs: u16,
    /// Entries of the indirection table, a power of two.
    pub(in super::super) entries: u16,
    /// The key.
    pub(in super::super) key: &'a [u8; RSS_KEY],
}

impl Command<'_> {
    /// For messages.
    pub(in super::super) fn name(&self) -> &'static str {
        match self {
            Self::Promiscuous(_) => "promiscuous reception",
            Self::AllMulticast(_) => "reception of all groups",
            Self::NoMulticast(_) => "reception of no group",
            Self::NoBroadcast(_) => "reception without broadcasts",
            Self::AddressTable { .. } => "an address table",
            Self::Address(_) => "another hardware address",
            Self::Vlan(..) => "a VLAN filter",
            Self::Announced => "announcements",
            Self::Pairs(_) => "several queue pairs",
            Self::Steering(_) => "receive-side scaling",
            Self::ModerateTx(_) | Self::ModerateRx(_) => "interrupt moderation",
        }
    }

    /// What the device reads.
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        let mut put = |bytes: &[u8]| out.extend_from_slice(bytes);
        match *self {
            Self::Promiscuous(on) => put(&[0, 0, on.into()]),
            Self::AllMulticast(on) => put(&[0, 1, on.into()]),
            Self::NoMulticast(on) => put(&[0, 3, on.into()]),
            Self::NoBroadcast(on) => put(&[0, 5, on.into()]),
            Self::AddressTable { stations, groups } => {
                put(&[1, 0]);
                for table in [stations, groups] {
                    put(&(table.len() as u32).to_le_bytes());
                    table.iter().for_each(|address| put(&address.0));
                }
            }
            Self::Address(address) => {
                put(&[1, 1]);
                put(&address.0);
            }
            Self::Vlan(id, admitted) => {
                put(&[2, u8::from(!admitted)]);
                put(&id.get().to_le_bytes());
            }
            Self::Announced => put(&[3, 0]),
            Self::Pairs(pairs) => {
                put(&[4, 0]);
                put(&pairs.to_le_bytes());
            }
            Self::Steering(rss) => {
                put(&[4, 1]);
                put(&rss.hash_types.to_le_bytes());
                put(&rss.entries.wrapping_sub(1).to_le_bytes());
                put(&0_u16.to_le_bytes()); // what is not hashed goes to the first pair
                for entry in 0..rss.entries {
                    put(&(entry % rss.pairs.max(1)).to_le_bytes());
                }
                put(&rss.pairs.to_le_bytes());
                put(&[RSS_KEY as u8]);
                put(rss.key);
            }
            Self::ModerateTx(limits) | Self::ModerateRx(limits) => {
                put(&[6, u8::from(matches!(self, Self::ModerateRx(_)))]);
                // 1.2 has the packets first.
                put(&limits.max_packets.to_le_bytes());
                put(&limits.max_usecs.to_le_bytes());
            }
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: MacAddr = MacAddr([2, 0, 0, 0, 0, 1]);
    const B: MacAddr = MacAddr([3, 0, 0, 0, 0, 2]);

    #[test]
    fn switches_are_three_bytes() {
        assert_eq!(Command::Promiscuous(true).encode(), [0, 0, 1]);
        assert_eq!(Command::AllMulticast(false).encode(), [0, 1, 0]);
        assert_eq!(Command::NoMulticast(true).encode(), [0, 3, 1]);
        assert_eq!(Command::NoBroadcast(true).encode(), [0, 5, 1]);
    }

    #[test]
    fn an_address_table_is_two_lists_with_their_lengths() {
        let table = Command::AddressTable {
            stations: &[],
            groups: &[A, B],
        };
        let expected = [
            &[1, 0, 0, 0, 0, 0, 2, 0, 0, 0][..],
            &[2, 0, 0, 0, 0, 1, 3, 0, 0, 0, 0, 2],
        ];
        assert_eq!(table.encode(), expected.concat());
        assert_eq!(Command::Address(A).encode(), [1, 1, 2, 0, 0, 0, 0, 1]);
    }

    #[test]
    fn small_commands_are_little_endian() {
        let vlan = VlanId::new(0x123).unwrap();
        assert_eq!(Command::Vlan(vlan, true).encode(), [2, 0, 0x23, 1]);
        assert_eq!(Command::Vlan(vlan, false).encode(), [2, 1, 0x23, 1]);
        assert_eq!(Command::Announced.encode(), [3, 0]);
        assert_eq!(Command::Pairs(0x102).encode(), [4, 0, 2, 1]);
        let limits = Moderation {
            max_usecs: 3,
            max_packets: 7,
        };
        let tail = [7, 0, 0, 0, 3, 0, 0, 0];
        assert_eq!(Command::ModerateTx(limits).encode()[..2], [6, 0]);
        assert_eq!(Command::ModerateRx(limits).encode()[..2], [6, 1]);
        assert_eq!(Command::ModerateRx(limits).encode()[2..], tail);
    }

    #[test]
    fn steering_spreads_the_table_over_the_pairs() {
        let key = &[9; RSS_KEY];
        let rss = Rss {
            hash_types: 0x3f,
            pairs: 3,
            entries: 4,
            key,
        };
        let expected = [
            &[4, 1, 0x3f, 0, 0, 0, 3, 0, 0, 0][..],
            &[0, 0, 1, 0, 2, 0, 0, 0], // the table
            &[3, 0, 40],
            key,
        ];
        assert_eq!(Command::Steering(rss).encode(), expected.concat());
    }
}
