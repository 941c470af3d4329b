//! Finding the NIC, and the pool whose buffers its rings are fed from.
//!
//! `main` calls [`bring_up`] once. The first NIC found is used: those that the command line or
//! ACPI names on MMIO first (a microvm has nothing else), then PCI in bus order.
#![forbid(unsafe_code)]

use alloc::boxed::Box;
use alloc::string::String;
use core::fmt;

use drivers::DriverError;
use drivers::host::Host;
use drivers::net::{InterruptMode, NetDevice};
use drivers::pci::{self, ConfigAccess, PciFunction};
use drivers::virtio::net::{Options, VirtioNet};
use drivers::virtio::transport::mmio::Mmio;
use drivers::virtio::transport::pci::{PciModern, device_type};
use drivers::virtio::{TYPE_NET, transport::Transport};
use kernel::config::{Config, MmioDevice, PACKETS_BESIDES_RINGS, PoolSizes};
use pbufpool::{Pool, PoolConfig};

use crate::arch::acpi::Machine;
use crate::arch::ioapic::Trigger;
use crate::arch::power::Exit;
use crate::{arch, host, mem};

static MACHINE: host::Machine = host::Machine;

/// Why there is no NIC to serve on.
pub enum NicError {
    /// Nothing that a driver here drives.
    None {
        /// What was seen instead.
        seen: String,
    },
    /// The pool cannot be as asked for; the line that says why.
    Config(String),
    /// A NIC would not start.
    Driver {
        /// Where it is.
        location: String,
        /// What is wrong.
        why: DriverError,
    },
}

impl NicError {
    /// How the machine ends.
    pub fn exit(&self) -> Exit {
        match self {
            Self::Config(_) => Exit::BadConfig,
            Self::None { .. } | Self::Driver { .. } => Exit::NoDevice,
        }
    }
}

impl fmt::Display for NicError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None { seen } => {
                write!(
                    f,
                    "no network card that is supported (virtio-net on PCI or MMIO); seen: {seen}"
                )
            }
            Self::Config(why) => write!(f, "bad configuration: {why}"),
            Self::Driver { location, why } => write!(f, "virtio-net at {location}: {why}"),
        }
    }
}

/// Smallest ring; `ring.rx` and `ring.tx` take none smaller.
const LEAST_RING: usize = 16;

/// Sizes of rings and pool for the memory there is.
struct Sizes {
    rx: u16,
    tx: u16,
    packets: usize,
}

impl Sizes {
    /// What was asked for, or what suits `free` bytes: rings of 256 from 32 MiB on, and a pool
    /// that fills both and leaves as much again. Rings that were not asked for fit the pool that
    /// was.
    fn choose(asked: &PoolSizes, free: usize) -> Self {
        let by_memory = match free >> 20 {
            0..8 => 64,
            8..32 => 128,
            _ => 256,
        };
        let by_pool = asked.packets.map_or(usize::MAX, |packets| {
            let given = asked.rx_ring.or(asked.tx_ring).unwrap_or(0);
            let share = packets.saturating_sub(PACKETS_BESIDES_RINGS + given);
            let share = if given == 0 { share / 2 } else { share };
            1 << share.max(LEAST_RING).ilog2()
        });
        let ring = by_memory.min(by_pool);
        let rx = asked.rx_ring.unwrap_or(ring);
        let tx = asked.tx_ring.unwrap_or(ring);
        let least = rx + tx + PACKETS_BESIDES_RINGS;
        let roomy = if free >> 20 < 32 {
            least
        } else {
            2 * (rx + tx).max(512)
        };
        Self {
            rx: rx as u16,
            tx: tx as u16,
            packets: asked.packets.unwrap_or(roomy),
        }
    }
}

/// A running NIC and what it was made of.
pub struct Nic {
    /// The NIC.
    pub device: Box<dyn NetDevice>,
    /// The pool that its rings are fed from.
    pub pool: Pool,
    /// Its interrupts cannot be routed: the loop has to look by the clock.
    pub polled: bool,
}

/// Finds a NIC and starts it with a pool of its own.
pub fn bring_up(config: &Config, machine: &Machine) -> Result<Nic, NicError> {
    let sizes = Sizes::choose(&config.pool, mem::stats().available_kb as usize * 1024);
    let pool = pool(&config.pool, &sizes)?;
    let options = Options {
        rx_ring: sizes.rx,
        tx_ring: sizes.tx,
    };
    let named = config
        .mmio
        .iter()
        .copied()
        .chain(machine.virtio_mmio.iter().map(|device| MmioDevice {
            len: device.len as usize,
            base: device.base,
            irq: device.gsi,
        }));
    for device in named {
        if let Some(nic) = on_mmio(device, &pool, options)? {
            return Ok(nic);
        }
    }
    let mut seen = String::new();
    if let Some(access) = arch::pci::config_access(&machine.ecam)
        && let Some(nic) = on_pci(&*access, &pool, options, &mut seen)?
    {
        return Ok(nic);
    }
    if seen.is_empty() {
        seen.push_str("nothing");
    }
    Err(NicError::None { seen })
}

fn pool(asked: &PoolSizes, sizes: &Sizes) -> Result<Pool, NicError> {
    let needed_kb = sizes.packets * (asked.buffer + 256) / 1024;
    let available_kb = mem::stats().available_kb as usize;
    if needed_kb > available_kb * 3 / 4 {
        return Err(NicError::Config(alloc::format!(
            "pool.packets={} with pool.buffer={}: needs {needed_kb} KiB, but at most three quarters of {available_kb} KiB may be used; give the machine more memory or the pool less",
            sizes.packets,
            asked.buffer
        )));
    }
    // A magazine holds two bursts; in a small pool less, so that it is not all hoard.
    let magazine = (sizes.packets / 8).clamp(8, 128);
    let config = PoolConfig::new("net")
        .packets(sizes.packets)
        .buffer_size(asked.buffer)
        .magazine_capacity(magazine);
    Pool::new(config, MACHINE.dma(), &MACHINE)
        .map_err(|why| NicError::Config(alloc::format!("pool: {why:?}")))
}

/// Starts the network card at `device`, if there is one.
fn on_mmio(device: MmioDevice, pool: &Pool, options: Options) -> Result<Option<Nic>, NicError> {
    let location = alloc::format!("mmio {:#x}", device.base);
    let failed = |why| NicError::Driver {
        location: location.clone(),
        why,
    };
    let region = MACHINE
        .map_mmio(device.base, device.len)
        .map_err(|why| failed(DriverError::from(why)))?;
    match Mmio::probe(region, device.base, TYPE_NET) {
        Ok(transport) => {
            let polled = !attach(device.irq, Trigger::Edge);
            start(transport, pool, options, polled)
                .map(Some)
                .map_err(failed)
        }
        Err(DriverError::NoDevice | DriverError::WrongType { .. }) => Ok(None),
        Err(why) => Err(failed(why)),
    }
}

/// Starts the first network card on PCI.
fn on_pci(
    access: &dyn ConfigAccess,
    pool: &Pool,
    options: Options,
    seen: &mut String,
) -> Result<Option<Nic>, NicError> {
    let mut found: Option<PciFunction> = None;
    pci::scan(access, |function| {
        log::debug!(
            "pci {} {:04x}:{:04x}",
            function.address,
            function.vendor,
            function.device
        );
        if found.is_none() && device_type(function) == Some(TYPE_NET) {
            found = Some(*function);
        } else if function.class == NETWORK_CLASS {
            let id = alloc::format!(" {:04x}:{:04x}", function.vendor, function.device);
            seen.push_str(&id);
        }
    });
    let Some(function) = found else {
        return Ok(None);
    };
    let failed = |why| NicError::Driver {
        location: alloc::format!("pci {}", function.address),
        why,
    };
    let transport = PciModern::probe(access, &function, &MACHINE).map_err(failed)?;
    let polled = transport.interrupts() == InterruptMode::Line
        && !attach(function.interrupt_line.into(), Trigger::LevelLow);
    start(transport, pool, options, polled)
        .map(Some)
        .map_err(failed)
}

/// PCI base class of network controllers.
const NETWORK_CLASS: u8 = 2;

fn start<T: Transport + 'static>(
    transport: T,
    pool: &Pool,
    options: Options,
    polled: bool,
) -> Result<Nic, DriverError> {
    let device = VirtioNet::new(transport, pool.clone(), &MACHINE, options)?;
    Ok(Nic {
        device: Box::new(device),
        pool: pool.clone(),
        polled,
    })
}

/// Routes an interrupt line to the loop. Returns whether that worked.
fn attach(line: u32, trigger: Trigger) -> bool {
    match host::attach_line(line, trigger) {
        Ok(()) => true,
        Err(why) => {
            log::warn!("interrupt line {line}: {why:?}; the card is polled");
            false
        }
    }
}
