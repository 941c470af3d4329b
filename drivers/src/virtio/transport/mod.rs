//! Transports: how a virtio device's registers, configuration and doorbells are reached.
#![forbid(unsafe_code)]

pub mod mmio;
pub mod pci;

use alloc::string::String;

use pbufpool::DmaAddr;

use super::Status;
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

/// A virtio device, whatever it hangs on.
pub trait Transport: Send {
    /// Where it is, for a person to read.
    fn location(&self) -> String;

    /// Reads the device status.
    fn status(&self) -> Status;

    /// Writes the device status; zero resets the device.
    fn set_status(&mut self, status: Status);

    /// Features that the device offers.
    fn device_features(&mut self) -> u64;

    /// Accepts features.
    fn set_driver_features(&mut self, features: u64);

    /// Largest size of `queue`; 0 if there is none.
    fn queue_max(&mut self, queue: u16) -> u16;

    /// Sets `queue` up and enables it.
    ///
    /// # Errors
    /// The queue is in use already, or the device refuses its interrupt vector.
    fn enable_queue(
        &mut self,
        queue: u16,
        size: u16,
        addresses: QueueAddresses,
    ) -> Result<(), DriverError>;

    /// Rings the doorbell of `queue`.
    fn notify(&self, queue: u16);

    /// Reads `bytes.len()` bytes of device configuration at `offset`; bytes that the device does
    /// not have read as zero. Consistent across one call (2.5.1).
    fn read_config(&self, offset: usize, bytes: &mut [u8]);

    /// How the device interrupts.
    fn interrupts(&self) -> InterruptMode;

    /// Acknowledges an interrupt of a line; returns whether the device was the cause.
    fn acknowledge(&mut self) -> bool;
}
