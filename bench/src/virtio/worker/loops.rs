//! The loops that are measured, over the verbs of [`NetDevice`] in the order in which the stack calls
//! them. `peers/virtio_user.c` has loops of the same shape over DPDK's verbs.
//!
//! A turn is busy if anything came of it: a frame moved, a buffer posted, a packet taken back. The
//! time of idle turns is counted apart.
#![forbid(unsafe_code)]

use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use drivers::net::{NetDevice, QueueId};
use drivers::virtio::net::VirtioNet;
use pbufpool::{PacketQueue, Pool};

use super::super::transport::VhostUser;
use super::super::tsc;

pub(super) const PAIR: QueueId = QueueId(0);
/// Frames at once, at most.
const BURST: usize = 32;
/// Bytes of a frame.
pub(super) const FRAME: usize = 64;
/// Frames that go round in an echo run: half a ring, so that none is dropped for want of room.
pub(super) const WINDOW: usize = 128;
/// For the back end to have both rings on: before that it drops what it cannot pass on.
pub(super) const SETTLE: Duration = Duration::from_millis(20);
/// For the last of them to come back.
pub(super) const DRAIN: Duration = Duration::from_millis(100);

/// Where a run ends.
#[derive(Clone, Copy)]
pub(super) struct Limit {
    packets: u64,
    cycles: u64,
}

impl Limit {
    /// After so many cycles.
    pub(super) fn cycles(cycles: u64) -> Self {
        let packets = u64::MAX;
        Self { packets, cycles }
    }

    /// After so many packets, or at last after so many cycles.
    pub(super) fn packets(packets: u64, cycles: u64) -> Self {
        Self { packets, cycles }
    }
}

/// What a run came to, times in cycles.
#[derive(Clone, Copy, Default)]
pub(super) struct Tally {
    pub(super) packets: u64,
    pub(super) cycles: u64,
    /// Of these, in turns that did something.
    pub(super) busy: u64,
    pub(super) bursts: u64,
    pub(super) idle: u64,
}

/// What a turn did.
pub(super) struct Turn {
    /// Frames sent, or received.
    pub(super) frames: usize,
    /// Anything else.
    pub(super) other: usize,
}

/// The driver and what it works with.
pub(super) struct Driver {
    pub(super) nic: VirtioNet<VhostUser>,
    /// Frames that did not come back as they were sent, or are of a wrong length.
    pub(super) lost: u64,
    sending: Pool,
    /// In hand: to be sent, or received.
    queue: PacketQueue,
}

impl Driver {
    /// A driver whose frames to send come from `sending`.
    pub(super) fn new(nic: VirtioNet<VhostUser>, sending: Pool) -> Self {
        Self {
            nic,
            lost: 0,
            sending,
            queue: PacketQueue::new(),
        }
    }

    /// Sends and sends.
    pub(super) fn transmit(&mut self, limit: Limit) -> Tally {
        let (nic, pool, queue) = (&mut self.nic, &self.sending, &mut self.queue);
        let headroom = nic.tx_headroom();
        turns(limit, || {
            let lacking = BURST - queue.len();
            if lacking > 0 {
                let _ = pool.alloc_burst_each(lacking, 1, queue, |_, packet| {
                    let _ = packet.set_span(headroom, FRAME); // a buffer is longer
                });
            }
            let other = reclaim(nic);
            let frames = nic.tx_burst(PAIR, queue);
            nic.flush(PAIR);
            Turn { frames, other }
        })
    }

    /// Receives, looks at the length, and frees.
    pub(super) fn receive(&mut self, limit: Limit) -> Tally {
        let (nic, queue, lost) = (&mut self.nic, &mut self.queue, &mut self.lost);
        turns(limit, || {
            let other = nic.refill(PAIR);
            let frames = nic.rx_burst(PAIR, BURST, queue);
            *lost += queue.iter().filter(|packet| packet.len() != FRAME).count() as u64;
            queue.clear();
            nic.flush(PAIR);
            Turn { frames, other }
        })
    }

    /// Sends what it receives.
    pub(super) fn echo(&mut self, limit: Limit) -> Tally {
        let (nic, queue) = (&mut self.nic, &mut self.queue);
        turns(limit, || echo_turn(nic, queue))
    }

    /// Sends the frames that go round in an echo run.
    ///
    /// # Errors
    /// The pool or the ring is too small.
    pub(super) fn seed(&mut self) -> Result<()> {
        sleep(SETTLE);
        let headroom = self.nic.tx_headroom();
        let burst = self
            .sending
            .alloc_burst_each(WINDOW, 1, &mut self.queue, |n, packet| {
                let _ = packet.set_span(headroom, FRAME); // a buffer is longer
                if let Some(data) = packet.data_mut() {
                    data.copy_from_slice(&frame(n as u8));
                }
            });
        let sent = self.nic.tx_burst(PAIR, &mut self.queue);
        self.nic.flush(PAIR);
        ensure!(
            (burst.count, sent) == (WINDOW, WINDOW),
            "{sent} frames sent"
        );
        Ok(())
    }

    /// Takes the frames of an echo run out again, and counts those that are missing or changed.
    pub(super) fn drain(&mut self) {
        let (start, mut good) = (Instant::now(), 0);
        while good < WINDOW && start.elapsed() < DRAIN {
            if self.queue.is_empty() {
                self.nic.refill(PAIR);
                self.nic.rx_burst(PAIR, BURST, &mut self.queue);
            }
            let as_sent = |data: &[u8]| data.first().is_some_and(|n| data == frame(*n));
            good += self
                .queue
                .iter()
                .filter(|packet| as_sent(packet.data()))
                .count();
            self.queue.clear();
            self.nic.reclaim(PAIR);
            self.nic.flush(PAIR);
        }
        self.lost += (WINDOW - good) as u64;
    }
}

fn echo_turn(nic: &mut VirtioNet<VhostUser>, queue: &mut PacketQueue) -> Turn {
    let mut other = nic.refill(PAIR);
    let mut frames = 0;
    if queue.is_empty() {
        frames = nic.rx_burst(PAIR, BURST, queue);
    }
    other += reclaim(nic);
    if !queue.is_empty() {
        other += nic.tx_burst(PAIR, queue);
    }
    nic.flush(PAIR);
    Turn { frames, other }
}

/// Takes back what was sent, as late as there is room for a burst without: as DPDK's driver does.
fn reclaim(nic: &mut VirtioNet<VhostUser>) -> usize {
    if nic.tx_room(PAIR) < BURST {
        nic.reclaim(PAIR)
    } else {
        0
    }
}

/// The frame that goes round as number `n`.
fn frame(n: u8) -> [u8; FRAME] {
    std::array::from_fn(|at| n.wrapping_add(at as u8))
}

/// Takes turns until the limit is reached.
#[inline(always)]
pub(super) fn turns(limit: Limit, mut turn: impl FnMut() -> Turn) -> Tally {
    let mut tally = Tally::default();
    let start = tsc::now();
    let mut last = start;
    while tally.packets < limit.packets && tally.cycles < limit.cycles {
        let Turn { frames, other } = turn();
        let now = tsc::now();
        if frames + other > 0 {
            tally.busy += now - last;
            tally.packets += frames as u64;
            tally.bursts += u64::from(frames > 0);
        } else {
            tally.idle += 1;
        }
        last = now;
        tally.cycles = now - start;
    }
    tally
}
