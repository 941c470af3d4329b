//! How a card interrupts: where to, for what, and how often (SDM 13.4.17 to 13.4.22, 82574 7.4,
//! I210 7.3).
//!
//! The driver speaks of [`Events`]; here they become causes of one register with a line, causes with
//! vectors of their own on an 82574, and vectors on a card of the igb family. The invariant: what was
//! not unmasked since the last interrupt does not interrupt.
#![forbid(unsafe_code)]

use bitflags::bitflags;

use super::bus::{RegisterBus, Typed};
use super::model::Family;
use super::registers::*;
use super::reset::Card;
use crate::net::{Moderation, QueueId};

/// Microseconds between two interrupts at least: 20,000 a second. The driver masks them while it
/// runs, so this bounds only a load that lets it sleep between any two frames.
const MODERATION_US: u32 = 50;
/// igb: none. Vectors that mask themselves need no bound (I210 7.3.8), and under one emulation each
/// interval ends in an interrupt, wanted or not, which halves the speed of a ping-pong.
const IGB_MODERATION_US: u32 = 0;
/// Nanoseconds of a step of `ITR`.
const STEP_NS: u64 = 256;
/// Most steps.
const MOST_STEPS: u64 = u16::MAX as u64;
/// igb: most microseconds.
const MOST_US: u32 = 0x1fff;
/// igb: where the microseconds begin in `EITR`.
const US_SHIFT: u32 = 2;
/// igb: the time that runs is left alone.
const KEEP_COUNTING: u32 = 1 << 31;
/// Pairs at most, of any card.
const PAIRS: u16 = 2;

bitflags! {
    /// What a core may sleep for.
    #[derive(Clone, Copy, PartialEq, Eq, Debug)]
    pub struct Events: u8 {
        /// Frames came in on pair 0, or were lost for want of buffers.
        const RECEIVED_0 = 1;
        /// Frames were sent on pair 0, which makes room.
        const ROOM_0 = 1 << 1;
        /// Frames came in on pair 1.
        const RECEIVED_1 = 1 << 2;
        /// Frames were sent on pair 1.
        const ROOM_1 = 1 << 3;
    }
}

impl Events {
    /// Frames on one pair, and `room` in its transmit ring if somebody waits for that.
    pub fn of(queue: QueueId, room: bool) -> Self {
        let both = Self::RECEIVED_0 | Self::ROOM_0;
        let wanted = if room { both } else { Self::RECEIVED_0 };
        Self::from_bits_truncate(wanted.bits() << (2 * queue.0.min(PAIRS - 1)))
    }

    /// Frames on any pair, and room.
    const RECEIVED: Self = Self::RECEIVED_0.union(Self::RECEIVED_1);
    const ROOM: Self = Self::ROOM_0.union(Self::ROOM_1);
}

/// Who interrupted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Source {
    /// This card.
    Ours,
    /// Another device on its line.
    Another,
    /// The card is gone.
    Gone,
}

/// Says where interrupts of so many pairs go. All of them stay masked.
pub fn program<B: RegisterBus>(card: &Card<B>, pairs: usize) {
    let bus = card.bus();
    match card.family() {
        Family::E8254x => no_delays(bus),
        Family::E82574 => {
            no_delays(bus);
            program_82574(card, pairs);
        }
        Family::E82576 | Family::I350 | Family::I210 => program_igb(card, pairs),
    }
}

/// Nothing waits but for the least time between interrupts.
fn no_delays<B: RegisterBus>(bus: &B) {
    for delay in [RDTR, RADV, TIDV, TADV] {
        bus.set(delay, 0);
    }
}

/// 82574: the vectors of the rings of `pairs` pairs, all valid: each pair has its own, if there are as
/// many.
fn route_82574(pairs: usize, vectors: u16) -> u32 {
    const VALID: u32 = 1 << 3;
    (0..pairs as u16).fold(0, |route, pair| {
        let vector = VALID | u32::from(pair.min(vectors - 1));
        route | vector << (4 * pair) | vector << (8 + 4 * pair)
    })
}

fn program_82574<B: RegisterBus>(card: &Card<B>, pairs: usize) {
    let bus = card.bus();
    let (on, off) = (
        CtrlExt::BIT_22 | CtrlExt::DRV_LOAD,
        CtrlExt::BIT_23 | CtrlExt::IAME,
    );
    let msix = CtrlExt::PBA_CLR | CtrlExt::EIAME;
    bus.update(CTRL_EXT, |ext| {
        let ext = (ext | on) - off;
        if card.has_msix() {
            ext | msix
        } else {
            ext - msix
        }
    });
    // A vector that is sent clears its causes and masks them.
    let (vectors, route) = match card.vectors() {
        0 => (Causes::empty(), 0),
        vectors => (Causes::VECTORS, route_82574(pairs, vectors)),
    };
    bus.set(IVAR, route);
    bus.set(EIAC, vectors);
    bus.set(IAM, vectors);
}

/// igb: the vector of an event by its number, which is that of its bit: each has its own, if there
/// are as many.
fn vector_of<B: RegisterBus>(card: &Card<B>, event: u16) -> u16 {
    event.min(card.vectors().max(1) - 1)
}

/// igb: what is written of the vectors of all pairs, for each register.
fn route_igb<B: RegisterBus>(card: &Card<B>, pairs: usize) -> [u32; PAIRS as usize] {
    const VALID: u32 = 1 << 7;
    let mut route = [0; PAIRS as usize];
    for pair in 0..pairs.min(PAIRS.into()) {
        let vector = |event| VALID | u32::from(vector_of(card, 2 * pair as u16 + event));
        let both = vector(0) | vector(1) << 8;
        if card.family() == Family::E82576 {
            route[pair] = both;
        } else {
            route[0] |= both << (16 * pair);
        }
    }
    route
}

fn program_igb<B: RegisterBus>(card: &Card<B>, pairs: usize) {
    let bus = card.bus();
    bus.update(CTRL_EXT, |ext| ext | CtrlExt::DRV_LOAD);
    let (mode, vectors) = if card.has_msix() {
        let mode = igb::Gpie::MULTIPLE_MSIX | igb::Gpie::EIAME | igb::Gpie::PBA;
        (mode, vectors(card, Events::all()))
    } else {
        (igb::Gpie::empty(), igb::Vectors::empty())
    };
    // The mode first: it is what gives the others their meaning.
    bus.set(igb::GPIE, mode);
    // With a line this leads to bits that stay masked; one emulation wants it all the same.
    for (register, route) in igb::IVAR.each().zip(route_igb(card, pairs)) {
        bus.set(register, route);
    }
    bus.set(igb::EIAC, vectors);
    bus.set(igb::EIAM, vectors);
    bus.set(IAM, Causes::empty());
}

/// Says how far apart interrupts are.
pub fn moderate<B: RegisterBus>(card: &Card<B>, limits: Option<Moderation>) {
    let bus = card.bus();
    let asked = limits.map(|limits| limits.max_usecs);
    if card.family().is_igb() {
        let us = asked.unwrap_or(IGB_MODERATION_US).min(MOST_US);
        for vector in igb::EITR.each() {
            bus.set(vector, us << US_SHIFT | KEEP_COUNTING);
        }
        return;
    }
    let us = asked.unwrap_or(MODERATION_US);
    let steps = (u64::from(us) * 1000 / STEP_NS).min(MOST_STEPS) as u32;
    bus.set(ITR, steps);
    if card.family() == Family::E82574 {
        for vector in EITR.each().take(card.vectors().max(1).into()) {
            bus.set(vector, steps);
        }
    }
}

/// Has `events` interrupt, those that are pending at once.
pub fn unmask<B: RegisterBus>(card: &Card<B>, events: Events) {
    if own_vectors(card) {
        card.bus().set(igb::EIMS, vectors(card, events));
    } else {
        card.bus().set(IMS, causes(card, events));
    }
}

/// Makes `events` pending though there are none.
pub fn raise<B: RegisterBus>(card: &Card<B>, events: Events) {
    if own_vectors(card) {
        card.bus().set(igb::EICS, vectors(card, events));
    } else {
        card.bus().set(ICS, causes(card, events));
    }
}

/// Masks everything.
pub fn mask_all<B: RegisterBus>(bus: &B, family: Family) {
    bus.set(IMC, Causes::all());
    if family.is_igb() {
        bus.set(igb::EIMC, igb::Vectors::all());
    }
}

/// Takes note of an interrupt: everything is masked after it.
pub fn acknowledge<B: RegisterBus>(card: &Card<B>) -> Source {
    if own_vectors(card) {
        // The vector that was sent has masked itself, but in one emulation.
        card.bus().set(igb::EIMC, igb::Vectors::all());
        return Source::Ours;
    }
    if card.has_msix() {
        return Source::Ours;
    }
    // All masked, reading clears all causes on every card (82574 10.2.4.1, I210 8.8.17).
    card.bus().set(IMC, Causes::all());
    let causes = card.bus().get(ICR);
    if causes.bits() == u32::MAX {
        Source::Gone
    } else if causes.is_empty() {
        Source::Another
    } else {
        Source::Ours
    }
}

/// Whether each ring has a vector, with a mask of its own.
fn own_vectors<B: RegisterBus>(card: &Card<B>) -> bool {
    card.has_msix() && card.family().is_igb()
}

fn vectors<B: RegisterBus>(card: &Card<B>, events: Events) -> igb::Vectors {
    let of = (0..2 * PAIRS).filter(|event| events.bits() >> event & 1 != 0);
    let bits = of.fold(0, |bits, event| bits | 1 << vector_of(card, event));
    igb::Vectors::from_bits_retain(bits)
}

fn causes<B: RegisterBus>(card: &Card<B>, events: Events) -> Causes {
    let mut causes = Causes::empty();
    let mut add = |event, cause| {
        if events.intersects(event) {
            causes |= cause;
        }
    };
    if card.has_msix() {
        add(Events::RECEIVED_0, Causes::RXQ0);
        add(Events::RECEIVED_1, Causes::RXQ1);
        add(Events::ROOM_0, Causes::TXQ0);
        add(Events::ROOM_1, Causes::TXQ1);
    } else {
        let receive = Causes::RXT0 | Causes::RXO | Causes::RXDMT0;
        add(Events::RECEIVED, receive);
        add(Events::ROOM, Causes::TXDW);
    }
    causes
}
