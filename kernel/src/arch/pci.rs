//! PCI configuration space for the drivers: memory-mapped where firmware describes it, otherwise
//! by the ports of configuration mechanism 1 (PCI 3.0, 3.2.2.3.2).

use alloc::boxed::Box;

use drivers::bus::mmio::MmioRegion;
use drivers::pci::{ConfigAccess, Ecam, PciAddress};
use spin::Mutex;

use super::acpi::tables::EcamWindow;
use super::port;
use crate::mem::mmio;

const ADDRESS: u16 = 0xCF8;
const DATA: u16 = 0xCFC;
const ENABLE: u32 = 1 << 31;

/// The two ports are one access.
static PORTS: Mutex<()> = Mutex::new(());

/// Configuration by ports 0xCF8 and 0xCFC.
struct Ports;

/// The way to configuration space; `None` on a machine without PCI. Only segment 0 is reached.
pub fn config_access(windows: &[EcamWindow]) -> Option<Box<dyn ConfigAccess + Sync>> {
    config_memory(windows).or_else(config_ports)
}

/// The way through memory alone; `None` if firmware describes none that can be mapped.
pub fn config_memory(windows: &[EcamWindow]) -> Option<Box<dyn ConfigAccess + Sync>> {
    let ours = |window: &&EcamWindow| window.segment == 0;
    let ecam = windows.iter().filter(ours).find_map(ecam)?;
    Some(Box::new(ecam))
}

/// The way by ports alone; `None` if nobody listens there.
pub fn config_ports() -> Option<Box<dyn ConfigAccess + Sync>> {
    ports_answer().then(|| Box::new(Ports) as _)
}

fn ecam(window: &EcamWindow) -> Option<Ecam> {
    let buses = usize::from(window.last_bus - window.first_bus) + 1;
    let len = Ecam::window_len(buses);
    let start = window
        .base
        .checked_add(Ecam::window_len(window.first_bus.into()) as u64)?;
    // SAFETY: firmware says that this is configuration space.
    let base = unsafe { mmio::map(start, len) }.ok()?;
    // SAFETY: mapped just now, for good, and used through this window alone.
    let region = unsafe { MmioRegion::from_raw(base, len) };
    Some(Ecam::new(region, window.segment, window.first_bus))
}

/// The address register keeps what is written to it, if there is one.
fn ports_answer() -> bool {
    let _guard = PORTS.lock();
    // SAFETY: selects a register and no more; without PCI nobody listens.
    unsafe {
        port::write(ADDRESS, ENABLE);
        port::read::<u32>(ADDRESS) == ENABLE
    }
}

/// The address register's value; `None` for what mechanism 1 does not reach.
fn select(address: PciAddress, offset: u16) -> Option<u32> {
    (address.segment() == 0 && offset < 256).then(|| {
        ENABLE
            | u32::from(address.bus()) << 16
            | u32::from(address.device()) << 11
            | u32::from(address.function()) << 8
            | u32::from(offset & 0xFC)
    })
}

impl ConfigAccess for Ports {
    fn read32(&self, address: PciAddress, offset: u16) -> u32 {
        let Some(select) = select(address, offset) else {
            return u32::MAX;
        };
        let _guard = PORTS.lock();
        // SAFETY: configuration reads have no side effects on memory.
        unsafe {
            port::write(ADDRESS, select);
            port::read(DATA)
        }
    }

    fn write32(&self, address: PciAddress, offset: u16, value: u32) {
        let Some(select) = select(address, offset) else {
            return;
        };
        let _guard = PORTS.lock();
        // SAFETY: drivers answer for what they configure.
        unsafe {
            port::write(ADDRESS, select);
            port::write(DATA, value);
        }
    }
}
