//! Child processes that never outlive the tests.
//!
//! A [`Process`] owns its child: dropping it kills that child, by its id, and waits for it.
//! Should the test process itself be killed, the kernel kills the children
//! (`PR_SET_PDEATHSIG`). That signal is tied to the *thread* that forked, so one thread that
//! lives as long as the process does all the spawning.

use std::io;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// A child process, killed and waited for when dropped.
#[derive(Debug)]
pub struct Process {
    child: Mutex<Child>,
}

type Job = (Command, Sender<io::Result<Child>>);

impl Process {
    /// Starts `command`, and hands its pipes to `take_pipes` before anything else happens.
    pub fn start(command: Command, take_pipes: impl FnOnce(&mut Child)) -> Result<Process> {
        let name = command.get_program().to_string_lossy().into_owned();
        let mut child = spawn(command).with_context(|| format!("starting {name}"))?;
        take_pipes(&mut child);
        Ok(Process {
            child: Mutex::new(child),
        })
    }

    /// The exit status, if the child has ended.
    pub fn exited(&self) -> Option<ExitStatus> {
        self.child().try_wait().ok().flatten()
    }

    /// Waits for the child to end by itself.
    pub fn wait(&self, limit: Duration) -> Result<ExitStatus> {
        let end = Instant::now() + limit;
        loop {
            if let Some(status) = self.exited() {
                return Ok(status);
            }
            if Instant::now() > end {
                bail!("still running after {limit:?}");
            }
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// Kills the child at once. Harmless if it has ended.
    pub fn kill(&self) {
        let mut child = self.child();
        let _ = child.kill();
        let _ = child.wait();
    }

    /// Asks the child to end, as a person's Ctrl-C at a script would.
    pub fn terminate(&self) -> Result<()> {
        let child = self.child();
        let pid = i32::try_from(child.id()).context("process id")?;
        Ok(kill(Pid::from_raw(pid), Signal::SIGTERM)?)
    }

    fn child(&self) -> std::sync::MutexGuard<'_, Child> {
        self.child.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Spawns on the thread that lives as long as this process.
fn spawn(mut command: Command) -> io::Result<Child> {
    static SPAWNER: OnceLock<Mutex<Sender<Job>>> = OnceLock::new();
    let spawner = SPAWNER.get_or_init(|| {
        let (sender, jobs) = channel::<Job>();
        thread::spawn(move || {
            for (mut command, reply) in jobs {
                let _ = reply.send(command.spawn());
            }
        });
        Mutex::new(sender)
    });
    // SAFETY: the closure runs in the forked child; it makes one system call and allocates
    // nothing.
    unsafe {
        command.pre_exec(|| Ok(set_pdeathsig(Signal::SIGKILL)?));
    }
    let (reply, child) = channel();
    let gone = || io::Error::other("the spawning thread is gone");
    let sender = spawner.lock().unwrap_or_else(PoisonError::into_inner);
    sender.send((command, reply)).map_err(|_| gone())?;
    child.recv().map_err(|_| gone())?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dropping_a_process_ends_it() {
        let mut command = Command::new("sleep");
        command.arg("60");
        let mut id = 0;
        let process = Process::start(command, |child| id = child.id()).unwrap();
        assert!(process.exited().is_none());
        drop(process);
        let pid = Pid::from_raw(i32::try_from(id).unwrap());
        assert_eq!(kill(pid, None), Err(nix::errno::Errno::ESRCH));
    }

    #[test]
    fn an_exit_status_is_reported() {
        let mut command = Command::new("sh");
        command.args(["-c", "exit 39"]);
        let process = Process::start(command, |_| ()).unwrap();
        assert_eq!(
            process.wait(Duration::from_secs(10)).unwrap().code(),
            Some(39)
        );
    }
}
