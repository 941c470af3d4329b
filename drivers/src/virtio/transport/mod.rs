//! Transports: how a virtio device's registers, configuration and doorbells are reached.
#![forbid(unsafe_code)]

mod legacy;
pub mod mmio;
pub mod pci;

use alloc::boxed::Box;
use alloc::string::String;

use pbufpool::DmaAddr;

use super::{Features, Status};
use crate::bus::mmio::MmioRegion;
use crate::error::DriverError;
use crate::net::InterruptMode;

/// Where a queue's three parts are.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct QueueAddresses {
    /// Descriptor table.
    pub descriptors: DmaAddr,
    /// Driver area: the available ring.
    pub driver: DmaAddr,
    /// Device area: the used ring.
    pub device: DmaAddr,
}

/// What is told with a doorbell (virtio 1.2, 2.9).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Doorbell {
    /// The queue.
    pub queue: u16,
    /// Where its next entry will be made available: a split ring's index, or a packed ring's place with
    /// its wrap counter. Told only with `NOTIFICATION_DATA`.
    pub next: u16,
}

impl Doorbell {
    /// Both in one word, for `NOTIFICATION_DATA`.
    pub const fn word(self) -> u32 {
        self.queue as u32 | (self.next as u32) << 16
    }
}

/// Whether the accepted `features` make a doorbell say more than its queue.
fn doorbells_say_more(features: u64) -> bool {
    Features::from_bits_truncate(features).contains(Features::NOTIFICATION_DATA)
}

/// Which of virtio's two interfaces a transport speaks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Interface {
    /// That of virtio 1.0 and later.
    Modern,
    /// The one before (1.3.1): 32 feature bits and no `FEATURES_OK`; a queue is one piece of memory on
    /// a page of its own, and always has the size that the device says.
    Legacy,
}

/// A virtio device, whatever it hangs on.
pub trait Transport: Send {
    /// Where it is, for a person to read.
    fn location(&self) -> String;

    /// Which interface is spoken.
    fn interface(&self) -> Interface {
        Interface::Modern
    }

    /// Reads the device status.
    fn status(&self) -> Status;

    /// Writes the device status; zero resets the device.
    fn set_status(&mut self, status: Status);

    /// Features that the device offers. The legacy interface has the first 32.
    fn device_features(&mut self) -> u64;

    /// Accepts features.
    fn set_driver_features(&mut self, features: u64);

    /// Largest size of `queue`, with the legacy interface its size; 0 if there is none.
    fn queue_max(&mut self, queue: u16) -> u16;

    /// Sets `queue` up and enables it.
    ///
    /// # Errors
    /// The queue is in use already, the device refuses its interrupt vector, or it cannot be told
    /// where the queue is.
    fn enable_queue(
        &mut self,
        queue: u16,
        size: u16,
        addresses: QueueAddresses,
    ) -> Result<(), DriverError>;

    /// Rings a doorbell.
    fn notify(&self, doorbell: Doorbell);

    /// Reads `bytes.len()` bytes of device configuration at `offset`; bytes that the device does
    /// not have read as zero. Consistent across one call (2.5.1).
    fn read_config(&self, offset: usize, bytes: &mut [u8]);

    /// How the device interrupts.
    fn interrupts(&self) -> InterruptMode;

    /// Acknowledges an interrupt of a line; returns whether the device was the cause.
    fn acknowledge(&mut self) -> bool;
}

/// Whichever it is: what is not known before it is looked for.
impl Transport for Box<dyn Transport> {
    fn location(&self) -> String {
        (**self).location()
    }

    fn interface(&self) -> Interface {
        (**self).interface()
    }

    fn status(&self) -> Status {
        (**self).status()
    }

    fn set_status(&mut self, status: Status) {
        (**self).set_status(status);
    }

    fn device_features(&mut self) -> u64 {
        (**self).device_features()
    }

    fn set_driver_features(&mut self, features: u64) {
        (**self).set_driver_features(features);
    }

    fn queue_max(&mut self, queue: u16) -> u16 {
        (**self).queue_max(queue)
    }

    fn enable_queue(
        &mut self,
        queue: u16,
        size: u16,
        addresses: QueueAddresses,
    ) -> Result<(), DriverError> {
        (**self).enable_queue(queue, size, addresses)
    }

    fn notify(&self, doorbell: Doorbell) {
        (**self).notify(doorbell);
    }

    fn read_config(&self, offset: usize, bytes: &mut [u8]) {
        (**self).read_config(offset, bytes);
    }

    fn interrupts(&self) -> InterruptMode {
        (**self).interrupts()
    }

    fn acknowledge(&mut self) -> bool {
        (**self).acknowledge()
    }
}

/// Reads of configuration are repeated this often while the device keeps changing it.
const CONFIG_TRIES: usize = 16;

/// Reads configuration until its generation is the same before and after (2.5.1). A 16-bit field
/// is read in one access, as it has to be (4.1.3.1, 4.2.2.2), anything else byte by byte.
fn read_stable(
    generation: impl Fn() -> u32,
    config: Option<&MmioRegion>,
    offset: usize,
    bytes: &mut [u8],
) {
    for _ in 0..CONFIG_TRIES {
        let before = generation();
        read_once(config, offset, bytes);
        if generation() == before {
            break;
        }
    }
}

fn read_once(config: Option<&MmioRegion>, offset: usize, bytes: &mut [u8]) {
    bytes.fill(0);
    let Some(config) = config else { return };
    if let (Ok(field), Ok(value)) = (<&mut [u8; 2]>::try_from(&mut *bytes), config.read(offset)) {
        *field = u16::to_le_bytes(value);
        return;
    }
    for (n, byte) in bytes.iter_mut().enumerate() {
        *byte = config.read(offset + n).unwrap_or(0);
    }
}
