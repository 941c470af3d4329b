//! The self-test (`selftest=yes`): one line for each part of the machine, on every console, so that
//! a person with a real PC can tell what works. Then the machine stops.
//!
//! `main` calls [`run`] in the place of the NIC's bring-up. What needs no machine is in the library
//! (`kernel::selftest`). The invariant: each check has an end, also on a machine on which nothing
//! works.
#![deny(unsafe_code)]

mod interrupts;
#[allow(unsafe_code, reason = "writes patterns to free memory")]
mod memory;

use alloc::format;
use alloc::string::String;

use drivers::net::{LinkState, NetDevice};
use drivers::pci::{self, ConfigAccess, PciFunction};
use kernel::config::Config;
use kernel::selftest::{Outcome, Tally, loopback, pool};
use pbufpool::{Pool, PoolConfig};

use crate::arch::acpi::Machine;
use crate::arch::power::{self, Exit};
use crate::arch::time;
use crate::nic::{self, Nic};
use crate::{arch, console, host, mem};

static MACHINE: host::Machine = host::Machine;

/// PCI base class of network controllers.
const NETWORK_CLASS: u8 = 2;

/// Tells results as they come.
#[derive(Default)]
struct Report(Tally);

impl Report {
    fn say(&mut self, what: &str, outcome: impl Into<Outcome>) {
        let outcome = outcome.into();
        self.0.count(&outcome);
        console::line(format_args!("selftest: {what}: {outcome}"));
    }
}

/// Checks the machine and stops it.
pub fn run(config: &Config, machine: &Machine) -> ! {
    let mut report = Report::default();
    report.say("memory", memory::check());
    report.say("timer", interrupts::timer());
    report.say("local APIC", interrupts::local_apic());
    report.say("I/O APIC", interrupts::io_apic(machine));
    report.say("PCI", buses(machine));
    report.say("pool", packet_pool());
    card(config, machine, &mut report);
    let tally = report.0;
    console::line(format_args!("selftest: {tally}"));
    power::stop(if tally.is_good() {
        Exit::SelfTestPassed
    } else {
        Exit::SelfTestFailed
    })
}

/// Walks the buses, and reads each header in the two ways that there are.
fn buses(machine: &Machine) -> Outcome {
    let Some(access) = arch::pci::config_access(&machine.ecam) else {
        return Outcome::Skip("there is no PCI bus".into());
    };
    let ports = arch::pci::config_ports();
    let (mut functions, mut cards) = (0, String::new());
    let mut differs = None;
    pci::scan(&*access, |function| {
        functions += 1;
        if function.class == NETWORK_CLASS {
            let PciFunction { vendor, device, .. } = function;
            cards += &format!(" {vendor:04x}:{device:04x} at {}", function.address);
        }
        let again = |ports: &(dyn ConfigAccess + Sync)| PciFunction::read(ports, function.address);
        if ports
            .as_deref()
            .is_some_and(|ports| again(ports) != Some(*function))
        {
            differs = Some(*function);
        }
    });
    let way = match (machine.ecam.is_empty(), ports.is_some()) {
        (false, true) => "by memory and by ports alike",
        (false, false) => "by memory",
        (true, _) => "by ports",
    };
    if let Some(function) = differs {
        return Outcome::Fail(format!("{function} is another one when read by ports"));
    }
    if functions == 0 {
        return Outcome::Fail("nothing answers on bus 0".into());
    }
    let cards = if cards.is_empty() { " none" } else { &cards };
    Outcome::Pass(format!(
        "{functions} functions, read {way}; network cards:{cards}"
    ))
}

/// A pool as the NIC has them.
fn packet_pool() -> Result<String, String> {
    let config = PoolConfig::new("selftest").packets(512).buffer_size(2048);
    let made = Pool::new(config, mem::dma::dma(), &MACHINE);
    let packets = made.map_err(|why| format!("it cannot be made: {why:?}"))?;
    pool::exercise(&packets)
}

/// The card that would be used: does it start, interrupt, and hear itself?
fn card(config: &Config, machine: &Machine, report: &mut Report) {
    // With low memory out of the way, rings and buffers lie where an address of 32 bits cannot reach.
    let _low = memory::hold_low();
    let Nic {
        mut device,
        pools,
        polled,
    } = match nic::bring_up(config, machine) {
        Ok(nic) => nic,
        Err(why) => return report.say("NIC", Outcome::Fail(format!("{why}"))),
    };
    let packet = pools.tx.alloc().ok();
    let buffer = packet.as_ref().and_then(|packet| packet.first());
    let buffer = buffer.map_or(0, |buflet| buflet.base_dma().as_u64());
    drop(packet);
    let link = match device.link() {
        LinkState::Up { mbps: Some(mbps) } => format!("up at {mbps} Mbit/s"),
        LinkState::Up { mbps: None } => "up".into(),
        LinkState::Down => "down".into(),
    };
    let info = device.info();
    let (model, location, mac) = (info.model, &info.location, info.mac);
    let seen = format!("{model} at {location}, {mac}, link {link}, buffers from {buffer:#x}");
    report.say("NIC", Outcome::Pass(seen));
    report.say("NIC interrupt", interrupt(&mut *device, polled));
    let looped = match device.loop_back() {
        Ok(None) => Outcome::Skip(format!("{model} has none")),
        Ok(Some(part)) => {
            let mut wait = || {
                time::delay_us(50);
                time::now() / 1_000_000
            };
            let turned = loopback::exercise(&mut *device, &pools.tx, &mut wait);
            turned.map(|seen| format!("in the {part}: {seen}")).into()
        }
        Err(why) => Outcome::Fail(format!("{why}")),
    };
    report.say("NIC loopback", looped);
}

fn interrupt(device: &mut dyn NetDevice, polled: bool) -> Outcome {
    let how = device.info().interrupts;
    match nic::provoke(device) {
        None => Outcome::Skip("this card raises none for no reason".into()),
        Some(true) => Outcome::Pass(format!("it comes ({how:?})")),
        Some(false) if polled => {
            let text = format!("it does not come ({how:?}); the card would be polled every ms");
            Outcome::Fail(text)
        }
        Some(false) => Outcome::Fail(format!("it does not come ({how:?})")),
    }
}
