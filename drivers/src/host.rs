//! All that drivers ask of the kernel.
//!
//! The kernel has one [`Host`] per machine; host tests have a fake. Drivers call it while they
//! probe, initialise and reset a device, never on the path of a packet.
#![forbid(unsafe_code)]

use core::fmt;

use pbufpool::DmaMemory;

use crate::bus::mmio::MmioRegion;
use crate::bus::port::PortRegion;

/// Services of the machine to its drivers.
pub trait Host: Sync {
    /// Maps `len` bytes of device memory at physical address `phys`, uncached, for ever. Neither
    /// needs to be page aligned. The same range may be asked for twice.
    ///
    /// # Errors
    ///
    /// The range is not device memory, or there is no address space left.
    fn map_mmio(&self, phys: u64, len: usize) -> Result<MmioRegion, HostError>;

    /// The `len` ports from `first` on, for the device whose BAR names them. A machine without
    /// ports gives none.
    ///
    /// # Errors
    ///
    /// They are the board's own, or there are no such ports.
    fn ports(&self, first: u16, len: u16) -> Result<PortRegion, HostError> {
        Err(HostError::NoPorts { first, len })
    }

    /// Memory that devices can reach.
    fn dma(&self) -> &'static dyn DmaMemory;

    /// Allocates an interrupt vector for the device that is being probed and says which message
    /// raises it. `None` when there are no more (or message-signalled interrupts are off): the
    /// driver shares vectors, or falls back to the interrupt line.
    fn msi(&self) -> Option<MsiMessage>;

    /// Waits for at least `us` microseconds.
    fn delay_us(&self, us: u32);

    /// Milliseconds since start.
    fn uptime_ms(&self) -> u64;
}

/// The memory write that raises an interrupt (PCI 3.0, 6.8).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct MsiMessage {
    /// Address to write to.
    pub address: u64,
    /// Value to write.
    pub data: u32,
}

/// What the kernel could not do.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum HostError {
    /// This range of physical addresses cannot be mapped as device memory.
    CannotMap {
        /// First byte.
        phys: u64,
        /// Bytes.
        len: usize,
    },
    /// These ports are not for a device that was found on a bus.
    NoPorts {
        /// First port.
        first: u16,
        /// Ports.
        len: u16,
    },
    /// No contiguous memory of this size is left.
    OutOfDmaMemory {
        /// Bytes asked for.
        len: usize,
    },
}

impl fmt::Display for HostError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::CannotMap { phys, len } => {
                write!(f, "cannot map {len:#x} bytes of device memory at {phys:#x}")
            }
            Self::NoPorts { first, len } => {
                write!(f, "the {len} ports from {first:#x} on are not a device's")
            }
            Self::OutOfDmaMemory { len } => write!(f, "no {len} bytes of contiguous memory left"),
        }
    }
}

impl core::error::Error for HostError {}
