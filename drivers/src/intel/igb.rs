//! Programming a card of the igb family where it differs: power of the link, queues that are opened
//! one by one, and buffers whose size each queue has for itself (82576 4.5, I210 4.5).
//!
//! [`bring_up`](super::bring_up) calls [`prepare`] and then [`open`]. The invariant: a queue's tail
//! is written only after the queue said that it runs.
#![forbid(unsafe_code)]

use super::bring_up::{self, Config};
use super::bus::{RegisterBus, Typed};
use super::model::Family;
use super::phy;
use super::registers::igb::*;
use super::registers::{RCTL, Register, TCTL, TIPG, Tctl};
use super::reset::Card;
use super::rings::Pair;
use crate::error::DriverError;
use crate::host::Host;

/// Bytes of a frame besides what the stack calls its length: check sequence and VLAN tag.
const AROUND: usize = 8;

/// Wakes the link, and turns off what delays frames.
pub fn prepare<B: RegisterBus>(card: &Card<B>, host: &dyn Host) {
    let bus = card.bus();
    if card.family() != Family::E82576 {
        bus.update(PHPM, |phpm| phpm - Phpm::GO_LINK_DISCONNECT);
        // A link that rests takes microseconds to wake up, and some switches lose it over that.
        bus.update(IPCNFG, |it| it - (Ipcnfg::EEE_100 | Ipcnfg::EEE_1000));
        bus.update(EEER, |it| it - (Eeer::TX_LPI | Eeer::RX_LPI | Eeer::LPI_FC));
        bus.set(DMACR, 0);
    }
    bus.set(RFCTL, Rfctl::IPV6_EX_DIS);
    // A PHY that does not answer is as firmware left it, which may be with a link.
    let _ = phy::wake(card, host);
}

/// Opens the queues of `pairs` and lets them run: the card receives and sends when this returns.
///
/// # Errors
/// A queue does not open.
pub fn open<B: RegisterBus>(
    card: &Card<B>,
    host: &dyn Host,
    pairs: &[Pair],
    config: &Config,
) -> Result<(), DriverError> {
    let bus = card.bus();
    // After a reset queue 0 runs, on whatever addresses there are.
    for number in 0..card.family().pairs() {
        bus.set(TXDCTL0.of_pair(number), Queue::empty());
        bus.set(RXDCTL0.of_pair(number), Queue::empty());
    }
    for (number, pair) in (0..).zip(pairs) {
        bring_up::show_transmit(bus, number, pair);
        bus.set(TDWBAL0.of_pair(number), 0);
        bus.set(TDWBAH0.of_pair(number), 0);
        let transmit = "the card to open its transmit queue";
        start(card, host, TXDCTL0.of_pair(number), transmit)?;
    }
    bus.set(TIPG, bring_up::GAPS);
    bus.set(
        TCTL,
        Tctl::EN | Tctl::PSP | Tctl::CT | Tctl::COLD | Tctl::RTLC,
    );

    let size = Srrctl::from_bits_retain(u32::from(config.buffer) / 1024);
    let drop = if pairs.len() > 1 {
        Srrctl::DROP
    } else {
        Srrctl::empty()
    };
    bus.set(RLPML, (config.longest + AROUND) as u32);
    bring_up::spread(card, pairs.len(), config);
    for (number, pair) in (0..).zip(pairs) {
        bring_up::show_receive(bus, number, pair);
        bus.set(SRRCTL0.of_pair(number), Srrctl::ONE_BUFFER | drop | size);
        let receive = "the card to open its receive queue";
        start(card, host, RXDCTL0.of_pair(number), receive)?;
    }
    bus.set(RCTL, bring_up::receive_control(config));
    Ok(())
}

/// Starts a queue and waits until it runs.
fn start<B: RegisterBus>(
    card: &Card<B>,
    host: &dyn Host,
    queue: Register<Queue>,
    what: &'static str,
) -> Result<(), DriverError> {
    let thresholds = Queue::PREFETCH_8 | Queue::HOST_1 | Queue::WRITE_BACK_1;
    card.bus().set(queue, thresholds | Queue::ENABLE);
    let runs = card.wait(host, |bus| bus.get(queue).contains(Queue::ENABLE));
    if runs {
        Ok(())
    } else {
        Err(DriverError::Timeout(what))
    }
}
