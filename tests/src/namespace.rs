//! A private network namespace for the whole test process.
//!
//! Called once, first thing in `main`, while there is a single thread. Afterwards every
//! interface, address and port used by the tests is invisible to the rest of the machine.
#![forbid(unsafe_code)]

use std::fs;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use nix::sched::{CloneFlags, unshare};
use nix::unistd::{Gid, Uid};

/// Moves this process into a new network namespace and brings up its loopback.
///
/// A user namespace comes with it where the system allows that, so that no root is needed;
/// where it does not, root is. Must be called before any thread is started.
pub fn enter() -> Result<()> {
    let (uid, gid) = (Uid::current(), Gid::current());
    match unshare(CloneFlags::CLONE_NEWUSER | CloneFlags::CLONE_NEWNET) {
        Ok(()) => map_to_root(uid, gid).context("mapping this user to root of the namespace")?,
        Err(_) => unshare(CloneFlags::CLONE_NEWNET).context(
            "no private network namespace: unprivileged user namespaces are off here, run as root",
        )?,
    }
    ip(&["link", "set", "lo", "up"]).context("the new network namespace gives no rights")
}

/// Inside the namespace this user is root, and nobody else exists.
fn map_to_root(uid: Uid, gid: Gid) -> Result<()> {
    fs::write("/proc/self/setgroups", "deny")?;
    fs::write("/proc/self/uid_map", format!("0 {uid} 1"))?;
    fs::write("/proc/self/gid_map", format!("0 {gid} 1"))?;
    Ok(())
}

/// Runs `ip` (iproute2) with `arguments`; its complaint becomes the error.
pub fn ip(arguments: &[&str]) -> Result<()> {
    let output = Command::new("ip")
        .args(arguments)
        .output()
        .context("running `ip` (iproute2)")?;
    ensure!(
        output.status.success(),
        "`ip {}`: {}",
        arguments.join(" "),
        String::from_utf8_lossy(&output.stderr).trim()
    );
    Ok(())
}
