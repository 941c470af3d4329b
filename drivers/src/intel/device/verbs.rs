//! The verbs of [`NetDevice`] on an Intel card; see there for their order.
//!
//! Interrupts are one-shot. [`arm`](NetDevice::arm) unmasks them; the first one masks them all, by
//! itself with MSI-X and in [`on_interrupt`](NetDevice::on_interrupt) with a line. A cause that
//! comes while it is masked stays pending and interrupts when it is unmasked, so none is lost, and
//! a busy core takes none.
#![forbid(unsafe_code)]

use pbufpool::{Packet, PacketQueue};

use super::super::bus::{RegisterBus, Typed};
use super::super::model::Family;
use super::super::offload::{self, MOST_FRAME};
use super::super::phy;
use super::super::registers::*;
use super::{ETHERNET, IntelNet};
use crate::error::{DeviceFault, DriverError};
use crate::net::*;
use crate::watchdog::Watchdog;

impl<B: RegisterBus> IntelNet<B> {
    /// Puts one frame into the transmit ring, which has room for it, or says why not.
    #[inline]
    fn post(&mut self, queue: QueueId, mut packet: Packet) -> Result<(), DropReason> {
        let len = packet.len();
        let cut = packet.offload().gso.is_some();
        if len < ETHERNET || (!cut && len > self.longest()) {
            return Err(DropReason::TxBadLength);
        }
        let request = offload::request(&mut packet, self.card.family())?;
        let Some(rings) = self.pair(queue) else {
            return Err(DropReason::TxReset);
        };
        rings.tx.post(packet, &request);
        self.stats.tx_packets += 1;
        self.stats.tx_bytes += len as u64;
        self.stats.tx_gso += u64::from(cut);
        Ok(())
    }

    /// Whether a ring has something to take.
    fn has_completions(&self) -> bool {
        let waiting =
            |rings: &super::Rings| rings.rx.has_completions() || rings.tx.has_completions();
        self.rings.as_ref().is_some_and(waiting)
    }
}

impl<B: RegisterBus> NetDevice for IntelNet<B> {
    fn info(&self) -> &DeviceInfo {
        &self.info
    }

    fn capabilities(&self) -> Capabilities {
        let segments_v6 = self.card.family() == Family::E82574;
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
        match &self.rings {
            Some(rings) if queue.0 == 0 => LentCounts {
                rx: rings.rx.lent() + self.assembly.packets(),
                tx: rings.tx.lent(),
                control: 0,
            },
            _ => LentCounts::default(),
        }
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
        match &self.rings {
            Some(rings) if self.fault.is_none() && queue.0 == 0 => rings.tx.room(),
            _ => 0,
        }
    }

    fn tx_burst(&mut self, queue: QueueId, from: &mut PacketQueue) -> usize {
        let mut left = 0;
        self.tx_needs = 0;
        while let Some(packet) = from.front() {
            let Some(rings) = self.pair(queue) else { break };
            let needed = rings.tx.needs(packet);
            // A packet that never fits is taken and dropped, or it would block the way for ever.
            let fits_never = !rings.tx.could_fit(needed);
            if !fits_never && !rings.tx.fits(needed) {
                self.tx_needs = needed;
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
        if let Some(rings) = self.pair(queue) {
            rings.tx.take(&mut done);
        }
        let reclaimed = done.len();
        self.tx_completed += reclaimed as u64;
        done.clear();
        self.done = done;
        reclaimed
    }

    fn flush(&mut self, queue: QueueId) {
        let Some(rings) = self.pair(queue) else {
            return;
        };
        let (rx, tx) = (rings.rx.publish(), rings.tx.publish());
        for (register, tail) in [(RDT, rx), (TDT, tx)] {
            if let Some(tail) = tail {
                self.card.bus().set(register, tail.into());
                self.stats.doorbells += 1;
            }
        }
    }

    fn arm(&mut self, queue: QueueId) -> Armed {
        if let Some(answer) = self.health().armed() {
            return answer;
        }
        let needs = self.tx_needs;
        let Some(rings) = self.pair(queue) else {
            return Armed::Sleep;
        };
        let full = rings.tx.room() == 0 || !rings.tx.fits(needs);
        let waits = |rings: &super::Rings| {
            rings.rx.has_completions() || (full && rings.tx.has_completions())
        };
        if waits(rings) {
            return Armed::Work;
        }
        let wanted = self.causes(full);
        if !self.armed.contains(wanted) {
            self.card.bus().set(IMS, wanted);
            self.armed |= wanted;
        }
        match &self.rings {
            Some(rings) if waits(rings) => Armed::Work,
            _ => Armed::Sleep,
        }
    }

    fn on_interrupt(&mut self) {
        self.armed = Causes::empty();
        if !self.card.has_msix() {
            // All masked, reading clears all causes on every card (82574 10.2.4.1).
            self.card.bus().set(IMC, Causes::all());
            let causes = self.card.bus().get(ICR);
            if causes.bits() == u32::MAX {
                self.fault = self.fault.or(Some(DeviceFault::Gone));
                return;
            }
            if causes.is_empty() {
                return; // another device on the line
            }
        }
        self.stats.interrupts += 1;
        if !self.has_completions() {
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
        self.watchdog = Watchdog::default();
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

    fn set_moderation(&mut self, limits: Moderation) -> Result<(), ControlError> {
        self.ask_moderation(limits)
    }

    fn raise_interrupt(&mut self) -> bool {
        if self.fault.is_some() {
            return false;
        }
        let causes = self.causes(false);
        self.card.bus().set(IMS, causes);
        self.armed |= causes;
        self.card.bus().set(ICS, causes);
        true
    }

    fn loop_back(&mut self) -> Result<Option<&'static str>, DriverError> {
        // Set first: even a PHY that stopped half-way there negotiates again after a reset.
        self.looped = true;
        phy::loop_back(&self.card, self.host)?;
        Ok(Some("PHY"))
    }
}
