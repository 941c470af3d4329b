//! Workers: processes that run requests. Ours is this program again; DPDK's is `peers/dpdk.c`,
//! compiled on the spot.
#![forbid(unsafe_code)]

use std::env;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::thread;

use anyhow::{Context, Result, bail, ensure};

use super::request::Request;

/// The cores of this run: the measured loops of one core run on the first.
#[derive(Clone, Copy)]
pub(super) struct Cores {
    first: usize,
    second: usize,
}

impl Cores {
    /// The last core, which interrupts visit least, and the one before it.
    pub(super) fn find() -> Result<Self> {
        let cores = thread::available_parallelism()?.get();
        ensure!(cores >= 2, "two cores are needed, there is {cores}");
        Ok(Self {
            first: cores - 1,
            second: cores - 2,
        })
    }
}

/// A program that can be started as a worker.
#[derive(Clone)]
pub(super) struct Program {
    /// Its name in messages.
    pub(super) name: &'static str,
    path: PathBuf,
    args: Vec<String>,
}

impl Program {
    /// The worker in this program.
    pub(super) fn own(cores: Cores) -> Result<Self> {
        Ok(Self {
            name: "pool",
            path: env::current_exe()?,
            args: vec![
                "pool".into(),
                "worker".into(),
                cores.first.to_string(),
                cores.second.to_string(),
            ],
        })
    }

    /// DPDK's worker, compiled into `dir`; the error says what is missing.
    pub(super) fn dpdk(dir: &Path, cores: Cores) -> Result<Self> {
        let flags = |what: &str| -> Result<Vec<String>> {
            let out = Command::new("pkg-config")
                .args([what, "libdpdk"])
                .output()
                .context("pkg-config")?;
            ensure!(out.status.success(), "no libdpdk (Debian: dpdk-dev)");
            let text = String::from_utf8(out.stdout)?;
            Ok(text.split_whitespace().map(str::to_owned).collect())
        };
        let (source, path) = (dir.join("dpdk.c"), dir.join("dpdk"));
        fs::write(&source, include_str!("../../peers/dpdk.c"))?;
        let status = Command::new("cc")
            .args(["-O3", "-Wall", "-Wextra"])
            .args(flags("--cflags")?)
            .args([source.as_os_str(), "-o".as_ref(), path.as_os_str()])
            .args(flags("--libs")?)
            .status()
            .context("cc")?;
        ensure!(status.success(), "peers/dpdk.c does not compile");
        Ok(Self {
            name: "DPDK",
            path,
            args: vec![cores.first.to_string(), cores.second.to_string()],
        })
    }

    /// Starts it.
    pub(super) fn start(&self) -> Result<Worker> {
        self.start_as(Command::new(&self.path))
    }

    /// Starts it under callgrind, which writes profiles named `out`.1, `out`.2 ...
    pub(super) fn start_counted(&self, out: &Path) -> Result<Worker> {
        let mut command = Command::new("valgrind");
        let mut file = std::ffi::OsString::from("--callgrind-out-file=");
        file.push(out);
        command
            .args([
                "-q",
                "--tool=callgrind",
                "--fair-sched=yes",
                "--compress-strings=no",
            ])
            .args([
                "--toggle-collect=*measured_run*",
                "--dump-after=*measured_dump*",
            ])
            .arg(file)
            .arg(&self.path);
        self.start_as(command)
    }

    fn start_as(&self, mut command: Command) -> Result<Worker> {
        let mut child = command
            .args(&self.args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("{}: cannot start", self.name))?;
        let mut worker = Worker {
            name: self.name,
            requests: child.stdin.take(),
            answers: BufReader::new(child.stdout.take().context("no pipe")?),
            child,
        };
        let ready = worker.answer()?;
        ensure!(ready == "ready", "{}: said {ready:?}", self.name);
        Ok(worker)
    }
}

/// A running worker; it ends when it is dropped.
pub(super) struct Worker {
    name: &'static str,
    child: Child,
    requests: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
}

impl Worker {
    /// Runs a request; nanoseconds, or 0 when counted; `None` if the worker does no such thing.
    pub(super) fn run(&mut self, request: &Request) -> Result<Option<u64>> {
        let requests = self.requests.as_mut().context("worker has ended")?;
        writeln!(requests, "{request}")?;
        match self.answer()?.as_str() {
            "none" => Ok(None),
            "ok" => Ok(Some(0)),
            number => number
                .parse()
                .map(Some)
                .with_context(|| format!("{}: answered {number:?} to {request}", self.name)),
        }
    }

    /// Ends it and waits for its end.
    pub(super) fn end(mut self) -> Result<()> {
        self.requests = None;
        let status = self.child.wait()?;
        ensure!(status.success(), "{}: {status}", self.name);
        Ok(())
    }

    fn answer(&mut self) -> Result<String> {
        let mut line = String::new();
        if self.answers.read_line(&mut line)? == 0 {
            bail!("{}: ended early ({})", self.name, self.child.wait()?);
        }
        Ok(line.trim().to_owned())
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.requests = None; // the end of its input
        let _ = self.child.wait();
    }
}
