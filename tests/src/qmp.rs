//! QEMU's machine protocol: what a test asks of the machine around the guest.
#![forbid(unsafe_code)]

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

/// A connection to a guest's monitor.
#[derive(Debug)]
pub struct Qmp {
    lines: BufReader<UnixStream>,
}

/// Where a queue of a virtio device lies in the guest's memory.
#[derive(Clone, Copy, Debug)]
pub struct QueueMemory {
    /// Address of the descriptors.
    pub descriptors: u64,
    /// Descriptors.
    pub size: u64,
    /// Its used index, modulo 65,536.
    pub used: u64,
}

impl Qmp {
    /// Connects to the socket at `path`.
    pub fn connect(path: &Path) -> Result<Qmp> {
        let stream = UnixStream::connect(path).with_context(|| path.display().to_string())?;
        stream.set_read_timeout(Some(Duration::from_secs(10)))?;
        let mut qmp = Qmp {
            lines: BufReader::new(stream),
        };
        qmp.read()?; // the greeting
        qmp.ask("qmp_capabilities", json!({}))?;
        Ok(qmp)
    }

    fn read(&mut self) -> Result<Value> {
        let mut line = String::new();
        if self.lines.read_line(&mut line)? == 0 {
            bail!("the monitor is gone");
        }
        serde_json::from_str(&line).context(line)
    }

    /// Runs a command and returns what it answers.
    pub fn ask(&mut self, command: &str, arguments: Value) -> Result<Value> {
        let request = json!({ "execute": command, "arguments": arguments });
        writeln!(self.lines.get_mut(), "{request}")?;
        loop {
            let mut answer = self.read()?;
            if let Some(error) = answer.get("error") {
                bail!("{command}: {error}");
            }
            if let Some(value) = answer.get_mut("return") {
                return Ok(value.take());
            }
            // Anything else is an event.
        }
    }

    /// Where `queue` of the only virtio network card is.
    pub fn virtio_queue(&mut self, queue: u16) -> Result<QueueMemory> {
        let devices = self.ask("x-query-virtio", json!({}))?;
        let path = devices.as_array().and_then(|all| {
            let net = all.iter().find(|d| d["name"] == "virtio-net")?;
            net["path"].as_str().map(str::to_owned)
        });
        let path = path.context("no virtio-net")?;
        let asked = json!({ "path": path, "queue": queue });
        let state = self.ask("x-query-virtio-queue-status", asked)?;
        let number = |key: &str| {
            state[key]
                .as_u64()
                .with_context(|| format!("{key}: {state}"))
        };
        Ok(QueueMemory {
            descriptors: number("vring-desc")?,
            size: number("vring-num")?,
            used: number("used-idx")?,
        })
    }
}
