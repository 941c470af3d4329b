//! Who is compared, on which NIC, and the QEMU command for each: one builder for all, so that a
//! difference is a difference of the guests.
#![forbid(unsafe_code)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result};
use tests::frames::mac_text;
use tests::tap::Tap;

use crate::script::script;

/// What boots.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Contender {
    /// This project's image.
    Millrace,
    /// Driver and pools of the image without its stack: the image that turns datagrams round. What it
    /// reaches is what NIC and driver allow.
    Ceiling,
    /// Debian's kernel as it comes.
    Linux,
    /// The same without mitigations, on a CPU without fast string moves: TCG runs `rep movsb` byte
    /// by byte, so Linux copies faster if it does not believe in them.
    LinuxBest,
}

impl Contender {
    /// In the order of their turns.
    pub(super) const ALL: [Self; 4] = [Self::Linux, Self::LinuxBest, Self::Millrace, Self::Ceiling];
    /// Those that serve everything.
    pub(super) const WHOLE: [Self; 3] = [Self::Linux, Self::LinuxBest, Self::Millrace];

    /// For people.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Millrace => "Millrace",
            Self::Linux => "Linux",
            Self::LinuxBest => "Linux, best",
            Self::Ceiling => "ceiling",
        }
    }

    fn cpu(self) -> &'static str {
        match self {
            Self::Millrace | Self::Linux | Self::Ceiling => "max",
            Self::LinuxBest => "max,erms=off,fsrm=off",
        }
    }
}

/// The NIC that QEMU shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Nic {
    /// virtio-net with all that it offers.
    Virtio,
    /// virtio-net that neither sums nor cuts nor merges.
    VirtioPlain,
    /// Intel 82574.
    E1000e,
    /// Intel 82540EM: measured only where it is named.
    E1000,
    /// Intel 82576, which Debian 12's QEMU does not have: measured only where it is named.
    Igb,
}

impl Nic {
    /// Those that every run measures, in the order of the report.
    pub(super) const ALL: [Self; 3] = [Self::Virtio, Self::VirtioPlain, Self::E1000e];

    /// The word on the command line.
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Virtio => "virtio",
            Self::VirtioPlain => "virtio-plain",
            Self::E1000e => "e1000e",
            Self::E1000 => "e1000",
            Self::Igb => "igb",
        }
    }

    /// For people.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Virtio => "virtio, all offloads",
            Self::VirtioPlain => "virtio, no offloads",
            Self::E1000e => "e1000e",
            Self::E1000 => "e1000",
            Self::Igb => "igb",
        }
    }

    /// The NIC of that word.
    pub(super) fn named(word: &str) -> Option<Self> {
        let mut known = Self::ALL.into_iter().chain([Self::E1000, Self::Igb]);
        known.find(|nic| nic.word() == word)
    }

    fn device(self) -> &'static str {
        match self {
            Self::Virtio => "virtio-net-pci",
            Self::VirtioPlain => {
                "virtio-net-pci,csum=off,guest_csum=off,gso=off,\
                 host_tso4=off,host_tso6=off,host_ecn=off,host_ufo=off,\
                 guest_tso4=off,guest_tso6=off,guest_ecn=off,guest_ufo=off"
            }
            Self::E1000e => "e1000e",
            Self::E1000 => "e1000",
            Self::Igb => "igb",
        }
    }

    /// Whether Debian's cloud kernel has no driver for it, and its generic kernel has to do.
    fn is_generic(self) -> bool {
        matches!(self, Self::E1000e | Self::E1000 | Self::Igb)
    }
}

/// The files that are booted.
pub(super) struct Files {
    image: PathBuf,
    /// The image that turns datagrams round, if it is wanted.
    reflector: Option<PathBuf>,
    /// Folder of Debian's cloud kernel; it has no drivers for Intel's cards.
    cloud: Option<PathBuf>,
    /// Folder of Debian's generic kernel.
    generic: Option<PathBuf>,
}

impl Files {
    /// Builds the image (unless `MILLRACE_KERNEL` names one), the Linux guests for `nics`, and what
    /// the `ceiling` is measured with.
    pub(super) fn build(nics: &[Nic], ceiling: bool) -> Result<Self> {
        let image = match std::env::var_os("MILLRACE_KERNEL") {
            Some(_) => tests::env::kernel()?,
            None => script("build-kernel.sh", &[])?,
        };
        let reflector = ceiling.then(|| script("build-kernel.sh", &["--reflector"]));
        let cloud = nics.iter().any(|nic| !nic.is_generic());
        let cloud = cloud.then(|| script("build-linux-guest.sh", &[]));
        let generic = nics.iter().any(|nic| nic.is_generic());
        let generic = generic.then(|| script("build-linux-guest.sh", &["--generic"]));
        Ok(Self {
            image,
            reflector: reflector.transpose()?,
            cloud: cloud.transpose()?,
            generic: generic.transpose()?,
        })
    }

    fn reflector(&self) -> Result<&Path> {
        let image = self.reflector.as_deref();
        image.context("no image without a stack was built")
    }

    fn linux(&self, nic: Nic) -> Result<&Path> {
        let folder = match nic {
            Nic::E1000e | Nic::E1000 | Nic::Igb => &self.generic,
            Nic::Virtio | Nic::VirtioPlain => &self.cloud,
        };
        folder.as_deref().context("no Linux guest was built")
    }

    /// Bytes of what boots.
    pub(super) fn size(&self, contender: Contender, nic: Nic) -> Result<u64> {
        let size = |path: PathBuf| -> Result<u64> {
            let file = fs::metadata(&path);
            Ok(file.with_context(|| path.display().to_string())?.len())
        };
        match contender {
            Contender::Millrace => size(self.image.clone()),
            Contender::Ceiling => size(self.reflector()?.to_owned()),
            Contender::Linux | Contender::LinuxBest => {
                let folder = self.linux(nic)?;
                Ok(size(folder.join("vmlinuz"))? + size(folder.join("initramfs"))?)
            }
        }
    }

    /// The command that starts `contender` with `mib` of memory on `tap`, an image of ours with further
    /// `words` on its command line. QEMU leaves its process id
    /// in `run/pid` and listens for its monitor at `run/qmp`.
    pub(super) fn command(
        &self,
        contender: Contender,
        nic: Nic,
        mib: u32,
        tap: &Tap,
        words: &str,
        run: &Path,
    ) -> Result<Command> {
        let mut qemu = Command::new(tests::env::qemu());
        qemu.stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        qemu.args(["-M", "q35", "-accel", "tcg,thread=multi", "-smp", "1"]);
        qemu.args(["-cpu", contender.cpu(), "-m", &mib.to_string()]);
        qemu.args(["-nodefaults", "-no-user-config", "-no-reboot"]);
        qemu.args(["-display", "none", "-serial", "stdio"]);
        qemu.args(["-device", "isa-debug-exit,iobase=0xf4,iosize=0x04"]);
        let wire = format!(
            "tap,id=n0,ifname={},script=no,downscript=no,vnet_hdr=on",
            tap.name()
        );
        let mac = mac_text(tap.guest_mac());
        qemu.args(["-netdev", &wire, "-device"]);
        qemu.arg(format!("{},netdev=n0,mac={mac},romfile=", nic.device()));
        qemu.arg("-pidfile").arg(run.join("pid"));
        let monitor = run.join("qmp").display().to_string();
        qemu.args(["-qmp", &format!("unix:{monitor},server=on,wait=off")]);
        let (kernel, words) = match contender {
            Contender::Millrace | Contender::Ceiling => {
                let image = match contender {
                    Contender::Ceiling => self.reflector()?,
                    _ => &self.image,
                };
                let words = format!("{} services=all {words}", tap.static_config());
                (image.to_owned(), words)
            }
            Contender::Linux | Contender::LinuxBest => {
                let folder = self.linux(nic)?;
                qemu.arg("-initrd").arg(folder.join("initramfs"));
                // A panic ends QEMU, for there is no reboot.
                let mut words = format!(
                    "console=ttyS0 quiet panic=-1 guest_ip={}/24 guest_gw={}",
                    tap.guest(),
                    tap.host()
                );
                if contender == Contender::LinuxBest {
                    words.push_str(" mitigations=off");
                }
                (folder.join("vmlinuz"), words)
            }
        };
        qemu.arg("-kernel").arg(kernel).args(["-append", &words]);
        Ok(qemu)
    }
}
