//! Finding the NIC, and starting it with pools of its own.
//!
//! `main` calls [`bring_up`] once. The first NIC found is used: those that the command line or
//! ACPI names on MMIO first (a microvm has nothing else), then PCI in bus order.
#![forbid(unsafe_code)]

mod sizes;

use alloc::boxed::Box;
use alloc::string::String;
use core::fmt;

use drivers::DriverError;
use drivers::host::Host;
use drivers::net::{InterruptMode, Moderation, NetDevice};
use drivers::pci::{self, ConfigAccess, PciFunction};
use drivers::virtio::net::VirtioNet;
use drivers::virtio::transport::mmio::Mmio;
use drivers::virtio::transport::pci::{Pci, device_type};
use drivers::virtio::{Features, TYPE_NET, transport::Transport};
use kernel::config::{Config, MmioDevice};
use kernel::net::Pools;

use crate::arch::acpi::Machine;
use crate::arch::ioapic::Trigger;
use crate::arch::power::Exit;
use crate::{arch, host, mem};
use sizes::{Sizes, Wishes};

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

/// A running NIC and what it was made of.
pub struct Nic {
    /// The NIC.
    pub device: Box<dyn NetDevice>,
    /// Where its packets come from.
    pub pools: Pools,
    /// Its interrupts cannot be routed: the loop has to look by the clock.
    pub polled: bool,
}

/// Finds a NIC and starts it with a pool of its own.
pub fn bring_up(config: &Config, machine: &Machine) -> Result<Nic, NicError> {
    let sizes = Sizes::choose(config, mem::stats().available_kb as usize * 1024);
    sizes.check()?;
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
        if let Some(nic) = on_mmio(device, config, &sizes)? {
            return Ok(nic);
        }
    }
    let mut seen = String::new();
    if let Some(access) = arch::pci::config_access(&machine.ecam)
        && let Some(nic) = on_pci(&*access, config, &sizes, &mut seen)?
    {
        return Ok(nic);
    }
    if seen.is_empty() {
        seen.push_str("nothing");
    }
    Err(NicError::None { seen })
}

/// Starts the network card at `device`, if there is one.
fn on_mmio(device: MmioDevice, config: &Config, sizes: &Sizes) -> Result<Option<Nic>, NicError> {
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
            start(transport, config, sizes, polled, failed).map(Some)
        }
        Err(DriverError::NoDevice | DriverError::WrongType { .. }) => Ok(None),
        Err(why) => Err(failed(why)),
    }
}

/// Starts the first network card on PCI.
fn on_pci(
    access: &dyn ConfigAccess,
    config: &Config,
    sizes: &Sizes,
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
    let polled = |transport: &dyn Transport| {
        transport.interrupts() == InterruptMode::Line
            && !attach(function.interrupt_line.into(), Trigger::LevelLow)
    };
    let started = match Pci::probe(access, &function, &MACHINE).map_err(failed)? {
        Pci::Modern(device) => {
            let polled = polled(&device);
            start(device, config, sizes, polled, failed)
        }
        Pci::Legacy(device) => {
            let polled = polled(&device);
            start(device, config, sizes, polled, failed)
        }
    };
    started.map(Some)
}

/// PCI base class of network controllers.
const NETWORK_CLASS: u8 = 2;

fn start<T: Transport + 'static>(
    mut transport: T,
    config: &Config,
    sizes: &Sizes,
    polled: bool,
    failed: impl Fn(DriverError) -> NicError,
) -> Result<Nic, NicError> {
    let offered = Features::from_bits_truncate(transport.device_features());
    let offered = offered - sizes.options().without;
    let pools = sizes.pools(&Wishes {
        merged: offered.contains(Features::MRG_RXBUF | Features::GUEST_CSUM)
            && offered.intersects(Features::GUEST_TSO4 | Features::GUEST_TSO6),
        cut: offered.intersects(Features::HOST_TSO4 | Features::HOST_TSO6),
    })?;
    let mut device =
        VirtioNet::new(transport, pools.rx.clone(), &MACHINE, sizes.options()).map_err(failed)?;
    set_up(&mut device, config)?;
    Ok(Nic {
        device: Box::new(device),
        pools,
        polled,
    })
}

/// Asks of a NIC what the command line does.
fn set_up(nic: &mut dyn NetDevice, config: &Config) -> Result<(), NicError> {
    let refuse = |key: &str, why| NicError::Config(alloc::format!("{key}: {why}"));
    if let Some(mac) = config.mac {
        nic.set_mac(mac)
            .map_err(|why| refuse(&alloc::format!("mac={mac}"), why))?;
    }
    if let Some(max_usecs) = config.coalesce {
        let limits = Moderation {
            max_usecs,
            max_packets: 0,
        };
        nic.set_moderation(limits)
            .map_err(|why| refuse(&alloc::format!("nic.coalesce={max_usecs}"), why))?;
    }
    Ok(())
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
