//! The queue pairs of a card: made together, shown to the card together, and taken back together once
//! it was reset.

use alloc::vec::Vec;

use pbufpool::{DmaMemory, PacketQueue};

use super::assembly::Assembly;
use super::bus::RegisterBus;
use super::descriptor::RxFormat;
use super::model::Family;
use super::reset::Card;
use super::ring::DescriptorRing;
use super::rx_ring::RxRing;
use super::tx_ring::TxRing;
use crate::error::DriverError;
use crate::host::{Host, HostError};
use crate::ring::order::Order;
use crate::watchdog::Watchdog;

/// A receive and a transmit ring, with what the driver has to remember of each.
#[derive(Debug)]
pub struct Pair {
    /// Receive.
    pub rx: RxRing,
    /// Transmit.
    pub tx: TxRing,
    /// The order of its receive buffers.
    pub(super) order: Order,
    /// The frame whose end has not come.
    pub(super) assembly: Assembly,
    /// Descriptors that the frame needs which the last burst left with the caller; 0: none left.
    pub(super) tx_needs: usize,
    /// Whether the card still sends.
    pub(super) watchdog: Watchdog,
}

/// Sizes of rings and buffers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Sizes {
    /// Queue pairs.
    pub pairs: u16,
    /// Buffers in each receive ring.
    pub rx: u16,
    /// Frames in each transmit ring.
    pub tx: u16,
    /// Bytes of a receive buffer that the card may write.
    pub buffer: u16,
    /// Bytes of the longest frame that is not to be cut.
    pub longest: usize,
}

/// New rings, which no card knows of.
///
/// # Errors
/// There is no memory for them.
pub fn make(
    dma: &'static dyn DmaMemory,
    family: Family,
    sizes: Sizes,
) -> Result<Vec<Pair>, DriverError> {
    let mut pairs = Vec::with_capacity(sizes.pairs.into());
    for number in 0..sizes.pairs {
        match Pair::new(dma, family, sizes, number) {
            Ok(pair) => pairs.push(pair),
            Err(why) => {
                // SAFETY: the card was never told of these rings.
                unsafe { reclaim(&mut pairs, &mut TakenBack::default()) };
                return Err(why);
            }
        }
    }
    Ok(pairs)
}

impl Pair {
    fn new(
        dma: &'static dyn DmaMemory,
        family: Family,
        sizes: Sizes,
        number: u16,
    ) -> Result<Self, DriverError> {
        let format = match family {
            Family::E8254x => RxFormat::Legacy,
            // What the igb family writes back is the same where it is looked at.
            _ => RxFormat::Extended,
        };
        let lacking = |used| HostError::OutOfDmaMemory {
            len: DescriptorRing::bytes_for(used),
        };
        let rx = RxRing::new(dma, sizes.rx, sizes.buffer, format, 2 * number);
        let rx = rx.ok_or(lacking(sizes.rx))?;
        match TxRing::new(dma, sizes.tx, sizes.longest, family == Family::E8254x) {
            Some(tx) => Ok(Self {
                rx,
                tx,
                order: Order::default(),
                assembly: Assembly::default(),
                tx_needs: 0,
                watchdog: Watchdog::default(),
            }),
            None => {
                // SAFETY: the card was never told of this ring.
                unsafe { rx.into_descriptors().reclaim(&mut PacketQueue::new()) };
                Err(lacking(TxRing::descriptors_for(sizes.tx, sizes.longest)).into())
            }
        }
    }

    /// Whether a ring has something to take.
    pub(super) fn has_completions(&self) -> bool {
        self.rx.has_completions() || self.tx.has_completions()
    }
}

/// Packets of a card that was stopped.
#[derive(Default)]
pub struct TakenBack {
    /// From the receive rings, and of frames whose end had not come.
    pub rx: PacketQueue,
    /// From the transmit rings.
    pub tx: PacketQueue,
}

/// Resets the card and, once it has stopped, takes every packet back and frees the rings: none are
/// left.
///
/// # Errors
/// The card does not stop: it may still write to what `pairs` hold, so they stay.
pub fn stop<B: RegisterBus>(
    pairs: &mut Vec<Pair>,
    card: &Card<B>,
    host: &dyn Host,
) -> Result<TakenBack, DriverError> {
    card.reset(host)?;
    let mut taken = TakenBack::default();
    // SAFETY: the card has just been reset and said so.
    unsafe { reclaim(pairs, &mut taken) };
    Ok(taken)
}

/// Takes every packet back and frees the rings.
///
/// # Safety
/// The card was reset since it was told of the rings, or never was.
unsafe fn reclaim(pairs: &mut Vec<Pair>, taken: &mut TakenBack) {
    for pair in pairs.drain(..) {
        if let Assembly::Begun(frame) = pair.assembly {
            taken.rx.push_back(frame);
        }
        // SAFETY: as the caller promises.
        unsafe {
            pair.rx.into_descriptors().reclaim(&mut taken.rx);
            pair.tx.into_descriptors().reclaim(&mut taken.tx);
        }
    }
}
