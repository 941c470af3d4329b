//! The self-test (`selftest=yes`): one line for each part of the machine, on every console, so that
//! a person with a real PC can tell what works. Then the machine stops.
//!
//! `main` calls [`run`] in the place of the NIC's bring-up. The checks are in the library
//! (`kernel::selftest`), where each is tested; here is what they look at. The invariant: each check has
//! an end, also on a machine on which nothing works.
#![deny(unsafe_code)]

mod interrupts;
#[allow(unsafe_code, reason = "writes patterns to free memory")]
mod memory;

use alloc::format;
use alloc::string::String;

use kernel::config::Config;
use kernel::selftest::{Outcome, Tally, buses, card, chains, loopback, pool};
use pbufpool::{Pool, PoolConfig};

use crate::arch::acpi::Machine;
use crate::arch::power::{self, Exit};
use crate::arch::time;
use crate::nic::{self, Nic};
use crate::{arch, console, host, mem};

static MACHINE: host::Machine = host::Machine;

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
    report.say("PCI", pci(machine));
    report.say("pool", packet_pool());
    network_card(config, machine, &mut report);
    let tally = report.0;
    console::line(format_args!("selftest: {tally}"));
    power::stop(if tally.is_good() {
        Exit::SelfTestPassed
    } else {
        Exit::SelfTestFailed
    })
}

/// Walks the buses in the two ways that there are.
fn pci(machine: &Machine) -> Outcome {
    let memory = arch::pci::config_memory(&machine.ecam);
    let ports = arch::pci::config_ports();
    buses::exercise(
        memory.as_deref().map(|access| access as _),
        ports.as_deref().map(|access| access as _),
    )
}

/// A pool as the NIC has them.
fn packet_pool() -> Result<String, String> {
    let config = PoolConfig::new("selftest").packets(512).buffer_size(2048);
    let made = Pool::new(config, mem::dma::dma(), &MACHINE);
    let packets = made.map_err(|why| format!("it cannot be made: {why}"))?;
    pool::exercise(&packets)
}

/// A pool for frames in several buffers.
fn packets_of_chains() -> Result<Pool, String> {
    let most = chains::MOST_BUFFERS as u16;
    let config = PoolConfig::new("chains").packets(64).buffer_size(1024);
    let config = config.on_demand(true).max_frags(most);
    let made = Pool::new(config, mem::dma::dma(), &MACHINE);
    made.map_err(|why| format!("no pool of chains: {why}"))
}

/// The card that would be used: does it start, interrupt, hear itself, and send chains?
fn network_card(config: &Config, machine: &Machine, report: &mut Report) {
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
    let link = device.link();
    let seen = card::describe(device.info(), link, buffer);
    report.say("NIC", Outcome::Pass(seen));
    let how = device.info().interrupts;
    let came = nic::provoke(&mut *device);
    report.say("NIC interrupt", card::interrupt(how, came, polled));
    let mut wait = || {
        time::delay_us(50);
        time::now() / 1_000_000
    };
    let looped = match device.loop_back() {
        Ok(None) => Outcome::Skip(format!("{} has none", device.info().model)),
        Ok(Some(part)) => {
            let turned = loopback::exercise(&mut *device, &pools.tx, &mut wait);
            turned.map(|seen| format!("in the {part}: {seen}")).into()
        }
        Err(why) => Outcome::Fail(format!("{why}")),
    };
    report.say("NIC loopback", looped);
    let chains =
        packets_of_chains().and_then(|pool| chains::exercise(&mut *device, &pool, &mut wait));
    report.say("NIC chains", chains);
}
