//! Starting and stopping the device with its queues.
//!
//! Whatever fails, nothing is left behind: a device that was shown its rings is reset before
//! they are given up, and one that cannot be reset keeps them.

use alloc::vec::Vec;

use pbufpool::{PacketQueue, Pool};

use super::control::{self, Control, RSS_KEY};
use super::header::HEADER_LEN;
use super::{config, negotiate};
use crate::error::{DeviceFault, DriverError};
use crate::host::{Host, HostError};
use crate::net::{MacAddr, QueueId};
use crate::ring::order::Order;
use crate::virtio::queue::{QueueConfig, Ring, Virtqueue};
use crate::virtio::transport::{Interface, Transport};
use crate::virtio::{Features, Status};
use crate::watchdog::Watchdog;

/// Choices for one device.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Options {
    /// Descriptors of the receive ring at most; a power of two.
    pub rx_ring: u16,
    /// Descriptors of the transmit ring at most; a power of two.
    pub tx_ring: u16,
    /// Features to do without.
    pub without: Features,
    /// Queue pairs at most, at least one.
    pub pairs: u16,
    /// What a device that steers by a hash mixes in: random, so that no sender can aim.
    pub rss_key: [u8; RSS_KEY],
}

impl Default for Options {
    fn default() -> Self {
        Self {
            rx_ring: 256,
            tx_ring: 256,
            without: Features::empty(),
            pairs: 1,
            rss_key: [0x6d; RSS_KEY],
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
        if self.pairs == 0 {
            return Err(DriverError::BadOption {
                name: "nic.queues",
                value: 0,
                allowed: "1 or more",
            });
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

/// A queue pair: queues 2n and 2n + 1 of the device (5.1.2).
pub(super) struct Pair {
    pub(super) rx: Virtqueue,
    pub(super) tx: Virtqueue,
    /// The order of its receive buffers.
    pub(super) order: Order,
    /// Buffers of the frame that the last burst left with the caller; 0: none left.
    pub(super) tx_waiting: usize,
    /// Whether the device still sends.
    pub(super) watchdog: Watchdog,
}

/// The queues of a device.
pub(super) struct Queues {
    pub(super) pairs: Vec<Pair>,
    pub(super) control: Option<Control>,
}

impl Queues {
    /// One of the pairs.
    #[inline(always)]
    pub(super) fn pair(queues: &mut Option<Self>, queue: QueueId) -> Option<&mut Pair> {
        queues.as_mut()?.pairs.get_mut(usize::from(queue.0))
    }

    fn all(&self) -> impl Iterator<Item = &Virtqueue> {
        let pairs = self.pairs.iter().flat_map(|pair| [&pair.rx, &pair.tx]);
        pairs.chain(self.control.iter().map(|control| &control.queue))
    }

    /// The first fault that a queue found.
    pub(super) fn fault(&self) -> Option<DeviceFault> {
        self.all().find_map(Virtqueue::fault)
    }

    /// Whether any queue has completions to take.
    pub(super) fn have_completions(&self) -> bool {
        self.all().any(Virtqueue::has_completions)
    }

    /// Takes every packet back and frees the rings.
    ///
    /// # Safety
    /// The device was reset since the queues were enabled, or never saw them.
    unsafe fn reclaim(self, taken: &mut TakenBack) {
        if let Some(Control { queue }) = self.control {
            // SAFETY: as the caller promises.
            unsafe { queue.reclaim(&mut PacketQueue::new()) };
        }
        for Pair { rx, tx, .. } in self.pairs {
            // SAFETY: as the caller promises.
            unsafe {
                rx.reclaim(&mut taken.rx);
                tx.reclaim(&mut taken.tx);
            }
        }
    }
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
    if let Some(queues) = queues.take() {
        // SAFETY: the device has just been reset and said so.
        unsafe { queues.reclaim(&mut taken) };
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

/// Resets, negotiates what fits `pool` of `wanted`, makes the queues and says that the driver is ready (3.1.1).
///
/// # Errors
/// What the device or the machine lacks. The device is stopped, and its status says FAILED.
pub(super) fn start(
    transport: &mut dyn Transport,
    host: &dyn Host,
    options: Options,
    wanted: Features,
    pool: &Pool,
) -> Result<Started, DriverError> {
    let started = negotiate::reset(transport, host)
        .and_then(|()| negotiate::negotiate(transport, wanted, &options, pool))
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
    let queues = make_queues(transport, host, options, features)?;
    let enabled = queues.all().try_for_each(|queue| {
        transport.enable_queue(queue.index(), queue.size(), queue.addresses())
    });
    if let Err(why) = enabled {
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

/// Makes the queues, which the device is not shown yet.
fn make_queues(
    transport: &mut dyn Transport,
    host: &dyn Host,
    options: Options,
    features: Features,
) -> Result<Queues, DriverError> {
    let legacy = transport.interface() == Interface::Legacy;
    let ring = if legacy {
        Ring::Legacy
    } else if features.contains(Features::RING_PACKED) {
        Ring::Packed
    } else {
        Ring::Split
    };
    let several = features.intersects(negotiate::SEVERAL_PAIRS);
    let max_pairs = if several {
        config::max_pairs(transport)
    } else {
        1
    };
    let header = negotiate::own_descriptor(legacy, features);
    let tables = features.contains(Features::INDIRECT_DESC);
    // A receive buffer is one piece. A command is two, and goes the way of all chains: a ring as short as
    // that of the control queue shares its page with its tables.
    let mut queue = |index, wanted: u16, posts_chains: bool| {
        let size = size(transport, ring, index, wanted)?;
        let config = QueueConfig {
            index,
            size,
            capacity: wanted.min(QueueConfig::room(size, header)),
            event_index: features.contains(Features::EVENT_IDX),
            in_order: features.contains(Features::IN_ORDER),
            header,
            indirect: tables && posts_chains,
        };
        let no_memory = HostError::OutOfDmaMemory {
            len: Virtqueue::bytes(ring, &config),
        };
        Ok(Virtqueue::new(host.dma(), ring, config).ok_or(no_memory)?)
    };
    let mut queues = Queues {
        pairs: Vec::new(),
        control: None,
    };
    let give_up = |queues: Queues, rx: Option<Virtqueue>, why| {
        let mut none = TakenBack::default();
        // SAFETY: the device was never shown these queues.
        unsafe {
            queues.reclaim(&mut none);
            if let Some(rx) = rx {
                rx.reclaim(&mut none.rx);
            }
        }
        Err(why)
    };
    for pair in 0..max_pairs.min(options.pairs) {
        let rx = match queue(2 * pair, options.rx_ring, false) {
            Ok(rx) => rx,
            Err(why) => return give_up(queues, None, why),
        };
        match queue(2 * pair + 1, options.tx_ring, true) {
            Ok(tx) => queues.pairs.push(Pair {
                rx,
                tx,
                order: Order::default(),
                tx_waiting: 0,
                watchdog: Watchdog::default(),
            }),
            Err(why) => return give_up(queues, Some(rx), why),
        }
    }
    if features.contains(Features::CTRL_VQ) {
        // Behind the queues of all pairs that the device has (5.1.2).
        match queue(2 * max_pairs, control::RING, true) {
            Ok(queue) => queues.control = Some(Control { queue }),
            Err(why) => return give_up(queues, None, why),
        }
    }
    Ok(queues)
}

/// The size of a queue: no larger than `wanted`, nor than the device allows. A split ring's is a
/// power of two (2.7). With the legacy interface it is the device's to choose.
fn size(
    transport: &mut dyn Transport,
    ring: Ring,
    queue: u16,
    wanted: u16,
) -> Result<u16, DriverError> {
    let max = transport.queue_max(queue);
    match (max.checked_ilog2(), ring) {
        (None | Some(0), _) => Err(DriverError::QueueTooSmall { queue, max }),
        (Some(_), Ring::Legacy) if max.is_power_of_two() => Ok(max),
        (Some(_), Ring::Legacy) => Err(DriverError::QueueSize { queue, size: max }),
        (Some(log), Ring::Split) => Ok(wanted.min(1 << log)),
        (Some(_), Ring::Packed) => Ok(wanted.min(max)),
    }
}
