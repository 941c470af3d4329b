//! An Intel gigabit card as a [`NetDevice`].
//!
//! The kernel makes one of a probed [`Card`]; the stack turns it. The invariant: every packet is
//! with the caller, in exactly one of the rings, or the beginning of a frame whose end has not come; and it comes back from a ring only by a descriptor that was written back and checked, or
//! by a reset that was waited for.
#![forbid(unsafe_code)]

mod receive;
mod requests;
mod verbs;

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use pbufpool::{Packet, PacketQueue, Pool};

use super::bring_up::{self, Config, LEAST_BUFFER};
use super::bus::{RegisterBus, Typed};
use super::interrupts::Events;
use super::model::Family;
use super::phy;
use super::registers::*;
use super::reset::Card;
use super::rings::{self, Pair, Sizes, TakenBack};
use super::{ETHERNET, rss};
use crate::backoff::BackOff;
use crate::error::{DeviceFault, DriverError};
use crate::host::Host;
use crate::net::wishes::Wishes;
use crate::net::*;

/// Largest MTU: what common switches and all cards take in jumbo frames.
const MOST_MTU: usize = 9_000;
/// Smallest MTU (RFC 791).
const LEAST_MTU: usize = 68;
/// Most packets in a ring, whose descriptors the longest ring of the cards has.
const MOST_RING: u16 = 1_024;

/// Choices for one card.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Options {
    /// Buffers in each receive ring.
    pub rx_ring: u16,
    /// Frames in each transmit ring.
    pub tx_ring: u16,
    /// Queue pairs at most, at least one. A card on PCI Express that interrupts by
    /// MSI-X has two, others one.
    pub pairs: u16,
    /// What is mixed into the hash that spreads frames over several pairs: random, so that no sender
    /// can aim.
    pub rss_key: [u8; rss::KEY],
    /// Largest layer-3 packet in bytes. Above 1,500 it makes jumbo frames: those longer than a
    /// buffer are chains of several, if the pool allows.
    pub mtu: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            rx_ring: 256,
            tx_ring: 256,
            pairs: 1,
            rss_key: [0x6d; rss::KEY],
            mtu: 1500,
        }
    }
}

impl Options {
    /// Refuses what cannot work with packets of `pool`; else the size of its receive buffers.
    fn check(self, pool: &Pool) -> Result<u16, DriverError> {
        let bad = |name, value, allowed| {
            Err(DriverError::BadOption {
                name,
                value,
                allowed,
            })
        };
        for (name, value) in [("ring.rx", self.rx_ring), ("ring.tx", self.tx_ring)] {
            if !(2..=MOST_RING).contains(&value) {
                return bad(name, value.into(), "from 2 to 1024");
            }
        }
        if self.pairs == 0 {
            return bad("pairs", 0, "at least 1");
        }
        if !(LEAST_MTU..=MOST_MTU).contains(&self.mtu) {
            return bad("mtu", self.mtu, "from 68 to 9000");
        }
        let size = pool.buffer_size();
        let too_small = |needed| DriverError::BufferTooSmall { size, needed };
        let buffer = bring_up::buffer_size(size).ok_or(too_small(LEAST_BUFFER.into()))?;
        let frame = self.mtu + ETHERNET;
        let most = usize::from(pool.max_frags()).min(self.rx_ring.into());
        if frame > usize::from(buffer) * most {
            return Err(too_small(frame.div_ceil(most)));
        }
        Ok(buffer)
    }
}

/// An Intel gigabit card.
pub struct IntelNet<B: RegisterBus> {
    card: Card<B>,
    host: &'static dyn Host,
    pool: Pool,
    sizes: Sizes,
    info: DeviceInfo,
    /// The address that the card has by itself.
    own: MacAddr,
    /// What the stack asked of it; a reset forgets that.
    wishes: Wishes,
    rss_key: [u8; rss::KEY],
    /// None only while the card could not be restarted after a reset.
    pairs: Vec<Pair>,
    /// What may interrupt since it was last asked for.
    armed: Events,
    /// Frames turn round in the PHY.
    looped: bool,
    fault: Option<DeviceFault>,
    backoff: BackOff,
    stats: NicStats,
    /// Frames sent and not given back to the pool yet, batched.
    done: PacketQueue,
    /// Fresh receive buffers on their way to the ring; empty between calls.
    fresh: Vec<Packet>,
}

impl<B: RegisterBus> IntelNet<B> {
    /// Starts the card; its receive rings are fed from `pool`.
    ///
    /// # Errors
    /// What the card lacks, or what the pool or the options do not allow. The card is stopped.
    pub fn new(
        card: Card<B>,
        pool: Pool,
        host: &'static dyn Host,
        options: Options,
    ) -> Result<Self, DriverError> {
        let pairs = if card.has_msix() {
            options.pairs.min(card.family().pairs())
        } else {
            1
        };
        let sizes = Sizes {
            pairs,
            rx: options.rx_ring,
            tx: options.tx_ring,
            buffer: options.check(&pool)?,
            longest: options.mtu + ETHERNET,
        };
        bring_up::share_memory(&card, sizes.longest);
        card.reset(host)?;
        let mac = bring_up::mac(&card, host)?;
        let info = DeviceInfo {
            model: card.model().name,
            location: card.location().into(),
            mac,
            mtu: options.mtu,
            queue_pairs: pairs,
            rx_ring: options.rx_ring,
            tx_ring: options.tx_ring,
            interrupts: if card.has_msix() {
                InterruptMode::MsiX(card.family().vectors(pairs).min(card.vectors()))
            } else {
                InterruptMode::Line
            },
            features: describe(&card, pairs),
        };
        let mut device = Self {
            card,
            host,
            pool,
            sizes,
            info,
            own: mac,
            wishes: Wishes::default(),
            rss_key: options.rss_key,
            pairs: Vec::new(),
            armed: Events::empty(),
            looped: false,
            fault: None,
            backoff: BackOff::default(),
            stats: NicStats::default(),
            done: PacketQueue::new(),
            fresh: Vec::with_capacity(options.rx_ring.into()),
        };
        device.start()?;
        Ok(device)
    }

    /// Makes rings, programs the card, which was reset, and gives it its first buffers. All rings have
    /// theirs before the card is told of any.
    fn start(&mut self) -> Result<(), DriverError> {
        // Kept before the card knows of them: should it fail half-way, a reset gives them back.
        self.pairs = rings::make(self.host.dma(), self.card.family(), self.sizes)?;
        let config = Config {
            mac: self.info.mac,
            longest: self.longest(),
            buffer: self.sizes.buffer,
            rss_key: &self.rss_key,
            wishes: &self.wishes,
        };
        bring_up::program(&self.card, self.host, &self.pairs, &config)?;
        self.armed = Events::empty();
        let last = self.info.queue_pairs;
        for queue in (0..last).map(QueueId) {
            self.refill(queue);
        }
        for queue in (0..last).map(QueueId) {
            self.flush(queue);
        }
        Ok(())
    }

    /// Resets the card and takes back what it held.
    fn stop(&mut self) -> Result<(), DriverError> {
        let TakenBack { rx, tx } = rings::stop(&mut self.pairs, &self.card, self.host)?;
        let drops = &mut self.stats.drops;
        drops.add(DropReason::RxReset, rx.len() as u64);
        drops.add(DropReason::TxReset, tx.len() as u64);
        Ok(())
    }

    /// Starts the card again after a reset, if it is the same one; the stack was told its address.
    fn restart(&mut self) -> Result<(), DriverError> {
        let mac = bring_up::mac(&self.card, self.host)?;
        // One card's reset leaves the address that it was given.
        if mac != self.own && mac != self.info.mac {
            return Err(DriverError::Changed);
        }
        if core::mem::take(&mut self.looped) {
            phy::negotiate(&self.card, self.host)?;
        }
        self.start()
    }

    /// Longest frame that is not cut into segments.
    fn longest(&self) -> usize {
        self.sizes.longest
    }

    /// The queue pair, while the card keeps its contract.
    #[inline]
    fn pair(&mut self, queue: QueueId) -> Option<&mut Pair> {
        if self.fault.is_some() {
            return None;
        }
        self.pairs.get_mut(usize::from(queue.0))
    }

    /// The queue pair, whatever state the card is in.
    fn pair_at_rest(&self, queue: QueueId) -> Option<&Pair> {
        self.pairs.get(usize::from(queue.0))
    }

    /// Notes a fault that a receive ring found.
    fn note_faults(&mut self) {
        if self.fault.is_none() {
            self.fault = self.pairs.iter().find_map(|pair| pair.rx.fault());
        }
    }

    /// Looks at the card: is it there, does it run, and is the link up?
    fn look(&mut self) -> LinkState {
        let status = self.card.bus().get(STATUS);
        let receive = self.card.bus().get(RCTL);
        let fault = if status.bits() == u32::MAX {
            Some(DeviceFault::Gone)
        } else if receive.contains(Rctl::EN) {
            None
        } else {
            // Whatever it was that reset it, it is as after power-on.
            let status = receive.bits() as u8;
            Some(DeviceFault::Stopped { status })
        };
        self.fault = self.fault.or(fault);
        if fault == Some(DeviceFault::Gone) || !status.contains(Status::LU) {
            return LinkState::Down;
        }
        let mbps = if status.contains(Status::SPEED_HIGH) {
            1000
        } else if status.contains(Status::SPEED_LOW) {
            100
        } else {
            10
        };
        LinkState::Up { mbps: Some(mbps) }
    }

    /// Looks whether the card still sends, from each of its rings.
    fn check_progress(&mut self, link: LinkState) {
        let now = self.host.uptime_ms();
        for (number, pair) in (0..).zip(&mut self.pairs) {
            let stuck = pair.tx.lent() > 0 && !pair.tx.has_completions();
            let found = pair.watchdog.check(2 * number + 1, now, stuck, link);
            self.fault = self.fault.or(found);
        }
    }
}

fn describe<B: RegisterBus>(card: &Card<B>, pairs: u16) -> String {
    let family = card.family();
    let descriptors = match family {
        Family::E8254x => "legacy",
        Family::E82574 => "extended",
        _ => "advanced",
    };
    let interrupts = if card.has_msix() { "msix" } else { "line" };
    let spread = if pairs > 1 { " rss" } else { "" };
    let cut = if family == Family::E8254x {
        "tso4"
    } else {
        "tso4 tso6"
    };
    format!("{descriptors} descriptors {interrupts}{spread} csum rx_csum {cut}")
}

impl<B: RegisterBus> Drop for IntelNet<B> {
    fn drop(&mut self) {
        // Stopped, the card gives everything back; one that cannot be stopped keeps it.
        let _ = rings::stop(&mut self.pairs, &self.card, self.host);
    }
}
