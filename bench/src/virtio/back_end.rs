//! The device: DPDK's `testpmd` with one `net_vhost` port, alone on its core. Whoever connects to its
//! socket is its driver; one at a time.
#![forbid(unsafe_code)]

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use super::request::Case;

const TESTPMD: &str = "dpdk-testpmd";
/// Until it listens, and until it has ended.
const PATIENCE: Duration = Duration::from_secs(20);

/// A running `testpmd`; it ends when it is dropped.
pub(super) struct BackEnd {
    child: Child,
    log: PathBuf,
    socket: PathBuf,
}

impl BackEnd {
    /// Whether there is one at all.
    pub(super) fn check() -> Result<()> {
        let found = Command::new(TESTPMD).arg("--version").output();
        found.with_context(|| format!("no {TESTPMD} (Debian: dpdk)"))?;
        Ok(())
    }

    /// Starts it for `case` on `core`, listening on `socket`; what it says goes to a file in `dir`.
    pub(super) fn start(case: Case, core: usize, socket: &Path, dir: &Path) -> Result<Self> {
        let _ = fs::remove_file(socket); // of one that did not end well
        let log = dir.join("testpmd.log");
        let output = File::create(&log)?;
        // All of its threads stay on its core: one forwards, the others sleep.
        let lcores = format!("0@{core},1@{core}");
        let device = format!("net_vhost0,iface={},queues=1", socket.display());
        let mut child = Command::new("taskset")
            .args(["-c", &core.to_string(), TESTPMD])
            .args(["--lcores", &lcores, "--main-lcore", "0", "-m", "128"])
            .args(["--in-memory", "--single-file-segments", "--no-pci"])
            .arg("--no-telemetry")
            .args(["-d", "librte_bus_vdev.so", "-d", "librte_mempool_ring.so"])
            .args(["-d", "librte_net_vhost.so", "--vdev", &device])
            .args(["--", "--nb-cores=1", "--total-num-mbufs=16384"])
            .arg(format!("--forward-mode={}", case.forward_mode()))
            .stdin(Stdio::piped())
            .stderr(output.try_clone()?)
            .stdout(output)
            .spawn()
            .context("taskset")?;
        let start = Instant::now();
        while !socket.exists() {
            if let Some(status) = child.try_wait()? {
                bail!("{TESTPMD}: {status}; see {}", log.display());
            }
            if start.elapsed() > PATIENCE {
                let _ = child.kill();
                bail!("{TESTPMD} does not listen; see {}", log.display());
            }
            sleep(Duration::from_millis(20));
        }
        Ok(Self {
            child,
            log,
            socket: socket.to_owned(),
        })
    }

    /// Its process.
    pub(super) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Ends it.
    ///
    /// # Errors
    /// It had ended by itself, or badly.
    pub(super) fn end(mut self) -> Result<()> {
        if let Some(status) = self.child.try_wait()? {
            bail!(
                "{TESTPMD} ended early: {status}; see {}",
                self.log.display()
            );
        }
        Ok(()) // the rest is done by dropping it
    }
}

impl Drop for BackEnd {
    fn drop(&mut self) {
        // Any line ends it; one that does not listen is killed.
        if let Some(mut input) = self.child.stdin.take() {
            let _ = input.write_all(b"\n");
        }
        let start = Instant::now();
        while matches!(self.child.try_wait(), Ok(None)) && start.elapsed() < PATIENCE {
            sleep(Duration::from_millis(20));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = fs::remove_file(&self.socket);
    }
}
