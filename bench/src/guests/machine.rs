//! A running guest, which can be stopped and continued. Dropping it ends its QEMU, then its tap.
#![forbid(unsafe_code)]

use std::fs;
use std::net::{SocketAddr, SocketAddrV4};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde_json::json;
use tempfile::TempDir;
use tests::clients::udp;
use tests::guest::Vm;
use tests::qmp::Qmp;
use tests::tap::Tap;

use super::contender::{Contender, Files, Nic};

/// Memory of a guest, in MiB, where the least is not what is asked for: ample for Linux.
pub(super) const MEMORY_MIB: u32 = 256;

/// From QEMU's start to the first answer.
const BOOT_LIMIT: Duration = Duration::from_secs(30);
/// How often the client asks while nobody answers.
const ASK_EVERY: Duration = Duration::from_millis(1);

/// A guest that has answered.
pub(super) struct Machine {
    vm: Arc<Vm>,
    tap: Tap,
    run: TempDir,
    booted: Duration,
}

impl Machine {
    /// Starts a guest and waits for its first answer.
    pub(super) fn boot(files: &Files, contender: Contender, nic: Nic, mib: u32) -> Result<Self> {
        Self::boot_with(files, contender, nic, mib, "", &[])
    }

    /// The same with further words for the image's command line, and arguments for QEMU.
    pub(super) fn boot_with(
        files: &Files,
        contender: Contender,
        nic: Nic,
        mib: u32,
        words: &str,
        arguments: &[&str],
    ) -> Result<Self> {
        let (tap, run) = (Tap::new()?, tempfile::tempdir()?);
        // The host must not wait a second between its own ARP requests.
        tap.know_guest()?;
        let mut command = files.command(contender, nic, mib, &tap, words, run.path())?;
        command.args(arguments);
        let start = Instant::now();
        let mut machine = Self {
            vm: Vm::start(command)?,
            tap,
            run,
            booted: Duration::ZERO,
        };
        let socket = udp(machine.port(7))?;
        socket.set_read_timeout(Some(ASK_EVERY))?;
        loop {
            // The tap refuses datagrams until QEMU has opened it.
            let _ = socket.send(b"anybody?");
            if socket.recv(&mut [0; 16]).is_ok() {
                break;
            }
            if let Some(status) = machine.vm.process.exited() {
                bail!(
                    "QEMU ended before an answer: {status}{}",
                    machine.last_words()
                );
            }
            if start.elapsed() > BOOT_LIMIT {
                bail!("no answer within {BOOT_LIMIT:?}{}", machine.last_words());
            }
        }
        machine.booted = start.elapsed();
        Ok(machine)
    }

    fn last_words(&self) -> String {
        let log = self.vm.log.wait_end(Duration::from_millis(200));
        let last = log.lines().rev().find(|line| !line.trim().is_empty());
        last.map_or_else(String::new, |line| format!("; last line: {}", line.trim()))
    }

    /// From QEMU's start to the first answer.
    pub(super) fn booted(&self) -> Duration {
        self.booted
    }

    /// `port` at the guest's address.
    pub(super) fn port(&self, port: u16) -> SocketAddr {
        SocketAddrV4::new(self.tap.guest(), port).into()
    }

    /// The host's end of the wire.
    pub(super) fn interface(&self) -> &str {
        self.tap.name()
    }

    /// Stops the machine and its clock.
    pub(super) fn stop(&self) -> Result<()> {
        self.tell("stop")
    }

    /// Lets the machine go on.
    pub(super) fn go_on(&self) -> Result<()> {
        self.tell("cont")
    }

    fn tell(&self, command: &str) -> Result<()> {
        let mut monitor = Qmp::connect(&self.run.path().join("qmp"))?;
        monitor.ask(command, json!({})).map(drop)
    }

    /// QEMU's resident memory, in bytes.
    pub(super) fn resident(&self) -> Result<u64> {
        let pid = fs::read_to_string(self.run.path().join("pid")).context("QEMU's process id")?;
        let status = fs::read_to_string(format!("/proc/{}/status", pid.trim()))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kib = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
        Ok(kib.context("no VmRSS")? * 1024)
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        self.vm.process.kill(); // before the tap goes
    }
}
