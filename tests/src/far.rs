//! A second host, in a network namespace of its own behind a router: this one. What it receives
//! was forwarded, so a frame that the guest left to the host to cut or to sum is finished when it
//! gets there.
#![forbid(unsafe_code)]

use std::fs::{self, File};
use std::net::Ipv4Addr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, ensure};
use nix::sched::{CloneFlags, setns};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::clients::eventually;
use crate::namespace::ip;

/// The interface here, and the one there.
const NEAR: &str = "near0";
/// See [`NEAR`].
const FAR: &str = "far0";

/// A host that only the router reaches. Dropping it ends it.
#[derive(Debug)]
pub struct FarHost {
    /// Holds the namespace open.
    keeper: Child,
}

impl FarHost {
    /// Its address.
    pub const ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 8, 0, 2);

    /// Makes the host and routes to it. Nothing on the way to it is left to hardware.
    pub fn new() -> Result<FarHost> {
        let keeper = Command::new("unshare")
            .args(["--net", "sleep", "600"])
            .spawn()
            .context("a namespace of its own")?;
        let host = FarHost { keeper };
        let pid = host.keeper.id().to_string();
        // It has left our namespace once it sees other interfaces.
        let ours = fs::read_link("/proc/self/ns/net")?;
        eventually(Duration::from_secs(5), || {
            let its = fs::read_link(format!("/proc/{pid}/ns/net"))?;
            ensure!(its != ours, "it is still in ours");
            Ok(())
        })?;
        ip(&[
            "link", "add", NEAR, "type", "veth", "peer", "name", FAR, "netns", &pid,
        ])?;
        ip(&["addr", "add", "10.8.0.1/24", "dev", NEAR])?;
        ip(&["link", "set", NEAR, "up"])?;
        run(
            "ethtool",
            &[
                "-K", NEAR, "tx", "off", "sg", "off", "tso", "off", "gso", "off",
            ],
        )?;
        fs::write("/proc/sys/net/ipv4/ip_forward", "1")?;
        host.inside(|| {
            ip(&["addr", "add", "10.8.0.2/24", "dev", FAR])?;
            ip(&["link", "set", FAR, "up"])?;
            ip(&["route", "add", "default", "via", "10.8.0.1"])
        })?;
        Ok(host)
    }

    /// Does `work` on this host: its sockets and programs are there.
    pub fn inside<T: Send>(&self, work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
        let namespace = File::open(format!("/proc/{}/ns/net", self.keeper.id()))?;
        thread::scope(|scope| {
            let there = scope.spawn(move || {
                setns(namespace, CloneFlags::CLONE_NEWNET)?;
                work()
            });
            there
                .join()
                .map_err(|_| anyhow!("a panic on the far host"))?
        })
    }

    /// Records what arrives and leaves here, while `work` is done on this host.
    pub fn record(&self, file: &Path, work: impl FnOnce() -> Result<()> + Send) -> Result<()> {
        self.inside(|| {
            let mut recorder = Command::new("dumpcap")
                .args(["-q", "-i", FAR, "-B", "64", "-w"])
                .arg(file)
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()?;
            // It writes the file's header when it has begun.
            let begun = eventually(Duration::from_secs(20), || {
                ensure!(fs::metadata(file)?.len() > 0, "nothing recorded yet");
                Ok(())
            });
            let done = begun.and_then(|()| work());
            thread::sleep(Duration::from_millis(500)); // what is on its way
            kill(Pid::from_raw(recorder.id() as i32), Signal::SIGINT)?;
            recorder.wait()?;
            done
        })
    }
}

impl Drop for FarHost {
    fn drop(&mut self) {
        let _ = self.keeper.kill();
        let _ = self.keeper.wait();
        // The pair goes with the namespace, but not at once.
        let _ = ip(&["link", "del", NEAR]);
    }
}

/// Runs a program and returns what it printed.
pub fn run(program: &str, arguments: &[&str]) -> Result<String> {
    let output = Command::new(program)
        .args(arguments)
        .output()
        .with_context(|| program.to_owned())?;
    ensure!(
        output.status.success(),
        "{program} {arguments:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Which of `programs` this machine lacks.
pub fn missing<'a>(programs: &[&'a str]) -> Vec<&'a str> {
    let there = |program: &str| {
        let path = std::env::var_os("PATH").unwrap_or_default();
        std::env::split_paths(&path).any(|folder| folder.join(program).is_file())
            || Path::new("/usr/sbin").join(program).is_file()
    };
    programs.iter().copied().filter(|p| !there(p)).collect()
}
