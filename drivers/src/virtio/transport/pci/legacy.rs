//! The legacy interface of virtio over PCI (4.1.4.10): a block of ports in BAR 0.
//!
//! The registers lie at fixed offsets, the device's configuration behind them, and two more
//! registers in between while MSI-X is on. The invariant: the ports were found to hold all
//! registers when the device was probed, so that no access to one can fail.
#![forbid(unsafe_code)]

use alloc::format;
use alloc::string::String;

use super::super::legacy::{page_frame, read_settled};
use super::super::{Doorbell, Interface, QueueAddresses, Transport};
use super::NO_VECTOR;
use crate::bus::port::{PortRegion, PortValue};
use crate::error::DriverError;
use crate::host::Host;
use crate::net::InterruptMode;
use crate::pci::msix;
use crate::pci::{Bars, ConfigAccess, PciFunction};
use crate::virtio::Status;

/// The BAR with the registers.
const BAR: u8 = 0;

/// Register offsets (4.1.4.10).
mod reg {
    pub(super) const DEVICE_FEATURES: usize = 0;
    pub(super) const DRIVER_FEATURES: usize = 4;
    /// Number of the page on which the selected queue begins.
    pub(super) const QUEUE_PAGE: usize = 8;
    pub(super) const QUEUE_SIZE: usize = 12;
    pub(super) const QUEUE_SELECT: usize = 14;
    pub(super) const QUEUE_NOTIFY: usize = 16;
    pub(super) const STATUS: usize = 18;
    pub(super) const ISR: usize = 19;
    /// Only while MSI-X is on; so is the next.
    pub(super) const CONFIG_VECTOR: usize = 20;
    pub(super) const QUEUE_VECTOR: usize = 22;
    /// Where the device's configuration begins.
    pub(super) const CONFIG: usize = 20;
    /// The same while MSI-X is on.
    pub(super) const CONFIG_MSIX: usize = 24;
}

/// A virtio device on PCI that has ports only.
#[derive(Debug)]
pub struct PciLegacy {
    ports: PortRegion,
    msix: bool,
    address: pci_types::PciAddress,
}

impl PciLegacy {
    /// Takes the ports of `function`, enables it and, if it can, MSI-X with one message for
    /// everything.
    ///
    /// # Errors
    /// BAR 0 has no ports, or too few, or the kernel does not give them.
    pub fn probe(
        access: &dyn ConfigAccess,
        function: &PciFunction,
        host: &dyn Host,
    ) -> Result<Self, DriverError> {
        let bars = Bars::read(access, function)?;
        let (first, len) = bars.ports(BAR)?;
        // With room for the registers of MSI-X, whether it will be on or not.
        if usize::from(len) < reg::CONFIG_MSIX {
            return Err(DriverError::BadStructure {
                what: "legacy registers",
                offset: 0,
                len: reg::CONFIG_MSIX as u64,
                available: len.into(),
            });
        }
        let ports = host.ports(first, len)?;
        function.enable_ports(access);
        function.enable_memory(access); // the table of MSI-X
        let mut device = Self {
            ports,
            msix: false,
            address: function.address,
        };
        // Firmware may have left it running: it is to be quiet before it reaches memory again.
        device.set_status(Status::empty());
        function.enable_dma(access);
        device.msix = msix::enable_one(access, function, &bars, host)?;
        Ok(device)
    }

    /// Reads a register, which `probe` found to be among the ports.
    fn read<T: PortValue>(&self, offset: usize) -> T {
        let value = self.ports.read(offset);
        value.unwrap_or(T::from_bits(u32::MAX)) // as where nobody answers
    }

    fn write<T: PortValue>(&self, offset: usize, value: T) {
        // Among the ports, as above: it cannot fail.
        let _ = self.ports.write(offset, value);
    }

    fn set_vectors(&self) -> Result<(), DriverError> {
        if !self.msix {
            return Ok(());
        }
        for register in [reg::CONFIG_VECTOR, reg::QUEUE_VECTOR] {
            self.write(register, 0_u16);
            if self.read::<u16>(register) == NO_VECTOR {
                return Err(DriverError::VectorRefused { vector: 0 });
            }
        }
        Ok(())
    }
}

impl Transport for PciLegacy {
    fn location(&self) -> String {
        format!("pci {}", self.address)
    }

    fn interface(&self) -> Interface {
        Interface::Legacy
    }

    fn status(&self) -> Status {
        Status::from_bits_retain(self.read(reg::STATUS))
    }

    fn set_status(&mut self, status: Status) {
        self.write(reg::STATUS, status.bits());
    }

    fn device_features(&mut self) -> u64 {
        self.read::<u32>(reg::DEVICE_FEATURES).into()
    }

    fn set_driver_features(&mut self, features: u64) {
        self.write(reg::DRIVER_FEATURES, features as u32);
    }

    fn queue_max(&mut self, queue: u16) -> u16 {
        self.write(reg::QUEUE_SELECT, queue);
        self.read(reg::QUEUE_SIZE)
    }

    fn enable_queue(
        &mut self,
        queue: u16,
        size: u16,
        addresses: QueueAddresses,
    ) -> Result<(), DriverError> {
        let page = page_frame(queue, size, addresses)?;
        self.write(reg::QUEUE_SELECT, queue);
        // The device lays the ring out by a size of its own, and by no other.
        let unused = self.read::<u32>(reg::QUEUE_PAGE) == 0;
        if !unused || self.read::<u16>(reg::QUEUE_SIZE) != size {
            return Err(DriverError::QueueRefused { queue });
        }
        self.set_vectors()?;
        self.write(reg::QUEUE_PAGE, page);
        if self.read::<u32>(reg::QUEUE_PAGE) == page {
            Ok(())
        } else {
            Err(DriverError::QueueRefused { queue })
        }
    }

    fn notify(&self, doorbell: Doorbell) {
        self.write(reg::QUEUE_NOTIFY, doorbell.queue);
    }

    fn read_config(&self, offset: usize, bytes: &mut [u8]) {
        let config = if self.msix {
            reg::CONFIG_MSIX
        } else {
            reg::CONFIG
        };
        let byte = |n: usize| self.ports.read(config + offset + n).unwrap_or(0);
        read_settled(byte, bytes);
    }

    fn interrupts(&self) -> InterruptMode {
        super::interrupts(self.msix)
    }

    fn acknowledge(&mut self) -> bool {
        // Reading acknowledges; with MSI-X the register is not used.
        self.msix || self.read::<u8>(reg::ISR) & 3 != 0
    }
}
