//! What the environment provides: images, QEMU, firmware, durations.
#![forbid(unsafe_code)]

use std::env;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::launch::Nic;

/// Firmware for UEFI boots, where distributions put it.
const OVMF: [&str; 4] = [
    "/usr/share/ovmf/OVMF.fd",
    "/usr/share/OVMF/OVMF.fd",
    "/usr/share/edk2/x64/OVMF.4m.fd",
    "/usr/share/qemu/OVMF.fd",
];

/// The kernel ELF for PVH boots: `MILLRACE_KERNEL`, or what `scripts/build-kernel.sh` built.
pub fn kernel() -> Result<PathBuf> {
    let built = workspace().join("target/millrace");
    if env::var_os("MILLRACE_KERNEL").is_none() && built.is_file() {
        return Ok(built);
    }
    file("MILLRACE_KERNEL")
}

/// The disk image for BIOS boots (`MILLRACE_BIOS_IMAGE`).
pub fn bios_image() -> Result<PathBuf> {
    file("MILLRACE_BIOS_IMAGE")
}

/// The disk image for UEFI boots (`MILLRACE_UEFI_IMAGE`).
pub fn uefi_image() -> Result<PathBuf> {
    file("MILLRACE_UEFI_IMAGE")
}

/// The disk image for BIOS boots that tests the machine (`MILLRACE_SELFTEST_BIOS_IMAGE`).
pub fn self_test_bios_image() -> Result<PathBuf> {
    file("MILLRACE_SELFTEST_BIOS_IMAGE")
}

/// The disk image for UEFI boots that tests the machine (`MILLRACE_SELFTEST_UEFI_IMAGE`).
pub fn self_test_uefi_image() -> Result<PathBuf> {
    file("MILLRACE_SELFTEST_UEFI_IMAGE")
}

/// The UEFI firmware (`MILLRACE_OVMF`, or where distributions put it).
pub fn ovmf() -> Result<PathBuf> {
    if env::var_os("MILLRACE_OVMF").is_some() {
        return file("MILLRACE_OVMF");
    }
    let found = OVMF.iter().map(PathBuf::from).find(|path| path.is_file());
    found.context("no UEFI firmware: install `ovmf` or set MILLRACE_OVMF")
}

/// The QEMU binary (`MILLRACE_QEMU`, or `qemu-system-x86_64`).
pub fn qemu() -> PathBuf {
    env::var_os("MILLRACE_QEMU").map_or_else(|| "qemu-system-x86_64".into(), PathBuf::from)
}

/// QEMU's version, as in `7.2.19`.
pub fn qemu_version() -> Result<String> {
    let asked = Command::new(qemu()).arg("--version").output();
    let asked = asked.with_context(|| qemu().display().to_string())?;
    let text = String::from_utf8_lossy(&asked.stdout);
    let version = text.split_once("version ").map(|(_, rest)| rest);
    let version = version.and_then(|rest| rest.split_whitespace().next());
    Ok(version.context("QEMU names no version")?.to_owned())
}

/// Whether QEMU has an igb, which came with QEMU 8.
pub fn has_igb() -> bool {
    let asked = Command::new(qemu())
        .args(["-device", "igb,help"])
        .stdin(Stdio::null())
        .output();
    // The status is the same either way.
    asked.is_ok_and(|answer| !answer.stdout.is_empty())
}

/// The kind of NIC of guests whose test is about no kind (`MILLRACE_NIC`, or virtio).
pub fn nic() -> Result<Nic> {
    match env::var("MILLRACE_NIC").as_deref() {
        Err(_) | Ok("virtio") => Ok(Nic::Virtio),
        Ok("e1000") => Ok(Nic::E1000),
        Ok("e1000e") => Ok(Nic::E1000e),
        Ok("igb") => Ok(Nic::Igb),
        Ok(other) => bail!("MILLRACE_NIC={other}: allowed are virtio, e1000, e1000e, igb"),
    }
}

/// The folder for a packet capture of every guest (`MILLRACE_PCAP_DIR`), to look into a failure.
pub fn captures() -> Option<PathBuf> {
    env::var_os("MILLRACE_PCAP_DIR").map(PathBuf::from)
}

/// How long the mixed-traffic soak runs (`MILLRACE_SOAK_SECONDS`, 10 s otherwise).
pub fn soak() -> Duration {
    let seconds = env::var("MILLRACE_SOAK_SECONDS")
        .ok()
        .and_then(|text| text.parse().ok());
    Duration::from_secs(seconds.unwrap_or(10))
}

/// The workspace's root, where `run-qemu.sh` lives.
pub fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn file(variable: &str) -> Result<PathBuf> {
    let path = env::var_os(variable)
        .map(PathBuf::from)
        .with_context(|| format!("{variable} is not set (./run-tests.sh builds and sets it)"))?;
    if !path.is_file() {
        bail!("{variable}={}: no such file", path.display());
    }
    Ok(path)
}
