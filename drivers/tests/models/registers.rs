//! Device memory that is ordinary memory: what a driver writes to a register can be read there.

use std::sync::Mutex;

use drivers::bus::mmio::MmioRegion;
use drivers::bus::port::{PortIo, PortRegion};
use drivers::host::{Host, HostError, MsiMessage};
use drivers::virtio::transport::QueueAddresses;
use pbufpool::test_utils::HeapDma;
use pbufpool::{DmaAddr, DmaMemory};

pub(crate) const BAR: u32 = 0xfe00_0000;
pub(crate) const BAR_LEN: usize = 0x4000;
/// All of the memory behind [`BAR`].
pub(crate) const MEMORY_LEN: usize = 0x2_0000;

/// A kernel whose device memory is one BAR of ordinary memory.
pub(crate) struct BarHost {
    bar: Mutex<&'static mut [u64]>,
    message: Option<MsiMessage>,
    ports: Option<&'static dyn PortIo>,
}

impl BarHost {
    pub(crate) fn new(message: Option<MsiMessage>) -> Self {
        Self {
            bar: Mutex::new(Box::leak(vec![0; MEMORY_LEN / 8].into_boxed_slice())),
            message,
            ports: None,
        }
    }

    /// The same with a device behind ports.
    pub(crate) fn with_ports(self, device: &'static (dyn PortIo + Send)) -> Self {
        let ports: Option<&'static dyn PortIo> = Some(device);
        Self { ports, ..self }
    }

    pub(crate) fn bar(&self) -> MmioRegion {
        self.map_mmio(BAR.into(), BAR_LEN).expect("the BAR")
    }

    pub(crate) fn word(&self, offset: usize) -> u32 {
        self.bar().read(offset).expect("inside")
    }
}

impl Host for BarHost {
    fn map_mmio(&self, phys: u64, len: usize) -> Result<MmioRegion, HostError> {
        let mut bar = self.bar.lock().expect("no panic inside");
        let base = std::ptr::NonNull::from(&mut bar[0]).cast();
        let error = HostError::CannotMap { phys, len };
        let offset = phys.checked_sub(BAR.into()).ok_or(error)?;
        // SAFETY: the memory lives for ever and is reached through windows only.
        let whole = unsafe { MmioRegion::from_raw(base, MEMORY_LEN) };
        whole.sub(offset as usize, len).map_err(|_| error)
    }

    fn ports(&self, first: u16, len: u16) -> Result<PortRegion, HostError> {
        let device = self.ports.ok_or(HostError::NoPorts { first, len })?;
        // SAFETY: the model of a device does nothing to memory but what the driver shows it.
        Ok(unsafe { PortRegion::from_raw(device, first, len) })
    }

    fn dma(&self) -> &'static dyn DmaMemory {
        HeapDma::leaked()
    }

    fn msi(&self) -> Option<MsiMessage> {
        self.message
    }

    fn delay_us(&self, _: u32) {}

    fn uptime_ms(&self) -> u64 {
        0
    }
}

pub(crate) fn addresses() -> QueueAddresses {
    let at = DmaAddr::new;
    QueueAddresses {
        descriptors: at(0x1_2345_6000),
        driver: at(0x2_3456_7000),
        device: at(0x3_4567_8000),
    }
}
