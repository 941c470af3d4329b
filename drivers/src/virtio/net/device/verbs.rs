//! The verbs of [`NetDevice`] on a virtio network card; see there for their order.
#![forbid(unsafe_code)]

use pbufpool::{Packet, PacketQueue};

use super::super::config;
use super::super::frames::{Prepared, SingleFrames};
use super::super::header::MOST_FRAME;
use super::super::start::{Pair, Queues};
use super::VirtioNet;
use crate::error::{DeviceFault, DriverError};
use crate::net::*;
use crate::virtio::Features;
use crate::virtio::queue::Virtqueue;
use crate::virtio::transport::Transport;

/// In the place of how many plain frames one of `buffers` fits into `tx`, no more than the ring has: a packet
/// that never fits is taken and dropped, or it would block the way for ever.
fn needs(tx: &Virtqueue, buffers: usize) -> usize {
    match buffers {
        0 | 1 => 1,
        _ => tx.needs(buffers).min(tx.capacity().into()),
    }
}

impl<T: Transport> NetDevice for VirtioNet<T> {
    fn info(&self) -> &DeviceInfo {
        &self.info
    }

    fn capabilities(&self) -> Capabilities {
        let checksums = |feature| {
            if self.rules.features.contains(feature) {
                ChecksumSupport::ALL
            } else {
                ChecksumSupport::NONE
            }
        };
        let segments = |feature| self.rules.features.contains(feature).then_some(MOST_FRAME);
        Capabilities {
            rx_checksum: checksums(Features::GUEST_CSUM),
            tx_checksum: checksums(Features::CSUM),
            tso_v4: segments(Features::HOST_TSO4),
            tso_v6: segments(Features::HOST_TSO6),
            max_burst: self.info.rx_ring.min(self.info.tx_ring).into(),
        }
    }

    fn link(&mut self) -> LinkState {
        self.check_status();
        let link = config::link(&self.transport, self.rules.features);
        self.check_progress(link);
        link
    }

    fn stats(&self) -> NicStats {
        self.stats
    }

    fn lent(&self, queue: QueueId) -> LentCounts {
        self.pair_at_rest(queue)
            .map_or(LentCounts::default(), |pair| LentCounts {
                rx: pair.rx.lent(),
                tx: pair.tx.lent(),
                control: if queue.0 == 0 { self.unanswered() } else { 0 },
            })
    }

    fn tx_headroom(&self) -> usize {
        self.rules.header_len
    }

    fn refill(&mut self, queue: QueueId) -> usize {
        let mut fresh = core::mem::take(&mut self.fresh);
        let posted = self.refill_through(&mut fresh, queue);
        self.fresh = fresh;
        posted
    }

    fn rx_burst(&mut self, queue: QueueId, budget: usize, into: &mut PacketQueue) -> usize {
        let (mut taken, mut bytes) = (0, 0);
        while let Some(frame) = self.single_frames(queue, budget, (&mut taken, &mut bytes), into) {
            match self.receive(queue, frame) {
                Err(reason) => self.stats.drops.count(reason),
                Ok((packet, len)) => {
                    bytes += len;
                    into.push_back(packet);
                    taken += 1;
                }
            }
        }
        self.stats.rx_packets += taken as u64;
        self.stats.rx_bytes += bytes as u64;
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
        let Self {
            queues,
            rules,
            stats,
            fault: None,
            ..
        } = self
        else {
            return 0;
        };
        let Some(pair) = Queues::pair(queues, queue) else {
            return 0;
        };
        let (rules, tx) = (*rules, &mut pair.tx);
        let (mut left, mut sent, mut bytes) = (0, 0, 0);
        let mut queued = core::mem::take(from);
        loop {
            let before = queued.len();
            let mut singles = SingleFrames::new(&mut queued, &rules);
            // Whatever is not posted in passing is so by itself, with all that there is to look at.
            let apart = tx.post_each(usize::MAX, &mut singles);
            let SingleFrames {
                bytes: passed,
                other,
                ..
            } = singles;
            let count = before - queued.len() - usize::from(other.is_some());
            sent += count as u64;
            left += count;
            bytes += passed;
            if let Some(packet) = apart {
                let unsent = tx.post(packet, usize::MAX).is_err();
                sent -= u64::from(unsent);
                stats.drops.add(DropReason::TxBadLength, unsent.into());
                continue;
            }
            let Some(packet) = other else { break };
            if tx.room() < needs(tx, packet.buflet_count()) {
                queued.push_front(packet);
                break;
            }
            left += 1;
            match rules.prepare(packet) {
                Err(reason) => stats.drops.count(reason),
                Ok(Prepared { packet, len, cut }) => {
                    if tx.post(packet, usize::MAX).is_ok() {
                        sent += 1;
                        bytes += len;
                        stats.tx_gso += u64::from(cut);
                    } else {
                        stats.drops.count(DropReason::TxBadLength);
                    }
                }
            }
        }
        pair.tx_waiting = queued.front().map_or(0, Packet::buflet_count);
        *from = queued;
        stats.tx_packets += sent;
        stats.tx_bytes += bytes as u64;
        left
    }

    fn reclaim(&mut self, queue: QueueId) -> usize {
        let Self {
            queues,
            fault: None,
            ..
        } = self
        else {
            return 0;
        };
        let Some(pair) = Queues::pair(queues, queue) else {
            return 0;
        };
        let mut done = PacketQueue::new();
        pair.tx.take_each(&mut done);
        let reclaimed = done.clear();
        pair.watchdog.reclaimed(reclaimed);
        self.note_faults();
        reclaimed
    }

    fn flush(&mut self, queue: QueueId) {
        let Some(Pair { rx, tx, .. }) = self.pair(queue) else {
            return;
        };
        let wanted = [rx, tx].map(Virtqueue::publish);
        for doorbell in wanted.into_iter().flatten() {
            self.transport.notify(doorbell);
            self.stats.doorbells += 1;
        }
    }

    fn arm(&mut self, queue: QueueId) -> Armed {
        if let Some(answer) = self.health().armed() {
            return answer;
        }
        let Some(Pair {
            rx, tx, tx_waiting, ..
        }) = self.pair(queue)
        else {
            return Armed::Sleep;
        };
        let quiet_rx = rx.arm(1);
        // A ring with room for the next frame waits for nobody; one without for a quarter of its
        // packets. A chain may need more than one descriptor.
        let full = tx.room() < needs(tx, *tx_waiting);
        let after = (tx.lent() / 4).max(1) as u16;
        let quiet_tx = !full || tx.arm(after);
        if !full {
            tx.disarm();
        }
        // The second look at each, some time after it was armed: a fence may not have been one
        // (`barrier::publish_then_check`), and nobody would wake us.
        let quiet = quiet_tx && quiet_rx && !rx.has_completions();
        if quiet && !(full && tx.has_completions()) {
            return Armed::Sleep;
        }
        rx.disarm();
        tx.disarm();
        Armed::Work
    }

    fn on_interrupt(&mut self) {
        if !self.transport.acknowledge() {
            return;
        }
        self.stats.interrupts += 1;
        if !self.queues.as_ref().is_some_and(Queues::have_completions) {
            // Not about the rings, so about the configuration: a rare one, worth a register read.
            self.check_status();
        }
    }

    fn health(&self) -> Health {
        self.backoff.health(self.fault, self.host.uptime_ms())
    }

    fn reset(&mut self) -> Result<(), DriverError> {
        self.backoff.note(self.host.uptime_ms());
        if let Err(why) = self.stop().and_then(|()| self.restart()) {
            // What it still holds stays lent, and is counted as leaked one day.
            self.fault = Some(DeviceFault::ResetFailed);
            return Err(why);
        }
        self.stats.resets += 1;
        self.feed();
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

    fn wants_announcement(&self) -> bool {
        self.announce
    }

    fn announced(&mut self) -> Result<(), ControlError> {
        self.acknowledge_announcement()
    }
}
