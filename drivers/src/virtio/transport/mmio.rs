//! Virtio over MMIO (4.2): a window of registers and one interrupt line.
//!
//! QEMU's `microvm` puts its devices here. Version 2 is the modern interface, version 1 the legacy
//! one (4.2.4), which is what QEMU offers unless told otherwise.
#![forbid(unsafe_code)]

use alloc::format;
use alloc::string::String;

use super::legacy::{page_frame, read_settled};
use super::{Doorbell, Interface, QueueAddresses, Transport, doorbells_say_more};
use crate::bus::mmio::{MmioRegion, Registers};
use crate::error::DriverError;
use crate::net::InterruptMode;
use crate::virtio::Status;
use crate::virtio::queue::layout::LEGACY_ALIGN;

/// "virt", little-endian.
const MAGIC: u32 = 0x7472_6976;
/// Where device configuration begins.
const CONFIG: usize = 0x100;

/// Register offsets (4.2.2, table 4.1; 4.2.4, table 4.2).
mod reg {
    pub(super) const MAGIC: usize = 0x000;
    pub(super) const VERSION: usize = 0x004;
    pub(super) const DEVICE_ID: usize = 0x008;
    pub(super) const DEVICE_FEATURES: usize = 0x010;
    pub(super) const DEVICE_FEATURES_SEL: usize = 0x014;
    pub(super) const DRIVER_FEATURES: usize = 0x020;
    pub(super) const DRIVER_FEATURES_SEL: usize = 0x024;
    /// Legacy only.
    pub(super) const GUEST_PAGE_SIZE: usize = 0x028;
    pub(super) const QUEUE_SEL: usize = 0x030;
    pub(super) const QUEUE_NUM_MAX: usize = 0x034;
    pub(super) const QUEUE_NUM: usize = 0x038;
    /// Legacy only: alignment of the used ring.
    pub(super) const QUEUE_ALIGN: usize = 0x03c;
    /// Legacy only: number of the queue's first page.
    pub(super) const QUEUE_PAGE: usize = 0x040;
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
    interface: Interface,
    /// `NOTIFICATION_DATA` was accepted.
    says_more: bool,
}

impl Mmio {
    /// Looks for a device of type `wanted` in `region`, which is mapped from physical address
    /// `base`.
    ///
    /// # Errors
    /// There is none, or it is of another type.
    pub fn probe(region: MmioRegion, base: u64, wanted: u32) -> Result<Self, DriverError> {
        // Every register used below lies before the configuration: checked once, here.
        region.sub(0, CONFIG)?;
        let doorbell = region.registers(reg::QUEUE_NOTIFY)?;
        let config = region.sub(CONFIG, region.len() - CONFIG).ok();
        let mut device = Self {
            region,
            doorbell,
            config,
            base,
            interface: Interface::Modern,
            says_more: false,
        };
        if device.read(reg::MAGIC) != MAGIC {
            return Err(DriverError::NoDevice);
        }
        device.interface = match device.read(reg::VERSION) {
            1 => Interface::Legacy,
            2 => Interface::Modern,
            _ => return Err(DriverError::NoDevice),
        };
        match device.read(reg::DEVICE_ID) {
            0 => Err(DriverError::NoDevice),
            found if found == wanted => Ok(device),
            found => Err(DriverError::WrongType { found, wanted }),
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

    /// Names a queue to a legacy device.
    fn enable_legacy(&self, queue: u16, size: u16, page: u32) -> Result<(), DriverError> {
        if self.read(reg::QUEUE_PAGE) != 0 {
            return Err(DriverError::QueueRefused { queue });
        }
        self.write(reg::GUEST_PAGE_SIZE, LEGACY_ALIGN as u32);
        self.write(reg::QUEUE_NUM, size.into());
        self.write(reg::QUEUE_ALIGN, LEGACY_ALIGN as u32);
        self.write(reg::QUEUE_PAGE, page);
        if self.read(reg::QUEUE_PAGE) == page {
            Ok(())
        } else {
            Err(DriverError::QueueRefused { queue })
        }
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

    fn interface(&self) -> Interface {
        self.interface
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
        if self.interface == Interface::Legacy {
            return low.into();
        }
        self.write(reg::DEVICE_FEATURES_SEL, 1);
        u64::from(self.read(reg::DEVICE_FEATURES)) << 32 | u64::from(low)
    }

    fn set_driver_features(&mut self, features: u64) {
        self.says_more = doorbells_say_more(features);
        self.write(reg::DRIVER_FEATURES_SEL, 0);
        self.write(reg::DRIVER_FEATURES, features as u32);
        if self.interface == Interface::Legacy {
            return;
        }
        self.write(reg::DRIVER_FEATURES_SEL, 1);
        self.write(reg::DRIVER_FEATURES, (features >> 32) as u32);
    }

    fn queue_max(&mut self, queue: u16) -> u16 {
        self.write(reg::QUEUE_SEL, queue.into());
        let max: u16 = self.read(reg::QUEUE_NUM_MAX).try_into().unwrap_or(1 << 15);
        match (self.interface, max) {
            // The driver chooses, and a split ring's size is a power of two.
            (Interface::Legacy, 1..) => 1 << max.ilog2(),
            _ => max,
        }
    }

    fn enable_queue(
        &mut self,
        queue: u16,
        size: u16,
        addresses: QueueAddresses,
    ) -> Result<(), DriverError> {
        self.write(reg::QUEUE_SEL, queue.into());
        if self.interface == Interface::Legacy {
            let page = page_frame(queue, size, addresses)?;
            return self.enable_legacy(queue, size, page);
        }
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

    fn notify(&self, doorbell: Doorbell) {
        let value = if self.says_more {
            doorbell.word()
        } else {
            doorbell.queue.into()
        };
        self.doorbell.ptr().write(value);
    }

    fn read_config(&self, offset: usize, bytes: &mut [u8]) {
        if self.interface == Interface::Legacy {
            let byte = |n| self.config.as_ref()?.read(offset + n).ok();
            return read_settled(|n| byte(n).unwrap_or(0), bytes);
        }
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
