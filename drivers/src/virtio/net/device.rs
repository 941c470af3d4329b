//! The virtio network device as a [`NetDevice`].
//!
//! The kernel makes one of a probed [`Transport`]; the stack turns it. A packet is one descriptor
//! each way: the device's header lies in the buffer's headroom. Receive buffers are posted whole;
//! a frame to send has room for the header in front. The invariant: every packet is with the
//! caller or in exactly one of the two queues, and comes back from there only by a completion
//! that was checked or by a reset that was waited for.
#![forbid(unsafe_code)]

mod receive;
mod requests;
mod verbs;

use alloc::string::String;
use alloc::vec::Vec;

use pbufpool::{Packet, Pool};

use super::frames::Rules;
use super::start::{Options, Pair, Queues, Started, start, stop};
use super::{config, header, negotiate};
use crate::backoff::BackOff;
use crate::error::{DeviceFault, DriverError};
use crate::host::Host;
use crate::net::wishes::Wishes;
use crate::net::*;
use crate::virtio::queue::Virtqueue;
use crate::virtio::transport::Transport;
use crate::virtio::{Features, Status};

/// A virtio network card.
pub struct VirtioNet<T: Transport> {
    transport: T,
    host: &'static dyn Host,
    pool: Pool,
    options: Options,
    rules: Rules,
    info: DeviceInfo,
    /// `None` only while the device could not be restarted after a reset.
    queues: Option<Queues>,
    fault: Option<DeviceFault>,
    backoff: BackOff,
    stats: NicStats,
    /// Fresh receive buffers on their way to the ring; empty between calls.
    fresh: Vec<Packet>,
    /// The address that the device had at first.
    own_mac: MacAddr,
    /// What was asked of the device, to be asked again after a reset.
    wishes: Wishes,
    /// The station is to announce itself, as the device said last.
    announce: bool,
}

impl<T: Transport> VirtioNet<T> {
    /// Starts the device; its receive rings are fed from `pool`. What the pool's packets can hold
    /// decides what is negotiated: chains of more than one buffer allow merged frames, and 64 KiB
    /// in one packet receive segmentation.
    ///
    /// # Errors
    /// What the device lacks, or what the pool or the options do not allow. The device is stopped.
    pub fn new(
        mut transport: T,
        pool: Pool,
        host: &'static dyn Host,
        options: Options,
    ) -> Result<Self, DriverError> {
        options.check(pool.buffer_size())?;
        let started = start(
            &mut transport,
            host,
            options,
            negotiate::WANTED - options.without,
            &pool,
        )?;
        let Started {
            features,
            queues,
            mac,
            mtu,
        } = started;
        let (rx_ring, tx_ring) = ring_sizes(&queues);
        let info = DeviceInfo {
            model: "virtio-net",
            location: transport.location(),
            mac,
            mtu,
            queue_pairs: queues.pairs.len() as u16,
            rx_ring,
            tx_ring,
            interrupts: transport.interrupts(),
            features: describe(features),
        };
        let mut device = Self {
            transport,
            host,
            pool,
            options,
            rules: Rules {
                features,
                mtu,
                header_len: header::len(features),
                tx_ring,
            },
            info,
            queues: Some(queues),
            fault: None,
            backoff: BackOff::default(),
            stats: NicStats::default(),
            fresh: Vec::with_capacity(rx_ring.into()),
            own_mac: mac,
            wishes: Wishes::default(),
            announce: false,
        };
        device.configure()?;
        device.feed();
        Ok(device)
    }

    /// First buffers, and the first doorbells: after `DRIVER_OK`, as it has to be (3.1.1). All rings
    /// have their buffers before any doorbell rings: at one, a device may retry a frame that waits
    /// since, and which a hash sends to another ring.
    fn feed(&mut self) {
        for queue in (0..self.info.queue_pairs).map(QueueId) {
            self.refill(queue);
        }
        let Some(queues) = &mut self.queues else {
            return;
        };
        let fed = queues.pairs.iter_mut().map(|pair| &mut pair.rx);
        let wanted: Vec<_> = fed.filter_map(Virtqueue::publish).collect();
        for doorbell in wanted {
            self.transport.notify(doorbell);
            self.stats.doorbells += 1;
        }
    }

    /// The queue pair, while the device keeps its contract.
    #[inline]
    fn pair(&mut self, queue: QueueId) -> Option<&mut Pair> {
        if self.fault.is_some() {
            return None;
        }
        Queues::pair(&mut self.queues, queue)
    }

    /// The queue pair, whatever state the device is in.
    fn pair_at_rest(&self, queue: QueueId) -> Option<&Pair> {
        self.queues.as_ref()?.pairs.get(usize::from(queue.0))
    }

    /// Notes a fault that a queue found.
    fn note_faults(&mut self) {
        let Some(queues) = &self.queues else { return };
        if self.fault.is_none() {
            self.fault = queues.fault();
        }
    }

    /// Looks whether the device still runs.
    fn check_status(&mut self) {
        if self.fault.is_some() {
            return;
        }
        let status = self.transport.status();
        self.fault = if status.bits() == u8::MAX {
            Some(DeviceFault::Gone)
        } else if status.contains(Status::NEEDS_RESET) {
            Some(DeviceFault::NeedsReset)
        } else if !status.contains(Status::DRIVER_OK) {
            Some(DeviceFault::Stopped {
                status: status.bits(),
            })
        } else {
            None
        };
        self.announce = config::wants_announcement(&self.transport, self.rules.features);
    }

    /// Looks whether the device still sends, from each of its rings.
    fn check_progress(&mut self, link: LinkState) {
        let Some(queues) = &mut self.queues else {
            return;
        };
        let now = self.host.uptime_ms();
        for pair in &mut queues.pairs {
            // What is done and not reclaimed yet is no matter of the device.
            let stuck = pair.tx.lent() > 0 && !pair.tx.has_completions();
            let found = pair.watchdog.check(pair.tx.index(), now, stuck, link);
            self.fault = self.fault.or(found);
        }
    }

    /// Resets the device and takes back what it held.
    fn stop(&mut self) -> Result<(), DriverError> {
        let taken = stop(&mut self.queues, &mut self.transport, self.host)?;
        let drops = &mut self.stats.drops;
        drops.add(DropReason::RxReset, taken.rx.len() as u64);
        drops.add(DropReason::TxReset, taken.tx.len() as u64);
        Ok(())
    }

    /// Starts a stopped device again, as it was: the stack was told its features and its address.
    fn restart(&mut self) -> Result<(), DriverError> {
        let before = self.rules.features;
        let started = start(
            &mut self.transport,
            self.host,
            self.options,
            before,
            &self.pool,
        )?;
        let Started {
            features,
            queues,
            mac,
            mtu,
        } = started;
        let (rings, pairs) = (ring_sizes(&queues), queues.pairs.len());
        self.queues = Some(queues);
        // A device may keep the address that it was given.
        let same = features == before
            && (mac == self.own_mac || mac == self.info.mac)
            && (mtu, pairs) == (self.info.mtu, self.info.queue_pairs.into())
            && rings == (self.info.rx_ring, self.info.tx_ring);
        if !same {
            self.stop()?;
            return Err(DriverError::Changed);
        }
        self.fault = None;
        self.configure()
    }
}

/// Buffers that the receive and the transmit rings have room for, the same in all pairs.
fn ring_sizes(queues: &Queues) -> (u16, u16) {
    let sizes = queues
        .pairs
        .iter()
        .map(|p| (p.rx.capacity(), p.tx.capacity()));
    sizes.min().unwrap_or_default()
}

fn describe(features: Features) -> String {
    let packed = features.contains(Features::RING_PACKED);
    let mut text = String::from(if packed { "packed ring" } else { "split ring" });
    for (name, _) in (features - Features::RING_PACKED).iter_names() {
        text.push(' ');
        text.push_str(&name.to_ascii_lowercase());
    }
    text
}

impl<T: Transport> Drop for VirtioNet<T> {
    fn drop(&mut self) {
        // Stopped, the device gives everything back; one that cannot be stopped keeps it.
        let _ = stop(&mut self.queues, &mut self.transport, self.host);
    }
}
