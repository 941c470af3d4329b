//! A whole stack on a card made of memory, turned turn by turn, with its instructions counted.
//!
//! The cases make one rig each, so that none sees what another left behind. Time is a number that
//! grows by the same step each turn: nothing here depends on the clock, nor on the host.
#![forbid(unsafe_code)]

use alloc::boxed::Box;
use alloc::vec::Vec;

use drivers::virtio::Features;
use kernel::config::Config;
use kernel::net::test_frames::{self as frames, OUR_MAC};
use kernel::net::{Interrupts, Memory, Naps, Rest, Stack, System};
use smoltcp::time::{Duration, Instant};

use super::card::{Card, Sent, card};
use crate::arch::time;
use crate::nic::{self, Nic};

/// Time between two turns.
const STEP: Duration = Duration::from_micros(50);

/// The stack's command line.
const CONFIG: &[u8] = b"ip=10.0.0.2/24 services=all";

/// What the cards offer, besides what each does.
const EVERY: Features = Features::EVENT_IDX.union(Features::MRG_RXBUF);

/// A card on a tap without offloads.
pub(super) const PLAIN: Features = EVERY;

/// A card that sums, cuts and merges, as QEMU offers it on a tap.
pub(super) const OFFLOADS: Features = EVERY
    .union(Features::CSUM)
    .union(Features::GUEST_CSUM)
    .union(Features::HOST_TSO4)
    .union(Features::GUEST_TSO4);

/// A machine with this many bytes of heap left, whatever was taken: it decides how large the buffers
/// of connections are.
pub(super) struct Free(usize);

/// Buffers of 64 KiB.
pub(super) static ROOMY: Free = Free(64 << 20);
/// Buffers of 4 KiB, so that 10,000 connections fit a small machine.
pub(super) static TIGHT: Free = Free(512 << 10);

impl System for Free {
    fn memory(&self) -> Memory {
        Memory {
            heap_free_bytes: self.0,
            ..Memory::default()
        }
    }

    fn interrupts(&self) -> Interrupts {
        Interrupts::default()
    }

    fn naps(&self) -> Naps {
        Naps::default()
    }
}

/// A running NIC and its card.
pub(super) fn start(offers: Features) -> (Config, Nic, Card) {
    let config = Config::parse(CONFIG).expect("a sound command line");
    let (card, registers) = card(OUR_MAC, offers);
    match nic::on_transport(registers, &config) {
        Ok(nic) => (config, nic, card),
        Err(why) => panic!("{why}"),
    }
}

/// The instructions that `work` takes, with what the counting itself takes.
fn between(work: impl FnOnce()) -> u64 {
    let before = time::ticks();
    work();
    time::ticks() - before
}

/// The instructions that `work` takes. Under `-icount shift=0` the time-stamp counter counts them.
pub(super) fn count(work: impl FnOnce()) -> u64 {
    between(work).saturating_sub(between(|| {}))
}

/// A stack and what it is plugged into.
pub(super) struct Rig {
    stack: Box<Stack>,
    card: Card,
    now: Instant,
}

impl Rig {
    /// A stack that knows its peer.
    pub(super) fn new(offers: Features, system: &'static Free) -> Self {
        let (config, Nic { device, pools, .. }, card) = start(offers);
        let now = Instant::from_secs(1);
        let stack = Stack::new(&config, device, pools, system, [1, 2, 3], now);
        let mut rig = Self { stack, card, now };
        rig.turn();
        rig.receive(&frames::arp_request(), None);
        rig.turn();
        rig.sent();
        rig
    }

    /// Puts a frame into the receive ring.
    pub(super) fn receive(&mut self, frame: &[u8], segment: Option<u16>) {
        self.card.receive(frame, segment);
    }

    /// Turns the stack once; returns how many instructions that took.
    pub(super) fn turn(&mut self) -> u64 {
        self.now += STEP;
        let (stack, now) = (&mut self.stack, self.now);
        count(|| {
            let _ = stack.turn(now);
        })
    }

    /// Lets the stack ask for an interrupt before it sleeps; returns how many instructions that took.
    pub(super) fn rest(&mut self) -> u64 {
        let stack = &mut self.stack;
        count(|| assert!(matches!(stack.rest(), Rest::Until(_))))
    }

    /// What was sent since this was last called.
    pub(super) fn sent(&mut self) -> Vec<Sent> {
        self.card.sent()
    }
}
