//! What drivers ask of a kernel, as a process has it.
#![forbid(unsafe_code)]

use std::thread::sleep;
use std::time::{Duration, Instant};

use drivers::bus::mmio::MmioRegion;
use drivers::host::{Host, HostError, MsiMessage};
use pbufpool::DmaMemory;

use super::memory::HugeMemory;

/// The services of this process: shared memory and time, but no devices and no interrupts.
pub(super) struct Process {
    memory: &'static HugeMemory,
    start: Instant,
}

impl Process {
    /// Services over `memory`, for as long as the process lives.
    pub(super) fn leaked(memory: &'static HugeMemory) -> &'static Self {
        Box::leak(Box::new(Self {
            memory,
            start: Instant::now(),
        }))
    }
}

impl Host for Process {
    fn map_mmio(&self, phys: u64, len: usize) -> Result<MmioRegion, HostError> {
        Err(HostError::CannotMap { phys, len })
    }

    fn dma(&self) -> &'static dyn DmaMemory {
        self.memory
    }

    fn msi(&self) -> Option<MsiMessage> {
        None
    }

    fn delay_us(&self, us: u32) {
        sleep(Duration::from_micros(us.into()));
    }

    fn uptime_ms(&self) -> u64 {
        self.start.elapsed().as_millis() as u64
    }
}
