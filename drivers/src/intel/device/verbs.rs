//! The verbs of [`NetDevice`] on an Intel card; see there for their order.
//!
//! Interrupts are one-shot. [`arm`](NetDevice::arm) unmasks them; the first one masks them all, by
//! itself with MSI-X and in [`on_interrupt`](NetDevice::on_interrupt) with a line. A cause that
//! comes while it is masked stays pending and interrupts when it is unmasked, so none is lost, and
//! a busy core takes none.
#![forbid(unsafe_code)]

use pbufpool::{Packet, PacketQueue};

use super::super::ETHERNET;
use super::super::bus::{RegisterBus, Typed};
use super::super::interrupts::{self, Events, Source};
use super::super::model::Family;
use super::super::offload::{self, MOST_FRAME};
use super::super::phy;
use super::super::registers::*;
use super::super::rings::Pair;
use super::IntelNet;
use crate::error::{DeviceFault, DriverError};
use crate::net::*;

impl<B: RegisterBus> IntelNet<B> {
    /// Puts one frame into the transmit ring, which has room for it, or says why not.
    #[inline]
    fn post(&mut self, queue: QueueId, mut packet: Packet) -> Result<(), DropReason> {
        let len = packet.len();
        let cut = packet.offload().gso.is_some();
        if len < ETHERNET || (!cut && len > self.longest()) {
            return Err(DropReason::TxBadLength);
        }
        let vlan = self.wishes.joined;
        let request = offload::request(&mut packet, self.card.family(), vlan)?;
        let Some(pair) = self.pair(queue) else {
            return Err(DropReason::TxReset);
        };
        pair.tx.post(packet, &request);
        self.stats.tx_packets += 1;
        self.stats.tx_bytes += len as u64;
        self.stats.tx_gso += u64::from(cut);
        Ok(())
    }
}

impl<B: RegisterBus> NetDevice for IntelNet<B> {
    fn info(&self) -> &DeviceInfo {
        &self.info
    }

    fn capabilities(&self) -> Capabilities {
        let segments_v6 = self.card.family() != Family::E8254x;
        Capabilities {
            rx_checksum: ChecksumSupport::ALL,
            tx_checksum: ChecksumSupport::ALL,
            tso_v4: Some(MOST_FRAME),
            tso_v6: segments_v6.then_some(MOST_FRAME),
            max_burst: self.info.rx_ring.min(self.info.tx_ring).into(),
        }
    }

    fn link(&mut self) -> LinkState {
        let link = self.look();
        self.check_progress(link);
        link
    }

    fn stats(&self) -> NicStats {
        self.stats
    }

    fn lent(&self, queue: QueueId) -> LentCounts {
        self.pair_at_rest(queue)
            .map_or(LentCounts::default(), |pair| LentCounts {
                rx: pair.rx.lent() + pair.assembly.packets(),
                tx: pair.tx.lent(),
                control: 0,
            })
    }

    fn tx_headroom(&self) -> usize {
        0
    }

    fn refill(&mut self, queue: QueueId) -> usize {
        self.fill(queue)
    }

    fn rx_burst(&mut self, queue: QueueId, budget: usize, into: &mut PacketQueue) -> usize {
        let mut taken = 0;
        while taken < budget {
            match self.receive(queue) {
                None => break,
                Some(Err(reason)) => self.stats.drops.count(reason),
                Some(Ok(packet)) => {
                    self.stats.rx_packets += 1;
                    self.stats.rx_bytes += packet.len() as u64;
                    into.push_back(packet);
                    taken += 1;
                }
            }
        }
        self.note_faults();
        taken
    }

    fn tx_room(&self, queue: QueueId) -> usize {
        match self.pair_at_rest(queue) {
            Some(pair) if self.fault.is_none() => pair.tx.room(),
            _ => 0,
        }
    }

    fn tx_burst(&mut self, queue: QueueId, from: &mut PacketQueue) -> usize {
        let mut left = 0;
        while let Some(pair) = self.pair(queue) {
            pair.tx_needs = 0;
            let Some(packet) = from.front() else { break };
            let needed = pair.tx.needs(packet);
            // A packet that never fits is taken and dropped, or it would block the way for ever.
            let fits_never = !pair.tx.could_fit(needed);
            if !fits_never && !pair.tx.fits(needed) {
                pair.tx_needs = needed;
                break;
            }
            let Some(packet) = from.pop_front() else {
                break;
            };
            left += 1;
            let outcome = if fits_never {
                Err(DropReason::TxTooManyBuflets)
            } else {
                self.post(queue, packet)
            };
            if let Err(reason) = outcome {
                self.stats.drops.count(reason);
            }
        }
        left
    }

    fn reclaim(&mut self, queue: QueueId) -> usize {
        let mut done = core::mem::take(&mut self.done);
        if let Some(pair) = self.pair(queue) {
            pair.tx.take(&mut done);
            pair.watchdog.reclaimed(done.len());
        }
        let reclaimed = done.len();
        done.clear();
        self.done = done;
        reclaimed
    }

    fn flush(&mut self, queue: QueueId) {
        let Some(pair) = self.pair(queue) else {
            return;
        };
        let (rx, tx) = (pair.rx.publish(), pair.tx.publish());
        for (register, tail) in [(RDT, rx), (TDT, tx)] {
            if let Some(tail) = tail {
                let register = register.of_pair(queue.0);
                self.card.bus().set(register, tail.into());
                self.stats.doorbells += 1;
            }
        }
    }

    fn arm(&mut self, queue: QueueId) -> Armed {
        if let Some(answer) = self.health().armed() {
            return answer;
        }
        let Some(pair) = self.pair(queue) else {
            return Armed::Sleep;
        };
        let full = pair.tx.room() == 0 || !pair.tx.fits(pair.tx_needs);
        let waits = |pair: &Pair| pair.rx.has_completions() || (full && pair.tx.has_completions());
        if waits(pair) {
            return Armed::Work;
        }
        let wanted = Events::of(queue, full);
        if !self.armed.contains(wanted) {
            interrupts::unmask(&self.card, wanted);
            self.armed |= wanted;
        }
        match self.pair_at_rest(queue) {
            Some(pair) if waits(pair) => Armed::Work,
            _ => Armed::Sleep,
        }
    }

    fn on_interrupt(&mut self) {
        self.armed = Events::empty();
        match interrupts::acknowledge(&self.card) {
            Source::Ours => {}
            Source::Another => return,
            Source::Gone => {
                self.fault = self.fault.or(Some(DeviceFault::Gone));
                return;
            }
        }
        self.stats.interrupts += 1;
        if !self.pairs.iter().any(Pair::has_completions) {
            // Not about the rings: a rare one, worth register reads.
            self.look();
        }
    }

    fn health(&self) -> Health {
        self.backoff.health(self.fault, self.host.uptime_ms())
    }

    fn reset(&mut self) -> Result<(), DriverError> {
        self.backoff.note(self.host.uptime_ms());
        if let Err(why) = self.stop() {
            // What it still holds stays lent, and is counted as leaked one day.
            self.fault = Some(DeviceFault::ResetFailed);
            return Err(why);
        }
        self.fault = None;
        if let Err(why) = self.restart() {
            self.fault = Some(DeviceFault::ResetFailed);
            return Err(why);
        }
        self.stats.resets += 1;
        Ok(())
    }

    fn set_mac(&mut self, mac: MacAddr) -> Result<(), ControlError> {
        self.ask_mac(mac)
    }

    fn set_filter(&mut self, filter: &RxFilter) -> Result<(), ControlError> {
        self.ask_filter(filter)
    }

    fn set_vlan(&mut self, vlan: VlanId, admitted: bool) -> Result<(), ControlError> {
        self.ask_vlan(vlan, admitted)
    }

    fn join_vlan(&mut self, vlan: Option<VlanId>) -> Result<(), ControlError> {
        self.ask_membership(vlan)
    }

    fn set_moderation(&mut self, limits: Moderation) -> Result<(), ControlError> {
        self.ask_moderation(limits)
    }

    fn raise_interrupt(&mut self) -> bool {
        if self.fault.is_some() {
            return false;
        }
        let queues = (0..self.info.queue_pairs).map(QueueId);
        let all = queues.map(|queue| Events::of(queue, false));
        let all = all.fold(Events::empty(), Events::union);
        interrupts::unmask(&self.card, all);
        self.armed |= all;
        interrupts::raise(&self.card, all);
        true
    }

    fn loop_back(&mut self) -> Result<Option<&'static str>, DriverError> {
        // Set first: even a PHY that stopped half-way there negotiates again after a reset.
        self.looped = true;
        phy::loop_back(&self.card, self.host)?;
        Ok(Some("PHY"))
    }
}
