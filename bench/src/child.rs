//! Workers: processes that run requests, one line each way. Ours is this program again; DPDK's are C
//! programs in `peers/`, compiled on the spot. Called by the parts that measure beside peers.
#![forbid(unsafe_code)]

use std::env;
use std::fmt;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::thread;

use anyhow::{Context, Result, bail, ensure};
use nix::sched::{CpuSet, sched_setaffinity};
use nix::unistd::Pid;

/// The cores of this run: the measured loops of one core run on the first.
#[derive(Clone, Copy)]
pub(crate) struct Cores {
    /// Where what is measured runs.
    pub(crate) first: usize,
    /// Where the other side runs.
    pub(crate) second: usize,
}

impl Cores {
    /// The last core, which interrupts visit least, and the one before it.
    pub(crate) fn find() -> Result<Self> {
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
pub(crate) struct Program {
    /// Its name in messages.
    pub(crate) name: &'static str,
    path: PathBuf,
    args: Vec<String>,
}

impl Program {
    /// The worker in this program: its command line is `words`.
    pub(crate) fn own(name: &'static str, words: &[&str]) -> Result<Self> {
        let args = words.iter().map(|&word| word.to_owned()).collect();
        Ok(Self {
            name,
            path: env::current_exe()?,
            args,
        })
    }

    /// DPDK's worker `source`, the text of `peers/FILE.c`, compiled into `dir`; the error says
    /// what is missing.
    pub(crate) fn dpdk(dir: &Path, file: &str, source: &str, args: &[&str]) -> Result<Self> {
        let flags = |what: &str| -> Result<Vec<String>> {
            let out = Command::new("pkg-config")
                .args([what, "libdpdk"])
                .output()
                .context("pkg-config")?;
            ensure!(out.status.success(), "no libdpdk (Debian: dpdk-dev)");
            let text = String::from_utf8(out.stdout)?;
            Ok(text.split_whitespace().map(str::to_owned).collect())
        };
        let (path, text) = (dir.join(file), dir.join(format!("{file}.c")));
        fs::write(&text, source)?;
        fs::write(dir.join("worker.h"), include_str!("../peers/worker.h"))?;
        let status = Command::new("cc")
            .args(["-O3", "-Wall", "-Wextra"])
            .args(flags("--cflags")?)
            .args([text.as_os_str(), "-o".as_ref(), path.as_os_str()])
            .args(flags("--libs")?)
            .status()
            .context("cc")?;
        ensure!(status.success(), "peers/{file}.c does not compile");
        Ok(Self {
            name: "DPDK",
            path,
            args: args.iter().map(|&word| word.to_owned()).collect(),
        })
    }

    /// Starts it.
    pub(crate) fn start(&self) -> Result<Worker> {
        self.start_as(Command::new(&self.path))
    }

    /// Starts it under callgrind, which writes profiles named `out`.1, `out`.2 ...
    pub(crate) fn start_counted(&self, out: &Path) -> Result<Worker> {
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
pub(crate) struct Worker {
    name: &'static str,
    child: Child,
    requests: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
}

impl Worker {
    /// Runs a request; `None` if the worker does no such thing.
    pub(crate) fn run(&mut self, request: &impl fmt::Display) -> Result<Option<String>> {
        let requests = self.requests.as_mut().context("worker has ended")?;
        writeln!(requests, "{request}")?;
        Ok(Some(self.answer()?).filter(|answer| answer != "none"))
    }

    /// Its process.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Ends it and waits for its end.
    pub(crate) fn end(mut self) -> Result<()> {
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

/// Keeps this thread on `core`. A machine that refuses still gets its measurements.
pub(crate) fn pin(core: usize) {
    let mut set = CpuSet::new();
    if set.set(core).is_ok() {
        let _ = sched_setaffinity(Pid::from_raw(0), &set);
    }
}
