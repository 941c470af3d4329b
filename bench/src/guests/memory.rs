//! The least memory with which a guest boots and serves.
#![forbid(unsafe_code)]

use std::time::Duration;

use anyhow::{Context, Result};

use super::client::{http, udp};
use super::contender::{Contender, Files, Nic};
use super::machine::{MEMORY_MIB, Machine};

/// Searches the least `-m`, in MiB, with which `contender` answers UDP and HTTP.
pub(super) fn least(files: &Files, contender: Contender, nic: Nic) -> Result<u32> {
    let (mut too_little, mut enough) = (0, MEMORY_MIB);
    serves(files, contender, nic, enough).context("not even with ample memory")?;
    while enough - too_little > 1 {
        let middle = too_little + (enough - too_little) / 2;
        let served = serves(files, contender, nic, middle);
        let verdict = if served.is_ok() { "serves" } else { "does not" };
        eprintln!("memory: {} with {middle} MiB {verdict}", contender.name());
        match served {
            Ok(()) => enough = middle,
            Err(_) => too_little = middle,
        }
    }
    Ok(enough)
}

fn serves(files: &Files, contender: Contender, nic: Nic, mib: u32) -> Result<()> {
    let machine = Machine::boot(files, contender, nic, mib)?;
    let time = Duration::from_millis(100);
    udp::echo(machine.port(7), 1400, 1, time)?;
    http::get(machine.port(80), 1, time)?;
    Ok(())
}
