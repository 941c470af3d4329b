//! An Intel gigabit card as a [`NetDevice`].
//!
//! The kernel makes one of a probed [`Card`]; the stack turns it. The invariant: every packet is
//! with the caller, in exactly one of the two rings, or the beginning of a frame whose end has not
//! come; and it comes back from a ring only by a descriptor that was written back and checked, or
//! by a reset that was waited for.
#![forbid(unsafe_code)]

mod receive;
mod requests;
mod verbs;

use alloc::string::String;
use alloc::vec::Vec;

use pbufpool::{Packet, PacketQueue, Pool};

use super::bring_up::{self, Config, LEAST_BUFFER};
use super::bus::{RegisterBus, Typed};
use super::model::Family;
use super::phy;
use super::registers::*;
use super::reset::Card;
use super::rings::{Rings, Sizes, TakenBack, stop};
use super::tx_ring;
use crate::backoff::BackOff;
use crate::error::{DeviceFault, DriverError};
use crate::host::Host;
use crate::net::wishes::Wishes;
use crate::net::*;
use crate::watchdog::Watchdog;
use receive::Assembly;

/// Ethernet header.
const ETHERNET: usize = 14;
/// Largest MTU: what common switches and all cards take in jumbo frames.
const MOST_MTU: usize = 9_000;
/// Smallest MTU (RFC 791).
const LEAST_MTU: usize = 68;
/// Most packets in a ring, whose descriptors the longest ring of the cards has.
const MOST_RING: u16 = 1_024;

/// Choices for one card.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Options {
    /// Buffers in the receive ring.
    pub rx_ring: u16,
    /// Frames in the transmit ring.
    pub tx_ring: u16,
    /// Largest layer-3 packet in bytes. Above 1,500 it makes jumbo frames: those longer than a
    /// buffer are chains of several, if the pool allows.
    pub mtu: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            rx_ring: 256,
            tx_ring: 256,
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
    /// `None` only while the card could not be restarted after a reset.
    rings: Option<Rings>,
    /// The frame whose end has not come.
    assembly: Assembly,
    /// Causes that may interrupt since they were last asked for.
    armed: Causes,
    /// Frames turn round in the PHY.
    looped: bool,
    fault: Option<DeviceFault>,
    backoff: BackOff,
    watchdog: Watchdog,
    /// Transmissions completed since the start.
    tx_completed: u64,
    stats: NicStats,
    /// Frames sent and not given back to the pool yet, batched.
    done: PacketQueue,
    /// Fresh receive buffers on their way to the ring; empty between calls.
    fresh: Vec<Packet>,
    /// Descriptors that the frame needs which the last burst left with the caller; 0: none left.
    tx_needs: usize,
}

impl<B: RegisterBus> IntelNet<B> {
    /// Starts the card; its receive ring is fed from `pool`.
    ///
    /// # Errors
    /// What the card lacks, or what the pool or the options do not allow. The card is stopped.
    pub fn new(
        card: Card<B>,
        pool: Pool,
        host: &'static dyn Host,
        options: Options,
    ) -> Result<Self, DriverError> {
        let sizes = Sizes {
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
            queue_pairs: 1,
            rx_ring: options.rx_ring,
            tx_ring: options.tx_ring,
            interrupts: if card.has_msix() {
                InterruptMode::MsiX(1)
            } else {
                InterruptMode::Line
            },
            features: describe(&card),
        };
        let mut device = Self {
            card,
            host,
            pool,
            sizes,
            info,
            own: mac,
            wishes: Wishes::default(),
            rings: None,
            assembly: Assembly::default(),
            armed: Causes::empty(),
            looped: false,
            fault: None,
            backoff: BackOff::default(),
            watchdog: Watchdog::default(),
            tx_completed: 0,
            stats: NicStats::default(),
            done: PacketQueue::new(),
            fresh: Vec::with_capacity(options.rx_ring.into()),
            tx_needs: 0,
        };
        device.start()?;
        Ok(device)
    }

    /// Makes rings, programs the card, which was reset, and gives it its first buffers.
    fn start(&mut self) -> Result<(), DriverError> {
        let rings = Rings::new(self.host.dma(), self.card.family(), self.sizes)?;
        let config = Config {
            mac: self.info.mac,
            longest: self.longest(),
            buffer: self.sizes.buffer,
            wishes: &self.wishes,
        };
        bring_up::program(&self.card, &rings, &config);
        self.rings = Some(rings);
        self.armed = Causes::empty();
        self.refill(QueueId(0));
        self.flush(QueueId(0));
        Ok(())
    }

    /// Resets the card and takes back what it held.
    fn stop(&mut self) -> Result<(), DriverError> {
        let TakenBack { rx, tx } = stop(&mut self.rings, &self.card, self.host)?;
        let begun = core::mem::take(&mut self.assembly).packets();
        let drops = &mut self.stats.drops;
        drops.add(DropReason::RxReset, (rx.len() + begun) as u64);
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

    /// The rings, while the card keeps its contract.
    #[inline]
    fn pair(&mut self, queue: QueueId) -> Option<&mut Rings> {
        if self.fault.is_some() || queue.0 != 0 {
            return None;
        }
        self.rings.as_mut()
    }

    /// Notes a fault that the receive ring found.
    fn note_faults(&mut self) {
        if self.fault.is_none() {
            self.fault = self.rings.as_ref().and_then(|rings| rings.rx.fault());
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

    /// Looks whether the card still sends. Without a carrier it need not.
    fn check_progress(&mut self, link: LinkState) {
        let Some(rings) = &self.rings else { return };
        let stuck = rings.tx.lent() > 0 && !rings.tx.has_completions();
        let busy = stuck && link != LinkState::Down;
        let now = self.host.uptime_ms();
        let hung = self.watchdog.look(now, self.tx_completed, busy);
        if let (Some(ms), None) = (hung, self.fault) {
            let queue = tx_ring::QUEUE;
            self.fault = Some(DeviceFault::Stalled { queue, ms });
        }
    }

    /// What interrupts for received frames, and for room in the transmit ring.
    fn causes(&self, room: bool) -> Causes {
        let (receive, transmit) = if self.card.has_msix() {
            (Causes::RXQ0, Causes::TXQ0)
        } else {
            (Causes::RXT0 | Causes::RXO | Causes::RXDMT0, Causes::TXDW)
        };
        if room { receive | transmit } else { receive }
    }
}

fn describe<B: RegisterBus>(card: &Card<B>) -> String {
    let text = match (card.family(), card.has_msix()) {
        (Family::E8254x, _) => "legacy descriptors line csum rx_csum tso4",
        (Family::E82574, false) => "extended descriptors line csum rx_csum tso4 tso6",
        (Family::E82574, true) => "extended descriptors msix csum rx_csum tso4 tso6",
    };
    text.into()
}

impl<B: RegisterBus> Drop for IntelNet<B> {
    fn drop(&mut self) {
        // Stopped, the card gives everything back; one that cannot be stopped keeps it.
        let _ = stop(&mut self.rings, &self.card, self.host);
    }
}
