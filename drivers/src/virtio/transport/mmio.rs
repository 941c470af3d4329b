//! Virtio over MMIO (4.2), version 2: a window of registers and one interrupt line.
//!
//! QEMU's `microvm` puts its devices here. Version 1 (before virtio 1.0) is recognised and
//! refused with advice.
#![forbid(unsafe_code)]

use alloc::format;
use alloc::string::String;

use super::{QueueAddresses, Transport};
use crate::bus::mmio::{MmioRegion, Registers};
use crate::error::DriverError;
use crate::net::InterruptMode;
use crate::virtio::Status;

/// "virt", little-endian.
const MAGIC: u32 = 0x7472_6976;
/// Where device configuration begins.
const CONFIG: usize = 0x100;

/// Register offsets (4.2.2, table 4.1).
mod reg {
    pub(super) const MAGIC: usize = 0x000;
    pub(super) const VERSION: usize = 0x004;
    pub(super) const DEVICE_ID: usize = 0x008;
    pub(super) const DEVICE_FEATURES: usize = 0x010;
    pub(super) const DEVICE_FEATURES_SEL: usize = 0x014;
    pub(super) const DRIVER_FEATURES: usize = 0x020;
    pub(super) const DRIVER_FEATURES_SEL: usize = 0x024;
    pub(super) const QUEUE_SEL: usize = 0x030;
    pub(super) const QUEUE_NUM_MAX: usize = 0x034;
    pub(super) const QUEUE_NUM: usize = 0x038;
    pub(super) const QUEUE_READY: usize = 0x044;
    pub(super) const QUEUE_NOTIFY: usize = 0x050;
    pub(super) const INTERRUPT_STATUS: usize = 0x060;
    pub(super) const INTERRUPT_ACK: usize = 0x064;
    pub(super) const STATUS: usize = 0x070;
    pub(super) const QUEUE_DESC: usize = 0x080;
    pub(super) const QUEUE_DRIVER: usize = 0x090;
    pub(super) const QUEUE_DEVICE: usize = 0x0a0;
    pub(super) const CONFIG_GENERATION: usize = 0x0fc;
}

/// A virtio device behind an MMIO window.
#[derive(Debug)]
pub struct Mmio {
    region: MmioRegion,
    doorbell: Registers<u32>,
    /// Device configuration, if the window holds any.
    config: Option<MmioRegion>,
    base: u64,
}

impl Mmio {
    /// Looks for a device of type `wanted` in `region`, which is mapped from physical address
    /// `base`.
    ///
    /// # Errors
    /// There is none, it is of another type, or it speaks only the legacy interface.
    pub fn probe(region: MmioRegion, base: u64, wanted: u32) -> Result<Self, DriverError> {
        // Every register used below lies before the configuration: checked once, here.
        region.sub(0, CONFIG)?;
        let doorbell = region.registers(reg::QUEUE_NOTIFY)?;
        let config = region.sub(CONFIG, region.len() - CONFIG).ok();
        let device = Self {
            region,
            doorbell,
            config,
            base,
        };
        if device.read(reg::MAGIC) != MAGIC {
            return Err(DriverError::NoDevice);
        }
        match (device.read(reg::VERSION), device.read(reg::DEVICE_ID)) {
            (_, 0) => Err(DriverError::NoDevice),
            (1, _) => Err(DriverError::Legacy(
                "start QEMU with -global virtio-mmio.force-legacy=false",
            )),
            (2, found) if found == wanted => Ok(device),
            (2, found) => Err(DriverError::WrongType { found, wanted }),
            _ => Err(DriverError::NoDevice),
        }
    }

    /// Reads a register below [`CONFIG`], which `probe` found to be inside the window.
    fn read(&self, offset: usize) -> u32 {
        self.region.read(offset).unwrap_or(0)
    }

    fn write(&self, offset: usize, value: u32) {
        // Inside the window, as above: it cannot fail.
        let _ = self.region.write(offset, value);
    }

    fn write_address(&self, offset: usize, address: u64) {
        self.write(offset, address as u32);
        self.write(offset + 4, (address >> 32) as u32);
    }
}

impl Transport for Mmio {
    fn location(&self) -> String {
        format!("mmio {:#x}", self.base)
    }

    fn status(&self) -> Status {
        Status::from_bits_retain(self.read(reg::STATUS) as u8)
    }

    fn set_status(&mut self, status: Status) {
        self.write(reg::STATUS, status.bits().into());
    }

    fn device_features(&mut self) -> u64 {
        self.write(reg::DEVICE_FEATURES_SEL, 0);
        let low = self.read(reg::DEVICE_FEATURES);
        self.write(reg::DEVICE_FEATURES_SEL, 1);
        u64::from(self.read(reg::DEVICE_FEATURES)) << 32 | u64::from(low)
    }

    fn set_driver_features(&mut self, features: u64) {
        self.write(reg::DRIVER_FEATURES_SEL, 0);
        self.write(reg::DRIVER_FEATURES, features as u32);
        self.write(reg::DRIVER_FEATURES_SEL, 1);
        self.write(reg::DRIVER_FEATURES, (features >> 32) as u32);
    }

    fn queue_max(&mut self, queue: u16) -> u16 {
        self.write(reg::QUEUE_SEL, queue.into());
        self.read(reg::QUEUE_NUM_MAX).try_into().unwrap_or(1 << 15)
    }

    fn enable_queue(
        &mut self,
        queue: u16,
        size: u16,
        addresses: QueueAddresses,
    ) -> Result<(), DriverError> {
        self.write(reg::QUEUE_SEL, queue.into());
        if self.read(reg::QUEUE_READY) != 0 {
            return Err(DriverError::QueueRefused { queue });
        }
        self.write(reg::QUEUE_NUM, size.into());
        self.write_address(reg::QUEUE_DESC, addresses.descriptors.as_u64());
        self.write_address(reg::QUEUE_DRIVER, addresses.driver.as_u64());
        self.write_address(reg::QUEUE_DEVICE, addresses.device.as_u64());
        self.write(reg::QUEUE_READY, 1);
        match self.read(reg::QUEUE_READY) {
            1 => Ok(()),
            _ => Err(DriverError::QueueRefused { queue }),
        }
    }

    fn notify(&self, queue: u16) {
        self.doorbell.ptr().write(queue.into());
    }

    fn read_config(&self, offset: usize, bytes: &mut [u8]) {
        let generation = || self.read(reg::CONFIG_GENERATION);
        super::read_stable(generation, self.config.as_ref(), offset, bytes);
    }

    fn interrupts(&self) -> InterruptMode {
        InterruptMode::Line
    }

    fn acknowledge(&mut self) -> bool {
        let cause = self.read(reg::INTERRUPT_STATUS);
        if cause != 0 {
            self.write(reg::INTERRUPT_ACK, cause);
        }
        cause != 0
    }
}
