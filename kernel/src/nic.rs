//! Finding the NIC, and starting it with pools of its own.
//!
//! `main` calls [`bring_up`] once. The first NIC found is used, or the first that `nic=` names: those
//! that the command line or ACPI names on MMIO first (a microvm has nothing else), then PCI in bus
//! order.
#![forbid(unsafe_code)]

mod cards;
mod sizes;

use alloc::boxed::Box;
use alloc::string::String;
use core::fmt;

use drivers::DriverError;
use drivers::host::Host;
use drivers::intel::{self, IntelNet};
use drivers::net::{InterruptMode, LinkState, Moderation, NetDevice};
use drivers::pci::{ConfigAccess, PciFunction};
use drivers::virtio::net::{HEADER_LEN, VirtioNet};
use drivers::virtio::transport::mmio::Mmio;
use drivers::virtio::transport::pci;
use drivers::virtio::{Features, TYPE_NET, transport::Transport};
use kernel::config::{Config, MmioDevice, NicChoice};
use kernel::net::Pools;

use crate::arch::acpi::Machine;
use crate::arch::ioapic::{self, Trigger};
use crate::arch::power::Exit;
use crate::arch::{cpu, time};
use crate::{arch, host, mem};
use cards::{Cards, Kind};
use sizes::{Sizes, Wishes};

static MACHINE: host::Machine = host::Machine;

/// What is driven here, for a person to read.
const SUPPORTED: &str = "virtio-net on PCI or MMIO; on PCI Intel 82540, 82545, 82546 (e1000), 82574L (e1000e), 82576, 82580, I350, I210 and I211 (igb), with copper ports";
/// The name of the kind of card that is no particular one.
const VIRTIO: &str = "virtio-net";

/// Why there is no NIC to serve on.
pub enum NicError {
    /// Nothing that a driver here drives, or that was asked for.
    None {
        /// What was seen instead.
        seen: String,
        /// What was asked for.
        choice: NicChoice,
    },
    /// The pool cannot be as asked for; the line that says why.
    Config(String),
    /// A NIC would not start.
    Driver {
        /// Which kind it is.
        name: &'static str,
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
            Self::None { seen, choice } => {
                f.write_str("no network card that is supported")?;
                if *choice != NicChoice::First {
                    write!(f, " and fits nic={choice}")?;
                }
                write!(f, " ({SUPPORTED}); seen: {seen}")
            }
            Self::Config(why) => write!(f, "bad configuration: {why}"),
            Self::Driver {
                name,
                location,
                why,
            } => write!(f, "{name} at {location}: {why}"),
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

impl Nic {
    /// Tells the log what it is.
    pub fn introduce(&mut self) {
        let link = match self.device.link() {
            LinkState::Up { .. } => "up",
            LinkState::Down => "down",
        };
        let info = self.device.info();
        log::info!(
            "{} at {}: {} link {link}, rings {}/{}, {}",
            info.model,
            info.location,
            info.mac,
            info.rx_ring,
            info.tx_ring,
            info.features,
        );
    }
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
    let on_mmio_too = matches!(config.nic, NicChoice::First | NicChoice::Virtio);
    for device in named.filter(|_| on_mmio_too) {
        if let Some(nic) = on_mmio(device, config, &sizes)? {
            return Ok(nic);
        }
    }
    let access = arch::pci::config_access(&machine.ecam);
    let Some(access) = access else {
        return Err(NicError::None {
            seen: "no PCI bus".into(),
            choice: config.nic,
        });
    };
    let cards = Cards::find(&*access);
    match cards.choose(config.nic) {
        Some((function, kind)) => on_pci(&*access, &function, kind, config, &sizes),
        None => Err(NicError::None {
            seen: cards.describe(),
            choice: config.nic,
        }),
    }
}

/// Starts the virtio card behind `transport`, as if it had been found.
#[cfg(feature = "budgets")]
pub fn on_transport(transport: Box<dyn Transport>, config: &Config) -> Result<Nic, NicError> {
    let sizes = Sizes::choose(config, mem::stats().available_kb as usize * 1024);
    sizes.check()?;
    let location = transport.location();
    start(transport, config, &sizes, false, |why| NicError::Driver {
        name: VIRTIO,
        location: location.clone(),
        why,
    })
}

/// Starts the network card at `device`, if there is one.
fn on_mmio(device: MmioDevice, config: &Config, sizes: &Sizes) -> Result<Option<Nic>, NicError> {
    let location = alloc::format!("mmio {:#x}", device.base);
    let failed = |why| NicError::Driver {
        name: VIRTIO,
        location: location.clone(),
        why,
    };
    let region = MACHINE
        .map_mmio(device.base, device.len)
        .map_err(|why| failed(DriverError::from(why)))?;
    match Mmio::probe(region, device.base, TYPE_NET) {
        Ok(transport) => {
            let polled = !attach(device.irq, Trigger::EDGE);
            start(Box::new(transport), config, sizes, polled, failed).map(Some)
        }
        Err(DriverError::NoDevice | DriverError::WrongType { .. }) => Ok(None),
        Err(why) => Err(failed(why)),
    }
}

/// Starts the network card at `function`.
fn on_pci(
    access: &dyn ConfigAccess,
    function: &PciFunction,
    kind: Kind,
    config: &Config,
    sizes: &Sizes,
) -> Result<Nic, NicError> {
    let failed = |why| NicError::Driver {
        name: kind.name(),
        location: alloc::format!("pci {}", function.address),
        why,
    };
    let line = || {
        let (gsi, trigger) = ioapic::line_of(function.interrupt_line, Trigger::LEVEL_LOW);
        !attach(gsi, trigger)
    };
    match kind {
        Kind::Virtio => {
            let transport = pci::probe(access, function, &MACHINE).map_err(failed)?;
            let polled = transport.interrupts() == InterruptMode::Line && line();
            start(transport, config, sizes, polled, failed)
        }
        Kind::Intel(_) => {
            let card = intel::pci::probe(access, function, &MACHINE).map_err(failed)?;
            let polled = !card.has_msix() && line();
            let pools = sizes.pools(&Wishes {
                merged: false,
                jumbo: sizes.jumbo(),
                cut: true,
                header: 0,
            })?;
            let options = sizes.intel_options();
            let device =
                IntelNet::new(card, pools.rx.clone(), &MACHINE, options).map_err(failed)?;
            let mut nic = set_up(device, pools, polled, config)?;
            nic.polled |= !interrupts_come(&mut *nic.device);
            Ok(nic)
        }
    }
}

fn start(
    mut transport: Box<dyn Transport>,
    config: &Config,
    sizes: &Sizes,
    polled: bool,
    failed: impl Fn(DriverError) -> NicError,
) -> Result<Nic, NicError> {
    if let Some(mtu) = config.mtu {
        let why = "a virtio card says itself what it carries";
        return Err(NicError::Config(alloc::format!("nic.mtu={mtu}: {why}")));
    }
    let offered = Features::from_bits_truncate(transport.device_features());
    let offered = offered - sizes.options().without;
    let pools = sizes.pools(&Wishes {
        merged: offered.contains(Features::MRG_RXBUF | Features::GUEST_CSUM)
            && offered.intersects(Features::GUEST_TSO4 | Features::GUEST_TSO6),
        jumbo: None,
        cut: offered.intersects(Features::HOST_TSO4 | Features::HOST_TSO6),
        header: HEADER_LEN,
    })?;
    let device =
        VirtioNet::new(transport, pools.rx.clone(), &MACHINE, sizes.options()).map_err(failed)?;
    set_up(device, pools, polled, config)
}

/// Asks of a NIC that was started what the command line does.
fn set_up(
    mut nic: impl NetDevice + 'static,
    pools: Pools,
    polled: bool,
    config: &Config,
) -> Result<Nic, NicError> {
    let refuse = |key: &str, why| NicError::Config(alloc::format!("{key}: {why}"));
    if let Some(mac) = config.mac {
        nic.set_mac(mac)
            .map_err(|why| refuse(&alloc::format!("mac={mac}"), why))?;
    }
    if let Some(vlan) = config.vlan {
        nic.join_vlan(Some(vlan))
            .map_err(|why| refuse(&alloc::format!("nic.vlan={}", vlan.get()), why))?;
    }
    if let Some(max_usecs) = config.coalesce {
        let limits = Moderation {
            max_usecs,
            max_packets: 0,
        };
        nic.set_moderation(limits)
            .map_err(|why| refuse(&alloc::format!("nic.coalesce={max_usecs}"), why))?;
    }
    Ok(Nic {
        device: Box::new(nic),
        pools,
        polled,
    })
}

/// Looks whether the interrupts of a card with a line come. Which line of the I/O APIC a PCI card is
/// on stands in AML, and what firmware tells is its line at the 8259s, which may not be the same.
fn interrupts_come(nic: &mut dyn NetDevice) -> bool {
    if nic.info().interrupts != InterruptMode::Line {
        return true;
    }
    let came = provoke(nic).unwrap_or(true);
    if !came {
        log::warn!("no interrupt comes from the card; it is polled");
    }
    came
}

/// Has a card interrupt. Returns whether it did; `None` if it cannot do that for no reason.
pub fn provoke(nic: &mut dyn NetDevice) -> Option<bool> {
    host::take_attention();
    if !nic.raise_interrupt() {
        return None;
    }
    let came = cpu::wait_for(INTERRUPT_LIMIT, host::has_attention);
    host::take_attention();
    nic.on_interrupt();
    host::acknowledged();
    Some(came)
}

/// Nanoseconds in which an interrupt that was asked for has to come.
const INTERRUPT_LIMIT: u64 = time::SECOND / 10;

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
