//! The modern interface of virtio over PCI (4.1): structures in BARs, found by capabilities.
//!
//! Every structure is checked against its BAR before it is mapped, and every doorbell address
//! against its structure.
#![forbid(unsafe_code)]

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use volatile::VolatileFieldAccess;
use volatile::access::{ReadOnly, ReadWrite};
use zerocopy::{FromBytes, IntoBytes};

use super::super::{Doorbell, QueueAddresses, Transport, doorbells_say_more, read_stable};
use super::NO_VECTOR;
use super::structures::{Structure, Structures, map};
use crate::bus::mmio::{MmioRegion, Registers};
use crate::error::DriverError;
use crate::host::Host;
use crate::net::InterruptMode;
use crate::pci::msix;
use crate::pci::{Bars, ConfigAccess, PciFunction};
use crate::virtio::Status;

/// The common configuration structure (4.1.4.3).
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, VolatileFieldAccess)]
#[repr(C)]
struct Common {
    #[access(ReadWrite)]
    device_feature_select: u32,
    #[access(ReadOnly)]
    device_feature: u32,
    #[access(ReadWrite)]
    driver_feature_select: u32,
    #[access(ReadWrite)]
    driver_feature: u32,
    #[access(ReadWrite)]
    config_msix_vector: u16,
    #[access(ReadOnly)]
    num_queues: u16,
    #[access(ReadWrite)]
    device_status: u8,
    #[access(ReadOnly)]
    config_generation: u8,
    #[access(ReadWrite)]
    queue_select: u16,
    #[access(ReadWrite)]
    queue_size: u16,
    #[access(ReadWrite)]
    queue_msix_vector: u16,
    #[access(ReadWrite)]
    queue_enable: u16,
    #[access(ReadOnly)]
    queue_notify_off: u16,
    #[access(ReadWrite)]
    queue_desc_low: u32,
    #[access(ReadWrite)]
    queue_desc_high: u32,
    #[access(ReadWrite)]
    queue_driver_low: u32,
    #[access(ReadWrite)]
    queue_driver_high: u32,
    #[access(ReadWrite)]
    queue_device_low: u32,
    #[access(ReadWrite)]
    queue_device_high: u32,
}

const _: () = assert!(size_of::<Common>() == 56);

/// The register of a doorbell (4.1.5.2).
#[derive(Debug)]
enum Bell {
    /// Takes the number of the queue.
    Queue(Registers<u16>),
    /// Takes that and how far it was filled (`NOTIFICATION_DATA`).
    Data(Registers<u32>),
}

/// A virtio device on PCI, by its modern structures.
#[derive(Debug)]
pub struct PciModern {
    common: Registers<Common>,
    isr: Registers<u8>,
    notify: MmioRegion,
    multiplier: u32,
    device: Option<MmioRegion>,
    doorbells: Vec<(u16, Bell)>,
    /// `NOTIFICATION_DATA` was accepted.
    says_more: bool,
    msix: bool,
    address: pci_types::PciAddress,
}

impl PciModern {
    /// Maps the structures of `function`, enables it and, if it can, MSI-X with one message for
    /// everything.
    ///
    /// # Errors
    /// A structure is missing or lies outside its BAR, or the kernel cannot map it.
    pub fn probe(
        access: &dyn ConfigAccess,
        function: &PciFunction,
        host: &dyn Host,
    ) -> Result<Self, DriverError> {
        let bars = Bars::read(access, function)?;
        let found = Structures::read(access, function, &bars)?;
        let map = |what, structure: Option<Structure>| {
            map(host, &bars, structure.ok_or(DriverError::Missing(what))?)
        };
        let common = map("common configuration structure", found.common)?;
        let notify = map("notification structure", found.notify)?;
        let isr = map("ISR structure", found.isr)?;
        let device = found
            .device
            .map(|s| self::map(host, &bars, s))
            .transpose()?;
        let common: Registers<Common> = common.registers(0)?;
        function.enable_memory(access);
        // Firmware may have left it running: it is to be quiet before it reaches memory again.
        common.ptr().device_status().write(0);
        function.enable_dma(access);
        let msix = msix::enable_one(access, function, &bars, host)?;
        Ok(Self {
            common,
            isr: isr.registers(0)?,
            multiplier: found.notify.map_or(0, |s| s.multiplier),
            notify,
            device,
            doorbells: Vec::new(),
            says_more: false,
            msix,
            address: function.address,
        })
    }

    fn doorbell(&self, queue: u16, notify_off: u16) -> Result<Bell, DriverError> {
        let offset = usize::from(notify_off) * self.multiplier as usize;
        let (bell, len) = if self.says_more {
            (self.notify.registers(offset).map(Bell::Data), 4)
        } else {
            (self.notify.registers(offset).map(Bell::Queue), 2)
        };
        bell.map_err(|_| DriverError::BadStructure {
            what: "doorbell",
            offset: offset as u64,
            len,
            available: self.notify.len() as u64,
        })
        .inspect_err(|_| log::debug!("queue {queue}: notify_off {notify_off}"))
    }

    fn set_vectors(&self, queue: u16) -> Result<(), DriverError> {
        if !self.msix {
            return Ok(());
        }
        let common = self.common.ptr();
        common.config_msix_vector().write(0);
        common.queue_msix_vector().write(0);
        let refused = [
            common.config_msix_vector().read(),
            common.queue_msix_vector().read(),
        ];
        if refused.contains(&NO_VECTOR) {
            log::debug!("queue {queue}: no vector");
            return Err(DriverError::VectorRefused { vector: 0 });
        }
        Ok(())
    }
}

impl Transport for PciModern {
    fn location(&self) -> String {
        format!("pci {}", self.address)
    }

    fn status(&self) -> Status {
        Status::from_bits_retain(self.common.ptr().device_status().read())
    }

    fn set_status(&mut self, status: Status) {
        self.common.ptr().device_status().write(status.bits());
    }

    fn device_features(&mut self) -> u64 {
        let common = self.common.ptr();
        common.device_feature_select().write(0);
        let low = common.device_feature().read();
        common.device_feature_select().write(1);
        u64::from(common.device_feature().read()) << 32 | u64::from(low)
    }

    fn set_driver_features(&mut self, features: u64) {
        self.says_more = doorbells_say_more(features);
        let common = self.common.ptr();
        common.driver_feature_select().write(0);
        common.driver_feature().write(features as u32);
        common.driver_feature_select().write(1);
        common.driver_feature().write((features >> 32) as u32);
    }

    fn queue_max(&mut self, queue: u16) -> u16 {
        let common = self.common.ptr();
        if queue >= common.num_queues().read() {
            return 0;
        }
        common.queue_select().write(queue);
        common.queue_size().read()
    }

    fn enable_queue(
        &mut self,
        queue: u16,
        size: u16,
        addresses: QueueAddresses,
    ) -> Result<(), DriverError> {
        let common = self.common.ptr();
        common.queue_select().write(queue);
        if common.queue_enable().read() != 0 {
            return Err(DriverError::QueueRefused { queue });
        }
        common.queue_size().write(size);
        self.set_vectors(queue)?;
        let split = |address: u64| (address as u32, (address >> 32) as u32);
        let (low, high) = split(addresses.descriptors.as_u64());
        common.queue_desc_low().write(low);
        common.queue_desc_high().write(high);
        let (low, high) = split(addresses.driver.as_u64());
        common.queue_driver_low().write(low);
        common.queue_driver_high().write(high);
        let (low, high) = split(addresses.device.as_u64());
        common.queue_device_low().write(low);
        common.queue_device_high().write(high);
        let doorbell = self.doorbell(queue, common.queue_notify_off().read())?;
        common.queue_enable().write(1);
        self.doorbells.retain(|(known, _)| *known != queue);
        self.doorbells.push((queue, doorbell));
        Ok(())
    }

    fn notify(&self, doorbell: Doorbell) {
        let queue = doorbell.queue;
        match self.doorbells.iter().find(|(known, _)| *known == queue) {
            Some((_, Bell::Queue(register))) => register.ptr().write(queue),
            Some((_, Bell::Data(register))) => register.ptr().write(doorbell.word()),
            None => {}
        }
    }

    fn read_config(&self, offset: usize, bytes: &mut [u8]) {
        let generation = || self.common.ptr().config_generation().read().into();
        read_stable(generation, self.device.as_ref(), offset, bytes);
    }

    fn interrupts(&self) -> InterruptMode {
        super::interrupts(self.msix)
    }

    fn acknowledge(&mut self) -> bool {
        // Reading acknowledges (4.1.4.5); with MSI-X the register is not used.
        self.msix || self.isr.ptr().read() & 3 != 0
    }
}
