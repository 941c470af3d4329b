//! A virtio device behind a vhost-user socket, as a [`Transport`]: what QEMU does for its guests, here
//! for a driver in this process.
//!
//! The protocol has rings, memory and features, but neither a device status nor (for network cards)
//! a configuration: these are this side's own. A reset stops each ring and waits for its answer
//! (`GET_VRING_BASE`), after which the back end uses neither the ring nor its buffers.
#![forbid(unsafe_code)]

use std::path::Path;

use anyhow::{Result, ensure};
use drivers::DriverError;
use drivers::net::InterruptMode;
use drivers::virtio::transport::{Doorbell, QueueAddresses, Transport};
use drivers::virtio::{Features, Status};
use vhost::vhost_user::message::VhostUserHeaderFlag;
use vhost::vhost_user::{
    Frontend, VhostUserFrontend, VhostUserProtocolFeatures, VhostUserVirtioFeatures,
};
use vhost::{VhostBackend, VringConfigData};
use vmm_sys_util::eventfd::{EFD_NONBLOCK, EventFd};

use super::memory::HugeMemory;

const QUEUES: usize = 2;
/// The largest ring that virtio has.
const MOST_ENTRIES: u16 = 1 << 15;
/// Locally administered.
const MAC: [u8; 6] = [0x02, 0x6d, 0x69, 0x6c, 0x6c, 0x01];
/// What a packed ring starts with: entry 0, in the first lap (wrap counter 1).
const PACKED_START: u16 = 1 << 15;
/// Features whose configuration field is ours, and says nothing; and that of doorbells, which are events
/// here and say nothing either.
const NOT_OFFERED: Features = Features::MTU
    .union(Features::NOTIFICATION_DATA)
    .union(Features::STATUS)
    .union(Features::CTRL_VQ);

/// The events of a queue.
struct Events {
    kick: EventFd,
    /// The device's interrupts, which nobody waits for; it wants to have it.
    _call: EventFd,
}

/// A vhost-user device.
pub(super) struct VhostUser {
    front_end: Frontend,
    memory: &'static HugeMemory,
    location: String,
    offered: u64,
    accepted: u64,
    /// The device took the features.
    agreed: bool,
    status: Status,
    queues: [Option<Events>; QUEUES],
}

impl VhostUser {
    /// Connects to the back end that listens on `socket`, and shows it `memory`.
    ///
    /// # Errors
    /// It does not answer, or cannot switch rings on and off.
    pub(super) fn connect(socket: &Path, memory: &'static HugeMemory) -> Result<Self> {
        let mut front_end = Frontend::connect(socket, QUEUES as u64)?;
        front_end.set_owner()?;
        let offered = front_end.get_features()?;
        let negotiates = offered & VhostUserVirtioFeatures::PROTOCOL_FEATURES.bits() != 0;
        ensure!(negotiates, "the back end has no protocol features");
        // Each message answered: what was refused is known at once.
        let wanted = front_end.get_protocol_features()? & VhostUserProtocolFeatures::REPLY_ACK;
        front_end.set_protocol_features(wanted)?;
        if !wanted.is_empty() {
            front_end.set_hdr_flags(VhostUserHeaderFlag::NEED_REPLY);
        }
        front_end.set_mem_table(&[memory.info()?])?;
        Ok(Self {
            front_end,
            memory,
            location: format!("vhost-user {}", socket.display()),
            offered,
            accepted: 0,
            agreed: false,
            status: Status::empty(),
            queues: [const { None }; QUEUES],
        })
    }

    /// Stops the rings; `false` if the back end did not say that they have stopped.
    fn stop(&mut self) -> bool {
        for (number, events) in self.queues.iter_mut().enumerate() {
            if events.is_none() {
                continue;
            }
            let stopped = self
                .front_end
                .set_vring_enable(number, false)
                .and_then(|()| self.front_end.get_vring_base(number));
            if stopped.is_err() {
                return false;
            }
            *events = None;
        }
        true
    }

    fn set_up(&mut self, queue: u16, size: u16, at: QueueAddresses) -> vhost::Result<Events> {
        let number = usize::from(queue);
        let packed = self.accepted & Features::RING_PACKED.bits() != 0;
        let events = || EventFd::new(EFD_NONBLOCK).map_err(vhost::Error::IOError);
        let (kick, call) = (events()?, events()?);
        let ring = VringConfigData {
            queue_max_size: MOST_ENTRIES,
            queue_size: size,
            flags: 0,
            desc_table_addr: self.memory.user_address(at.descriptors),
            used_ring_addr: self.memory.user_address(at.device),
            avail_ring_addr: self.memory.user_address(at.driver),
            log_addr: None,
        };
        let start = if packed { PACKED_START } else { 0 };
        self.front_end.set_vring_num(number, size)?;
        self.front_end.set_vring_base(number, start)?;
        self.front_end.set_vring_addr(number, &ring)?;
        self.front_end.set_vring_call(number, &call)?;
        self.front_end.set_vring_kick(number, &kick)?;
        self.front_end.set_vring_enable(number, true)?;
        Ok(Events { kick, _call: call })
    }
}

impl Transport for VhostUser {
    fn location(&self) -> String {
        self.location.clone()
    }

    fn status(&self) -> Status {
        if self.agreed {
            self.status
        } else {
            self.status - Status::FEATURES_OK
        }
    }

    fn set_status(&mut self, status: Status) {
        if !status.is_empty() {
            self.status = status;
        } else if self.stop() {
            self.status = status;
            self.agreed = false;
        }
    }

    fn device_features(&mut self) -> u64 {
        (self.offered & !NOT_OFFERED.bits()) | Features::MAC.bits()
    }

    fn set_driver_features(&mut self, features: u64) {
        let of_protocol = VhostUserVirtioFeatures::PROTOCOL_FEATURES.bits();
        let theirs = features & self.offered | of_protocol;
        self.agreed = self.front_end.set_features(theirs).is_ok();
        self.accepted = features;
    }

    fn queue_max(&mut self, queue: u16) -> u16 {
        if usize::from(queue) < QUEUES {
            MOST_ENTRIES
        } else {
            0
        }
    }

    fn enable_queue(
        &mut self,
        queue: u16,
        size: u16,
        addresses: QueueAddresses,
    ) -> Result<(), DriverError> {
        let refused = || DriverError::QueueRefused { queue };
        if self
            .queues
            .get(usize::from(queue))
            .is_none_or(Option::is_some)
        {
            return Err(refused());
        }
        let events = self.set_up(queue, size, addresses);
        self.queues[usize::from(queue)] = Some(events.map_err(|_| refused())?);
        Ok(())
    }

    fn notify(&self, doorbell: Doorbell) {
        if let Some(Some(events)) = self.queues.get(usize::from(doorbell.queue)) {
            // Full, it has been rung already.
            let _ = events.kick.write(1);
        }
    }

    fn read_config(&self, offset: usize, bytes: &mut [u8]) {
        for (at, byte) in bytes.iter_mut().enumerate() {
            *byte = MAC.get(offset + at).copied().unwrap_or(0);
        }
    }

    fn interrupts(&self) -> InterruptMode {
        InterruptMode::MsiX(QUEUES as u16)
    }

    fn acknowledge(&mut self) -> bool {
        true
    }
}
