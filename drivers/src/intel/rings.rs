//! Both rings of a card: made together, shown to the card together, and taken back together once
//! it was reset.

use pbufpool::{DmaMemory, PacketQueue};

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

/// A receive and a transmit ring.
#[derive(Debug)]
pub struct Rings {
    /// Receive.
    pub rx: RxRing,
    /// Transmit.
    pub tx: TxRing,
    /// The order of its receive buffers.
    pub(super) order: Order,
}

/// Sizes of rings and buffers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Sizes {
    /// Buffers in the receive ring.
    pub rx: u16,
    /// Frames in the transmit ring.
    pub tx: u16,
    /// Bytes of a receive buffer that the card may write.
    pub buffer: u16,
    /// Bytes of the longest frame that is not to be cut.
    pub longest: usize,
}

impl Rings {
    /// New rings, which no card knows of.
    ///
    /// # Errors
    /// There is no memory for them.
    pub fn new(
        dma: &'static dyn DmaMemory,
        family: Family,
        sizes: Sizes,
    ) -> Result<Self, DriverError> {
        let format = match family {
            Family::E8254x => RxFormat::Legacy,
            Family::E82574 => RxFormat::Extended,
        };
        let lacking = |used| HostError::OutOfDmaMemory {
            len: DescriptorRing::bytes_for(used),
        };
        let rx = RxRing::new(dma, sizes.rx, sizes.buffer, format).ok_or(lacking(sizes.rx))?;
        match TxRing::new(dma, sizes.tx, sizes.longest, family == Family::E8254x) {
            Some(tx) => Ok(Self {
                rx,
                tx,
                order: Order::default(),
            }),
            None => {
                // SAFETY: the card was never told of this ring.
                unsafe { rx.into_descriptors().reclaim(&mut PacketQueue::new()) };
                Err(lacking(TxRing::descriptors_for(sizes.tx, sizes.longest)).into())
            }
        }
    }
}

/// Packets of a card that was stopped.
#[derive(Default)]
pub struct TakenBack {
    /// From the receive ring.
    pub rx: PacketQueue,
    /// From the transmit ring.
    pub tx: PacketQueue,
}

/// Resets the card and, once it has stopped, takes every packet back and frees the rings.
///
/// # Errors
/// The card does not stop: it may still write to what `rings` hold, so they stay.
pub fn stop<B: RegisterBus>(
    rings: &mut Option<Rings>,
    card: &Card<B>,
    host: &dyn Host,
) -> Result<TakenBack, DriverError> {
    card.reset(host)?;
    let mut taken = TakenBack::default();
    if let Some(Rings { rx, tx, .. }) = rings.take() {
        // SAFETY: the card has just been reset and said so.
        unsafe {
            rx.into_descriptors().reclaim(&mut taken.rx);
            tx.into_descriptors().reclaim(&mut taken.tx);
        }
    }
    Ok(taken)
}
