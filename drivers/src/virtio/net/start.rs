//! Starting and stopping the device with its two queues.
//!
//! Whatever fails, nothing is left behind: a device that was shown its rings is reset before
//! they are given up, and one that cannot be reset keeps them.

use pbufpool::PacketQueue;

use super::header::HEADER_LEN;
use super::{config, negotiate};
use crate::error::DriverError;
use crate::host::{Host, HostError};
use crate::net::MacAddr;
use crate::virtio::queue::SplitQueue;
use crate::virtio::queue::split::Direction;
use crate::virtio::transport::Transport;
use crate::virtio::{Features, Status};

/// Receive queue of pair 0 (5.1.2).
pub(super) const RX: u16 = 0;
/// Transmit queue of pair 0.
pub(super) const TX: u16 = 1;

/// Choices for one device.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Options {
    /// Descriptors of the receive ring at most; a power of two.
    pub rx_ring: u16,
    /// Descriptors of the transmit ring at most; a power of two.
    pub tx_ring: u16,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            rx_ring: 256,
            tx_ring: 256,
        }
    }
}

impl Options {
    /// Refuses what cannot work with buffers of `buffer_size` bytes.
    pub(super) fn check(self, buffer_size: usize) -> Result<(), DriverError> {
        for (name, value) in [("ring.rx", self.rx_ring), ("ring.tx", self.tx_ring)] {
            if !value.is_power_of_two() || !(2..=1 << 15).contains(&value) {
                let allowed = "a power of two from 2 to 32768";
                return Err(DriverError::BadOption {
                    name,
                    value: value.into(),
                    allowed,
                });
            }
        }
        // The receive buffer that the specification asks for is as long (5.1.6.3.1).
        let (size, needed) = (buffer_size, HEADER_LEN + 14 + config::MOST_MTU);
        if size < needed {
            Err(DriverError::BufferTooSmall { size, needed })
        } else {
            Ok(())
        }
    }
}

/// Both queues of a device.
pub(super) struct Queues {
    pub(super) rx: SplitQueue,
    pub(super) tx: SplitQueue,
}

/// Packets of a device that was stopped.
#[derive(Default)]
pub(super) struct TakenBack {
    pub(super) rx: PacketQueue,
    pub(super) tx: PacketQueue,
}

/// Resets the device and, once it has stopped, takes every packet back and frees the rings.
///
/// # Errors
/// The device does not stop: it may still write to what `queues` hold, so they stay.
pub(super) fn stop(
    queues: &mut Option<Queues>,
    transport: &mut dyn Transport,
    host: &dyn Host,
) -> Result<TakenBack, DriverError> {
    negotiate::reset(transport, host)?;
    let mut taken = TakenBack::default();
    if let Some(Queues { rx, tx }) = queues.take() {
        // SAFETY: the device has just been reset and said so.
        unsafe {
            rx.reclaim(&mut taken.rx);
            tx.reclaim(&mut taken.tx);
        }
    }
    Ok(taken)
}

/// What a device is, once it runs.
pub(super) struct Started {
    pub(super) features: Features,
    pub(super) queues: Queues,
    pub(super) mac: MacAddr,
    pub(super) mtu: usize,
}

/// Resets, negotiates `wanted`, makes the queues and says that the driver is ready (3.1.1).
///
/// # Errors
/// What the device or the machine lacks. The device is stopped, and its status says FAILED.
pub(super) fn start(
    transport: &mut dyn Transport,
    host: &dyn Host,
    options: Options,
    wanted: Features,
) -> Result<Started, DriverError> {
    let started = negotiate::reset(transport, host)
        .and_then(|()| negotiate::negotiate(transport, wanted))
        .and_then(|features| set_up(transport, host, options, features));
    started.inspect_err(|_| transport.set_status(Status::FAILED))
}

fn set_up(
    transport: &mut dyn Transport,
    host: &dyn Host,
    options: Options,
    features: Features,
) -> Result<Started, DriverError> {
    let mac = config::mac(transport, features)?;
    let mtu = config::mtu(transport, features);
    let events = features.contains(Features::EVENT_IDX);
    let rx_size = size(transport, RX, options.rx_ring)?;
    let tx_size = size(transport, TX, options.tx_ring)?;
    let rx = queue(host, RX, rx_size, Direction::DeviceWrites, events)?;
    let tx = match queue(host, TX, tx_size, Direction::DeviceReads, events) {
        Ok(tx) => tx,
        Err(why) => {
            // SAFETY: the device was never shown this queue.
            unsafe { rx.reclaim(&mut PacketQueue::new()) };
            return Err(why);
        }
    };
    let queues = Queues { rx, tx };
    let mut enable =
        |queue: &SplitQueue| transport.enable_queue(queue.index(), queue.size(), queue.addresses());
    if let Err(why) = enable(&queues.rx).and_then(|()| enable(&queues.tx)) {
        // Rings of a device that does not stop are never freed.
        let _ = stop(&mut Some(queues), transport, host);
        return Err(why);
    }
    negotiate::ready(transport);
    Ok(Started {
        features,
        queues,
        mac,
        mtu,
    })
}

/// The largest power of two that the device allows, no larger than `wanted`.
fn size(transport: &mut dyn Transport, queue: u16, wanted: u16) -> Result<u16, DriverError> {
    let max = transport.queue_max(queue);
    match max.checked_ilog2() {
        None | Some(0) => Err(DriverError::QueueTooSmall { queue, max }),
        Some(log) => Ok(wanted.min(1 << log)),
    }
}

fn queue(
    host: &dyn Host,
    index: u16,
    size: u16,
    direction: Direction,
    events: bool,
) -> Result<SplitQueue, DriverError> {
    let no_memory = HostError::OutOfDmaMemory {
        len: SplitQueue::bytes(size),
    };
    Ok(SplitQueue::new(host.dma(), index, size, direction, events).ok_or(no_memory)?)
}
