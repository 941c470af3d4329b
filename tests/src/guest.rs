//! One running guest: QEMU with the image in it, its serial log and its wire.
//!
//! Every guest notes itself in the current test's cast ([`limit`]), which is how
//! a test that runs out of time ends its guests, and how a failure finds the serial logs.
#![forbid(unsafe_code)]

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4};
use std::process::{Child, Command, ExitStatus};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Result, bail};

use crate::frames::{Mac, link_local};
use crate::launch::{Launch, Machine, Wire};
use crate::limit;
use crate::process::Process;
use crate::serial::SerialLog;
use crate::tap::Tap;

/// What the image says once its IPv4 address is configured (an IPv6 one may come earlier).
pub const READY: &str = "millrace: ready ip=";

/// From QEMU's start until the image has its address; a UEFI boot under TCG takes seconds.
const READY_LIMIT: Duration = Duration::from_secs(60);

/// What is running: shared between its owner and the test that may have to kill it.
#[derive(Debug)]
pub struct Vm {
    /// QEMU.
    pub process: Process,
    /// What it printed.
    pub log: Arc<SerialLog>,
}

impl Vm {
    /// Starts `command`, which prints a serial log on its standard output.
    pub fn start(command: Command) -> Result<Arc<Vm>> {
        let log = SerialLog::new();
        let pipes = Arc::clone(&log);
        let process = Process::start(command, |child| collect(child, &pipes))?;
        let vm = Arc::new(Vm { process, log });
        limit::note(&vm);
        Ok(vm)
    }

    /// Waits until the image says that its address is configured; returns that line.
    pub fn wait_ready(&self, limit: Duration) -> Result<String> {
        if let Some(line) = self.log.wait_for(READY, limit) {
            return Ok(line);
        }
        // The log may have ended a moment before its writer did.
        match self.process.wait(Duration::from_secs(1)) {
            Ok(status) => bail!("QEMU ended before the image was ready: {status}"),
            Err(_) => bail!("the image was not ready after {limit:?}"),
        }
    }
}

fn collect(child: &mut Child, log: &Arc<SerialLog>) {
    if let Some(stdout) = child.stdout.take() {
        log.collect(stdout);
    }
    if let Some(stderr) = child.stderr.take() {
        log.collect(stderr);
    }
}

/// A guest on a tap of its own. Dropping it ends QEMU, then removes the tap.
#[derive(Debug)]
pub struct Guest {
    vm: Arc<Vm>,
    tap: Tap,
    mac: Mac,
    addr: Ipv4Addr,
}

impl Guest {
    /// Starts a guest with the tap's static address in its command line, and waits until it is
    /// ready. `words` are further words of the command line; `services=all` is among them.
    pub fn boot(machine: Machine, words: &str) -> Result<Guest> {
        let tap = Tap::new()?;
        let cmdline = format!("{} services=all {words}", tap.static_config());
        Guest::start_ready(&Launch::pvh(machine, cmdline), tap)
    }

    /// Starts a guest on `tap` and waits until it is ready.
    pub fn start_ready(launch: &Launch, tap: Tap) -> Result<Guest> {
        let guest = Guest::start(launch, tap)?;
        guest.vm.wait_ready(READY_LIMIT)?;
        Ok(guest)
    }

    /// Starts a guest on `tap`, and does not wait.
    pub fn start(launch: &Launch, tap: Tap) -> Result<Guest> {
        let mac = tap.guest_mac();
        let command = launch.command(&Wire::Tap(tap.name().to_owned()), mac)?;
        Ok(Guest {
            vm: Vm::start(command)?,
            mac,
            addr: tap.guest(),
            tap,
        })
    }

    /// Starts a guest on a wire that is no tap.
    pub fn start_on(launch: &Launch, wire: &Wire, mac: Mac) -> Result<Arc<Vm>> {
        Vm::start(launch.command(wire, mac)?)
    }

    /// The guest's IPv4 address.
    pub fn addr(&self) -> Ipv4Addr {
        self.addr
    }

    /// `port` at the guest's IPv4 address.
    pub fn port(&self, port: u16) -> SocketAddr {
        SocketAddrV4::new(self.addr, port).into()
    }

    /// Records the address that the guest got from a DHCP server.
    pub fn set_addr(&mut self, addr: Ipv4Addr) {
        self.addr = addr;
    }

    /// The guest's IPv6 link-local address, made from its MAC address.
    pub fn link_local(&self) -> Ipv6Addr {
        link_local(self.mac)
    }

    /// The guest's MAC address.
    pub fn mac(&self) -> Mac {
        self.mac
    }

    /// The wire.
    pub fn tap(&self) -> &Tap {
        &self.tap
    }

    /// The serial log.
    pub fn log(&self) -> &SerialLog {
        &self.vm.log
    }

    /// QEMU and the serial log, for a test's cast.
    pub fn vm(&self) -> &Arc<Vm> {
        &self.vm
    }

    /// Waits for the machine to end by itself.
    pub fn wait_exit(&self, limit: Duration) -> Result<ExitStatus> {
        self.vm.process.wait(limit)
    }

    /// Fails if QEMU has ended.
    pub fn must_be_running(&self) -> Result<()> {
        match self.vm.process.exited() {
            Some(status) => bail!("the guest is gone: QEMU ended with {status}"),
            None => Ok(()),
        }
    }

    /// `http://` URL of `path` at the guest's address.
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.addr)
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        self.vm.process.kill(); // before the tap goes
    }
}
