//! The machine as the drivers and the packet pool see it: their traits, answered by `arch` and
//! `mem`. `main` hands these out.

use core::sync::atomic::{AtomicBool, Ordering::Relaxed};

use drivers::bus::mmio::MmioRegion;
use drivers::bus::port::PortRegion;
use drivers::host::{Host, HostError, MsiMessage};
use pbufpool::{DmaMemory, Platform};
use spin::Once;

use crate::arch::interrupts::{self, Vector};
use crate::arch::ioapic::{self, Line, NoSuchLine, Trigger};
use crate::arch::{cpu, port, time};
use crate::mem::{self, mmio};

/// This machine.
#[derive(Debug)]
pub struct Machine;

/// A device has interrupted since this was last cleared.
static ATTENTION: AtomicBool = AtomicBool::new(false);
/// The vector that message-signalled interrupts of all devices share: the loop looks at every
/// queue in each turn anyway, so telling them apart would tell it nothing.
static DEVICES: Once<Option<Vector>> = Once::new();
/// Interrupt lines in use; there are few NICs without message-signalled interrupts in one machine.
static LINES: [Once<Line>; 8] = [const { Once::new() }; 8];

impl Host for Machine {
    fn map_mmio(&self, phys: u64, len: usize) -> Result<MmioRegion, HostError> {
        let error = HostError::CannotMap { phys, len };
        if mem::is_ram(phys, len) {
            return Err(error);
        }
        // SAFETY: drivers ask for what a device's own registers name as its memory, and it is
        // no RAM.
        let base = unsafe { mmio::map(phys, len) }.map_err(|_| error)?;
        // SAFETY: mapped for good, in a window of addresses that nothing else uses.
        Ok(unsafe { MmioRegion::from_raw(base, len) })
    }

    fn ports(&self, first: u16, len: u16) -> Result<PortRegion, HostError> {
        port::window(first, len).ok_or(HostError::NoPorts { first, len })
    }

    fn dma(&self) -> &'static dyn DmaMemory {
        mem::dma::dma()
    }

    fn msi(&self) -> Option<MsiMessage> {
        let message = interrupts::msi(device_vector()?);
        Some(MsiMessage {
            address: message.address,
            data: message.data,
        })
    }

    fn delay_us(&self, us: u32) {
        time::delay_us(us);
    }

    fn uptime_ms(&self) -> u64 {
        Platform::uptime_ms(self)
    }
}

// SAFETY: one core runs, the others are never started, and no interrupt handler uses the pool.
unsafe impl Platform for Machine {
    fn cores(&self) -> usize {
        1
    }

    fn core_id(&self) -> usize {
        0
    }

    fn uptime_ms(&self) -> u64 {
        time::now() / 1_000_000
    }

    fn wait_ms(&self, ms: u32) {
        time::delay_us(ms.saturating_mul(1000));
    }

    fn boot_secret(&self) -> u64 {
        static SECRET: Once<u64> = Once::new();
        *SECRET.call_once(cpu::random_u64)
    }
}

fn device_vector() -> Option<Vector> {
    *DEVICES.call_once(|| interrupts::register(attention))
}

/// Runs in interrupt context, for every device.
fn attention() {
    ATTENTION.store(true, Relaxed);
    // Which device it was is not known, so all level-triggered lines keep quiet until the loop
    // has acknowledged their devices.
    level_lines().for_each(Line::mask);
}

/// Has interrupt line `gsi` wake the loop.
///
/// # Errors
///
/// There is no such line, no vector, or too many lines are in use.
pub fn attach_line(gsi: u32, trigger: Trigger) -> Result<(), NoSuchLine> {
    let vector = device_vector().ok_or(NoSuchLine(gsi))?;
    let slot = LINES
        .iter()
        .find(|slot| !slot.is_completed())
        .ok_or(NoSuchLine(gsi))?;
    let line = ioapic::route(gsi, vector, trigger)?;
    slot.call_once(|| line);
    Ok(())
}

fn level_lines() -> impl Iterator<Item = &'static Line> {
    LINES
        .iter()
        .filter_map(Once::get)
        .filter(|line| line.is_level())
}

/// Whether a device has interrupted since the last call. After its devices are acknowledged
/// ([`drivers::net::NetDevice::on_interrupt`]), the loop calls [`acknowledged`].
pub fn take_attention() -> bool {
    ATTENTION.load(Relaxed) && ATTENTION.swap(false, Relaxed)
}

/// Whether a device has interrupted and nobody has taken note yet.
pub fn has_attention() -> bool {
    ATTENTION.load(Relaxed)
}

/// Every device has been acknowledged: lines may interrupt again.
pub fn acknowledged() {
    level_lines().for_each(Line::unmask);
}

/// Device interrupts so far.
#[cfg_attr(
    feature = "reflector",
    expect(dead_code, reason = "it reports nothing")
)]
pub fn device_interrupts() -> u64 {
    device_vector().map_or(0, interrupts::count)
}
