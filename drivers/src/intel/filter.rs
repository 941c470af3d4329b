//! Which frames a card hands over: its station addresses, hashed groups and virtual LANs (SDM 13.5,
//! 82574 10.2.5.17 to 10.2.5.21).
//!
//! Everything is in tables that may be written at any time, but for "all frames", which is in the
//! receive control register: that is written again only when it changes. A card may hand over more
//! than was asked, so broadcasts always pass.
#![forbid(unsafe_code)]

use super::bus::{RegisterBus, Typed};
use super::registers::*;
use crate::net::wishes::Wishes;
use crate::net::{MacAddr, RxFilter, VlanId};

/// EtherType of a VLAN tag.
const TAG: u32 = 0x8100;
/// Words of the tables of groups and virtual LANs.
const WORDS: usize = 128;

/// A table of single bits.
type Bits = [u32; WORDS];

/// All groups: what holds until somebody says which.
const ALL: Bits = [u32::MAX; WORDS];

/// Bits of receive control that `filter` asks for.
pub fn control(filter: Option<&RxFilter>) -> Rctl {
    let open = Rctl::UPE | Rctl::MPE;
    match filter {
        Some(filter) if filter.promiscuous || filter.stations.len() > OTHER_STATIONS => open,
        _ => Rctl::empty(),
    }
}

/// Writes all tables. The card is `mac` and hands over what `wishes` say.
pub(crate) fn program<B: RegisterBus>(bus: &B, mac: MacAddr, wishes: &Wishes) {
    own(bus, mac);
    tables(bus, wishes.filter.as_ref());
    let mut lans = [0; WORDS];
    for vlan in wishes.vlans.iter().chain(&wishes.joined) {
        set(&mut lans, vlan.get());
    }
    bus.set(VET, TAG);
    write(bus, VFTA, &lans);
}

/// Lets frames of a virtual LAN through, or no longer.
pub fn vlan<B: RegisterBus>(bus: &B, vlan: VlanId, admitted: bool) {
    let number = vlan.get();
    let Some(register) = VFTA.each().nth(usize::from(number / 32)) else {
        return; // cannot be: there is a bit for each number
    };
    let bit = 1 << (number % 32);
    bus.update(
        register,
        |word| {
            if admitted { word | bit } else { word & !bit }
        },
    );
}

/// Writes the card's own address.
pub fn own<B: RegisterBus>(bus: &B, mac: MacAddr) {
    station(bus, (RAL0, RAH0), Some(mac));
}

/// Writes what `filter` says of stations and groups.
pub fn tables<B: RegisterBus>(bus: &B, filter: Option<&RxFilter>) {
    let stations = filter.map_or(&[][..], |filter| &filter.stations);
    for (n, place) in others().enumerate() {
        station(bus, place, stations.get(n).copied());
    }
    let mut groups = ALL;
    if let Some(filter) = filter.filter(|filter| !filter.all_multicast) {
        groups = [0; WORDS];
        for group in &filter.groups {
            set(&mut groups, hash(*group));
        }
    }
    write(bus, MTA, &groups);
}

/// The registers of the other addresses, in pairs.
fn others() -> impl Iterator<Item = (Register<u32>, Register<Rah>)> {
    let lower = OTHER_LOWER.each();
    lower.zip(OTHER_UPPER.each().map(Register::cast))
}

fn station<B: RegisterBus>(
    bus: &B,
    (low, high): (Register<u32>, Register<Rah>),
    mac: Option<MacAddr>,
) {
    let Some(MacAddr([a, b, c, d, e, f])) = mac else {
        // The bit that says that it counts goes first.
        bus.set(high, Rah::empty());
        bus.set(low, 0);
        return;
    };
    bus.set(low, u32::from_le_bytes([a, b, c, d]));
    let upper = u32::from_le_bytes([e, f, 0, 0]);
    bus.set(high, Rah::from_bits_retain(upper) | Rah::AV);
}

/// The bit of a group: the upper twelve of its address, as receive control chooses with zero.
fn hash(group: MacAddr) -> u16 {
    let [.., e, f] = group.0;
    u16::from_le_bytes([e, f]) >> 4
}

fn set(bits: &mut Bits, number: u16) {
    bits[usize::from(number / 32) % WORDS] |= 1 << (number % 32);
}

fn write<B: RegisterBus>(bus: &B, table: Array, bits: &Bits) {
    for (register, word) in table.each().zip(bits) {
        bus.set(register, *word);
    }
    bus.get(STATUS); // some cards lose writes to the tables that follow too fast
}
