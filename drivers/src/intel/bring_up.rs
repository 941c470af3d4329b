//! Programming a card that was reset (SDM 14.3 to 14.5, 82574 4.6).
//!
//! Every register that matters is written: a reset clears them on some cards only. Receive comes
//! last, and its control register is written once.
#![forbid(unsafe_code)]

use super::bus::{RegisterBus, Typed};
use super::model::Family;
use super::registers::*;
use super::reset::Card;
use super::ring::DescriptorRing;
use super::rings::Pair;
use super::{filter, igb, interrupts, rss};
use crate::error::DriverError;
use crate::host::Host;
use crate::net::wishes::Wishes;
use crate::net::{MacAddr, VlanId};

/// Address, type and pause time of flow control frames, which are not used (SDM 13.4.7 to 13.4.10).
const FLOW_CONTROL: [(Register<u32>, u32); 6] = [
    (FCAL, 0x00c2_8001),
    (FCAH, 0x0100),
    (FCT, 0x8808),
    (FCTTV, 0),
    (FCRTL, 0),
    (FCRTH, 0),
];
/// Gaps between frames on copper: 8, 8 and 6 byte times more than the least.
pub(super) const GAPS: u32 = 8 | 8 << 10 | 6 << 20;
/// Longest frame that all cards take without [`Rctl::LPE`], without its check sequence.
const LONGEST: usize = 1518;
/// Sizes of a receive buffer that a card can be told, with the bits that say so.
const BUFFERS: [(u16, Rctl); 4] = [
    (16_384, Rctl::BSEX.union(Rctl::BSIZE_LOW)),
    (8_192, Rctl::BSEX.union(Rctl::BSIZE_HIGH)),
    (
        4_096,
        Rctl::BSEX.union(Rctl::BSIZE_LOW).union(Rctl::BSIZE_HIGH),
    ),
    (LEAST_BUFFER, Rctl::empty()),
];

/// Bytes that a receive buffer has at least.
pub const LEAST_BUFFER: u16 = 2_048;

/// The largest size that buffers of `bytes` bytes allow, if they are large enough at all.
pub fn buffer_size(bytes: usize) -> Option<u16> {
    let sizes = BUFFERS.iter().map(|&(size, _)| size);
    sizes.filter(|&size| usize::from(size) <= bytes).max()
}

/// Of an 8254x's 64 KiB, those for received frames: as after power-on, and with longer frames, so
/// that two of the longest to send fit the rest.
const RECEIVE_KIB: [u32; 2] = [48, 40];

/// Shares out the card's own memory. To be called before a reset, since only that makes it count. The
/// 82574 has enough for frames of any length each way as it is.
pub fn share_memory<B: RegisterBus>(card: &Card<B>, longest: usize) {
    if card.family() == Family::E8254x {
        let [usual, long] = RECEIVE_KIB;
        let kib = if longest > 8 * 1024 { long } else { usual };
        card.bus().set(PBA, kib);
    }
}

/// What a card is to be.
#[derive(Clone, Copy, Debug)]
pub struct Config<'a> {
    /// Its address.
    pub mac: MacAddr,
    /// Longest frame to receive, without its check sequence.
    pub longest: usize,
    /// Bytes of a receive buffer: one of [`buffer_size`]'s.
    pub buffer: u16,
    /// What is mixed into the hash that spreads frames over several pairs.
    pub rss_key: &'a [u8; rss::KEY],
    /// What the stack asked of it.
    pub(crate) wishes: &'a Wishes,
}

/// Polls of the EEPROM at most, 50 us apart.
const EEPROM_LOOKS: u32 = 2_000;

/// Reads word `word` of the EEPROM (SDM 5.3.1, 82574 10.2.2.4).
fn eeprom<B: RegisterBus>(card: &Card<B>, host: &dyn Host, word: u32) -> Option<u16> {
    const START: u32 = 1;
    let (done, shift) = match card.family() {
        Family::E8254x => (1 << 4, 8),
        _ => (1 << 1, 2),
    };
    card.bus().set(EERD, START | word << shift);
    for _ in 0..EEPROM_LOOKS {
        let answer = card.bus().get(EERD);
        if answer == u32::MAX {
            return None;
        }
        if answer & done != 0 {
            return Some((answer >> 16) as u16);
        }
        host.delay_us(50);
    }
    None
}

/// The card's address: what it loaded itself, or what is in its EEPROM.
///
/// # Errors
/// Neither can be the address of a station.
pub fn mac<B: RegisterBus>(card: &Card<B>, host: &dyn Host) -> Result<MacAddr, DriverError> {
    let (low, high) = (card.bus().get(RAL0), card.bus().get(RAH0));
    let [a, b, c, d] = low.to_le_bytes();
    let [e, f, ..] = high.bits().to_le_bytes();
    let loaded = MacAddr([a, b, c, d, e, f]);
    if high.contains(Rah::AV) && loaded.is_station() {
        return Ok(loaded);
    }
    if card.port() != 0 && card.family().is_igb() {
        // The first words of the EEPROM are about port 0.
        return Err(DriverError::BadMac(loaded.0));
    }
    let mut bytes = [0; 6];
    for (pair, word) in bytes.chunks_exact_mut(2).zip(0..) {
        let word = eeprom(card, host, word).ok_or(DriverError::BadMac(loaded.0))?;
        pair.copy_from_slice(&word.to_le_bytes());
    }
    let stored = MacAddr(bytes);
    if stored.is_station() {
        Ok(stored)
    } else {
        Err(DriverError::BadMac(bytes))
    }
}

/// Programs a card that was reset: it receives and sends when this returns, with interrupts masked.
/// The rings of `pairs` are empty and stay where they are until the next reset.
///
/// # Errors
/// The card does not do as it is told. It may have taken note of the rings.
pub fn program<B: RegisterBus>(
    card: &Card<B>,
    host: &dyn Host,
    pairs: &[Pair],
    config: &Config,
) -> Result<(), DriverError> {
    let bus = card.bus();
    link(card, config.wishes.joined);
    for (register, value) in FLOW_CONTROL {
        bus.set(register, value);
    }
    filter::program(bus, config.mac, config.wishes);
    bus.set(WUC, 0);
    bus.set(WUFC, 0);
    match card.family() {
        Family::E8254x => {}
        Family::E82574 => peculiarities(card, pairs.len()),
        Family::E82576 | Family::I350 | Family::I210 => igb::prepare(card, host),
    }
    interrupts::program(card, pairs.len());
    interrupts::moderate(card, config.wishes.moderation);
    if card.family().is_igb() {
        return igb::open(card, host, pairs, config);
    }
    transmit(card, pairs);
    receive(card, pairs, config);
    Ok(())
}

/// Link up, speed as the PHY finds it, no flow control: a pause frame stops nobody.
fn link<B: RegisterBus>(card: &Card<B>, vlan: Option<VlanId>) {
    let off = Ctrl::LRST | Ctrl::PHY_RST | Ctrl::ILOS | Ctrl::FRCSPD | Ctrl::FRCDPLX;
    let off = off | Ctrl::RFCE | Ctrl::TFCE | Ctrl::VME | Ctrl::RST | Ctrl::GIO_MASTER_DISABLE;
    let (on, off) = match card.family() {
        Family::E8254x => (Ctrl::SLU | Ctrl::ASDE, off),
        _ => (Ctrl::SLU, off | Ctrl::BIT_29),
    };
    card.bus()
        .update(CTRL, |ctrl| tags((ctrl | on) - off, vlan));
}

/// Has the card take tags off what it receives, and insert those that are asked for, in a virtual LAN.
pub fn tags(ctrl: Ctrl, vlan: Option<VlanId>) -> Ctrl {
    match vlan {
        Some(_) => ctrl | Ctrl::VME,
        None => ctrl - Ctrl::VME,
    }
}

/// What the 82574 needs to be told beyond its data sheet's start-up, as all its drivers do.
fn peculiarities<B: RegisterBus>(card: &Card<B>, pairs: usize) {
    let bus = card.bus();
    bus.update(GCR, |gcr| gcr | Gcr::BIT_22);
    let on = Tarc::COUNT_3 | Tarc::ENABLE | Tarc::BIT_26;
    let several = Tarc::COMPENSATION | Tarc::BITS_23_25;
    for pair in 0..card.family().pairs() {
        let on = match usize::from(pair) < pairs {
            true if pairs > 1 => on | several,
            true => on,
            false => Tarc::COUNT_3,
        };
        bus.update(TARC.of_pair(pair), |tarc| {
            (tarc - (Tarc::BITS_27_30 | several | Tarc::ENABLE)) | on
        });
    }
    bus.set(
        RFCTL,
        Rfctl::EXSTEN | Rfctl::IPV6_EX_DIS | Rfctl::NEW_IPV6_EXT_DIS,
    );
}

/// Shows the card a ring of pair `pair`, empty.
fn ring<B: RegisterBus>(bus: &B, pair: u16, ring: &DescriptorRing, registers: [Register<u32>; 5]) {
    let [low, high, len, head, tail] = registers.map(|register| register.of_pair(pair));
    let address = ring.address().as_u64();
    bus.set(low, address as u32);
    bus.set(high, (address >> 32) as u32);
    bus.set(len, ring.bytes());
    bus.set(head, 0);
    bus.set(tail, 0);
}

/// Shows the card the transmit ring of pair `number`.
pub(super) fn show_transmit<B: RegisterBus>(bus: &B, number: u16, pair: &Pair) {
    let registers = [TDBAL, TDBAH, TDLEN, TDH, TDT];
    ring(bus, number, pair.tx.descriptors(), registers);
}

/// Shows the card the receive ring of pair `number`.
pub(super) fn show_receive<B: RegisterBus>(bus: &B, number: u16, pair: &Pair) {
    let registers = [RDBAL, RDBAH, RDLEN, RDH, RDT];
    ring(bus, number, pair.rx.descriptors(), registers);
}

fn transmit<B: RegisterBus>(card: &Card<B>, pairs: &[Pair]) {
    let bus = card.bus();
    let thresholds = Thresholds::WRITE_BACK_1 | Thresholds::GRAN;
    let control = Tctl::EN | Tctl::PSP | Tctl::CT | Tctl::COLD | Tctl::RTLC;
    let (thresholds, control) = match card.family() {
        Family::E8254x => (thresholds, control),
        _ => (thresholds | Thresholds::COUNT_DESC, control | Tctl::MULR),
    };
    for (number, pair) in (0..).zip(pairs) {
        show_transmit(bus, number, pair);
        bus.set(TXDCTL.of_pair(number), thresholds);
    }
    bus.set(TIPG, GAPS);
    bus.set(TCTL, control);
}

fn receive<B: RegisterBus>(card: &Card<B>, pairs: &[Pair], config: &Config) {
    let bus = card.bus();
    for (number, pair) in (0..).zip(pairs) {
        show_receive(bus, number, pair);
        let thresholds = Thresholds::WRITE_BACK_1 | Thresholds::GRAN;
        bus.set(RXDCTL.of_pair(number), thresholds);
    }
    spread(card, pairs.len(), config);
    let size = BUFFERS.iter().find(|&&(size, _)| size == config.buffer);
    let size = size.map_or(Rctl::empty(), |&(_, bits)| bits);
    bus.set(RCTL, size | receive_control(config));
}

/// Has the card look at checksums, and spread frames over the pairs.
pub(super) fn spread<B: RegisterBus>(card: &Card<B>, pairs: usize, config: &Config) {
    let mut sums = Rxcsum::IPOFL | Rxcsum::TUOFL;
    if card.family().is_express() {
        rss::program(card, pairs, config.rss_key);
        if pairs > 1 {
            sums |= Rxcsum::PCSD;
        }
    }
    card.bus().set(RXCSUM, sums);
}

/// Receive control, but for the size of buffers.
pub(super) fn receive_control(config: &Config) -> Rctl {
    let mut control = filter::control(config.wishes.filter.as_ref());
    if config.longest > LONGEST {
        control |= Rctl::LPE;
    }
    control | Rctl::EN | Rctl::BAM | Rctl::VFE | Rctl::SECRC
}
