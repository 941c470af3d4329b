//! The device's end of the control queue, written from the specification (5.1.6.5): what a card
//! was told, and its answers.

use std::collections::{BTreeMap, BTreeSet};

use drivers::virtio::Features;

/// What a card does with its commands.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(crate) enum Manner {
    /// What it is told.
    #[default]
    Obeys,
    /// Nothing, and says so.
    Refuses,
    /// Nothing, and says nothing.
    Silent,
    /// Answers with this number.
    Answers(u8),
}

/// What a card was told since its last reset.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub(crate) struct Told {
    /// Switches of reception, by command.
    pub(crate) switches: BTreeMap<u8, bool>,
    /// Stations and groups.
    pub(crate) table: [Vec<[u8; 6]>; 2],
    /// The address.
    pub(crate) mac: Option<[u8; 6]>,
    /// Virtual LANs that are let through.
    pub(crate) vlans: BTreeSet<u16>,
    /// Announcements that were acknowledged.
    pub(crate) announced: usize,
    /// Queue pairs to use.
    pub(crate) pairs: Option<u16>,
    /// The indirection table.
    pub(crate) steering: Vec<u16>,
    /// Limits of interrupts, packets and microseconds: of what is sent, of what is received.
    pub(crate) moderation: [Option<(u32, u32)>; 2],
}

/// Reads from the front of a command.
struct Reader<'a>(&'a [u8]);

impl Reader<'_> {
    fn bytes<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (first, rest) = self.0.split_first_chunk::<N>()?;
        self.0 = rest;
        Some(*first)
    }

    fn word(&mut self) -> Option<u16> {
        self.bytes().map(u16::from_le_bytes)
    }

    fn double(&mut self) -> Option<u32> {
        self.bytes().map(u32::from_le_bytes)
    }

    fn addresses(&mut self) -> Option<Vec<[u8; 6]>> {
        let count = self.double()?;
        (0..count).map(|_| self.bytes()).collect()
    }
}

impl Told {
    /// Does as `command` says; `None` if it makes no sense, or was not `accepted`.
    pub(crate) fn obey(&mut self, command: &[u8], accepted: Features) -> Option<()> {
        let mut from = Reader(command);
        let [class, number] = from.bytes()?;
        let needed = match (class, number) {
            (0, 0 | 1) | (1, 0) => Features::CTRL_RX,
            (0, 2..=5) => Features::CTRL_RX_EXTRA,
            (1, 1) => Features::CTRL_MAC_ADDR,
            (2, 0 | 1) => Features::CTRL_VLAN,
            (3, 0) => Features::GUEST_ANNOUNCE,
            (4, 0) => Features::MQ,
            (4, 1) => Features::RSS,
            (6, 0 | 1) => Features::NOTF_COAL,
            _ => return None,
        };
        if !accepted.contains(needed) {
            return None;
        }
        match class {
            0 => {
                let [on] = from.bytes()?;
                self.switches.insert(number, on != 0);
            }
            1 if number == 0 => self.table = [from.addresses()?, from.addresses()?],
            1 => self.mac = Some(from.bytes()?),
            2 => {
                let id = from.word().filter(|id| *id < 4096)?;
                if number == 0 {
                    self.vlans.insert(id);
                } else {
                    self.vlans.remove(&id);
                }
            }
            3 => self.announced += 1,
            4 if number == 0 => self.pairs = from.word(),
            4 => self.steer(&mut from)?,
            _ => self.moderation[usize::from(number)] = Some((from.double()?, from.double()?)),
        }
        from.0.is_empty().then_some(())
    }

    fn steer(&mut self, from: &mut Reader<'_>) -> Option<()> {
        let types = from.double()?;
        let entries = usize::from(from.word()?) + 1;
        let _unclassified = from.word()?;
        let table = (0..entries).map(|_| from.word()).collect::<Option<_>>()?;
        self.pairs = from.word();
        let key = from.bytes::<1>()?;
        from.0 = from.0.get(usize::from(key[0])..)?;
        self.steering = table;
        (types != 0 && entries.is_power_of_two()).then_some(())
    }
}
