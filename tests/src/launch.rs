//! The QEMU command line for one guest.
//!
//! `run-qemu.sh` builds the same command for people; the quickstart test goes through that
//! script, all others come here because they start dozens of guests.
#![forbid(unsafe_code)]

use std::ffi::OsString;
use std::process::{Command, Stdio};

use anyhow::{Result, bail};

use crate::env;
use crate::frames::{Mac, mac_text};

/// How the image is entered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Boot {
    /// `-kernel`: the ELF's PVH entry; the command line comes from `-append`.
    Pvh,
    /// The disk image, through SeaBIOS.
    Bios,
    /// The disk image, through OVMF.
    Uefi,
}

/// The machine model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Machine {
    /// PCI Express with ECAM.
    Q35,
    /// Conventional PCI.
    Pc,
    /// No PCI: virtio-mmio.
    Microvm,
}

/// The kind of NIC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Nic {
    /// virtio-net, on the bus that the machine has.
    Virtio,
    /// Intel 82540EM, on PCI.
    E1000,
    /// Intel 82574L, on PCI Express.
    E1000e,
    /// Intel 82576, on PCI Express; not every QEMU has it ([`env::has_igb`]).
    Igb,
}

/// What the guest's NIC is plugged into.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wire {
    /// A tap interface, by name.
    Tap(String),
    /// Each UDP datagram to `guest_port` on loopback is one frame, of any length; frames of the
    /// guest go to `our_port`.
    Datagrams {
        /// Port that QEMU listens on.
        guest_port: u16,
        /// Port that QEMU sends to.
        our_port: u16,
    },
    /// QEMU's user-mode stack, with no ports forwarded.
    User,
    /// There is no NIC.
    Nothing,
}

/// Everything that decides how a guest is started. Build one, then [`crate::guest::Guest::start`].
#[derive(Clone, Debug)]
pub struct Launch {
    boot: Boot,
    machine: Machine,
    mem_mib: u32,
    cmdline: String,
    nic: Option<Nic>,
    nic_options: String,
    queues: u16,
    self_test: bool,
    exit_device: bool,
    devices: Vec<String>,
    extra: Vec<OsString>,
}

/// Guest memory where a test does not say: ample for 1,000 connections.
const DEFAULT_MEM_MIB: u32 = 128;
/// The same with UEFI, whose firmware needs more.
const UEFI_MEM_MIB: u32 = 256;

impl Launch {
    /// A direct kernel boot with the command line `cmdline`.
    pub fn pvh(machine: Machine, cmdline: impl Into<String>) -> Launch {
        Launch {
            boot: Boot::Pvh,
            machine,
            mem_mib: DEFAULT_MEM_MIB,
            cmdline: cmdline.into(),
            nic: None,
            nic_options: String::new(),
            queues: 1,
            self_test: false,
            exit_device: true,
            devices: Vec::new(),
            extra: Vec::new(),
        }
    }

    /// A boot from the disk image, whose command line is inside.
    pub fn disk(boot: Boot, machine: Machine) -> Launch {
        let mem_mib = if boot == Boot::Uefi {
            UEFI_MEM_MIB
        } else {
            DEFAULT_MEM_MIB
        };
        Launch {
            boot,
            mem_mib,
            ..Launch::pvh(machine, "")
        }
    }

    /// Guest memory in MiB.
    pub fn mem(mut self, mib: u32) -> Launch {
        self.mem_mib = mib;
        self
    }

    /// The kind of NIC. Without it, that is what the environment says, on a machine that can have it.
    pub fn nic(mut self, nic: Nic) -> Launch {
        self.nic = Some(nic);
        self
    }

    /// Further properties of the NIC device, such as `rx_queue_size=1024`.
    pub fn nic_options(mut self, options: &str) -> Launch {
        self.nic_options = match options {
            "" => String::new(),
            options => format!(",{options}"),
        };
        self
    }

    /// Queue pairs of the NIC, on a tap made for that.
    pub fn queues(mut self, pairs: u16) -> Launch {
        self.queues = pairs;
        self
    }

    /// Boots the disk image whose command line asks for the self-test.
    pub fn self_test(mut self) -> Launch {
        self.self_test = true;
        self
    }

    /// Without QEMU's exit device, as on a PC: the guest halts where it would end QEMU.
    pub fn halting(mut self) -> Launch {
        self.exit_device = false;
        self
    }

    /// A device that QEMU makes before the NIC.
    pub fn device(mut self, device: &str) -> Launch {
        self.devices.push(device.to_owned());
        self
    }

    /// A further QEMU argument.
    pub fn arg(mut self, argument: impl Into<OsString>) -> Launch {
        self.extra.push(argument.into());
        self
    }

    /// The command, with serial output on its standard output.
    pub(crate) fn command(&self, wire: &Wire, mac: Mac) -> Result<Command> {
        let mut qemu = Command::new(env::qemu());
        qemu.stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        qemu.args(["-M", self.machine_argument()]);
        qemu.args(["-accel", "tcg,thread=multi", "-cpu", "max", "-smp", "1"]);
        qemu.args(["-m", &self.mem_mib.to_string()]);
        qemu.args(["-nodefaults", "-no-user-config", "-no-reboot"]);
        qemu.args(["-display", "none", "-serial", "stdio"]);
        if self.exit_device {
            qemu.args(["-device", "isa-debug-exit,iobase=0xf4,iosize=0x04"]);
        }
        self.add_boot(&mut qemu)?;
        for device in &self.devices {
            qemu.args(["-device", device]);
        }
        self.add_nic(&mut qemu, wire, mac)?;
        if self.machine == Machine::Microvm {
            qemu.args(["-global", "virtio-mmio.force-legacy=off"]);
        }
        qemu.args(&self.extra);
        Ok(qemu)
    }

    fn machine_argument(&self) -> &'static str {
        match self.machine {
            Machine::Q35 => "q35",
            Machine::Pc => "pc",
            // With ACPI off, QEMU names the virtio-mmio devices on the kernel's command line.
            Machine::Microvm => "microvm,acpi=off,pit=on,pic=on,rtc=on,isa-serial=on",
        }
    }

    fn add_boot(&self, qemu: &mut Command) -> Result<()> {
        let disk = match self.boot {
            Boot::Pvh => {
                qemu.arg("-kernel").arg(env::kernel()?);
                qemu.args(["-append", &self.cmdline]);
                return Ok(());
            }
            _ if self.machine == Machine::Microvm => bail!("microvm boots by PVH only"),
            Boot::Bios if self.self_test => env::self_test_bios_image()?,
            Boot::Bios => env::bios_image()?,
            Boot::Uefi => {
                qemu.arg("-bios").arg(env::ovmf()?);
                if self.self_test {
                    env::self_test_uefi_image()?
                } else {
                    env::uefi_image()?
                }
            }
        };
        // A graphics card, so that the framebuffer console runs as well.
        qemu.args(["-vga", "std"]);
        let mut drive = OsString::from("format=raw,snapshot=on,file=");
        drive.push(disk);
        qemu.arg("-drive").arg(drive);
        Ok(())
    }

    fn add_nic(&self, qemu: &mut Command, wire: &Wire, mac: Mac) -> Result<()> {
        let Some(mut netdev) = wire.argument() else {
            return Ok(());
        };
        if self.queues > 1 {
            netdev.push_str(&format!(",queues={}", self.queues));
        }
        qemu.args(["-netdev", &netdev]);
        qemu.args(["-device", &self.nic_argument(mac)?]);
        if let Some(folder) = env::captures() {
            let mut dump = OsString::from("filter-dump,id=dump,netdev=n0,file=");
            dump.push(folder.join(format!("{}.pcap", mac_text(mac).replace(':', ""))));
            qemu.arg("-object").arg(dump);
        }
        Ok(())
    }

    fn nic_argument(&self, mac: Mac) -> Result<String> {
        let has_pci = self.machine != Machine::Microvm;
        let nic = match self.nic {
            Some(nic) => nic,
            None if has_pci => env::nic()?,
            None => Nic::Virtio,
        };
        let (device, rom) = match (nic, has_pci) {
            (Nic::Virtio, false) => ("virtio-net-device", ""),
            (_, false) => bail!("microvm has no PCI bus"),
            // No network boot code: it only costs time.
            (Nic::Virtio, true) => ("virtio-net-pci", ",romfile="),
            (Nic::E1000, true) => ("e1000", ",romfile="),
            (Nic::E1000e, true) => ("e1000e", ",romfile="),
            (Nic::Igb, true) => ("igb", ",romfile="),
        };
        Ok(format!(
            "{device},netdev=n0,mac={}{rom}{}",
            mac_text(mac),
            self.nic_options
        ))
    }
}

impl Wire {
    fn argument(&self) -> Option<String> {
        match self {
            Wire::Tap(name) => {
                // A capture would contain the header that carries offloads.
                let vnet_hdr = if env::captures().is_some() {
                    "off"
                } else {
                    "on"
                };
                let scripts = "script=no,downscript=no";
                Some(format!(
                    "tap,id=n0,ifname={name},{scripts},vnet_hdr={vnet_hdr}"
                ))
            }
            Wire::Datagrams {
                guest_port,
                our_port,
            } => Some(format!(
                "socket,id=n0,udp=127.0.0.1:{our_port},localaddr=127.0.0.1:{guest_port}"
            )),
            Wire::User => Some("user,id=n0".to_owned()),
            Wire::Nothing => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn microvm_has_no_disk_boot() {
        let launch = Launch::disk(Boot::Bios, Machine::Microvm);
        assert!(launch.command(&Wire::User, [2, 0, 0, 0, 0, 1]).is_err());
    }

    #[test]
    fn a_wire_names_what_the_nic_is_plugged_into() {
        let wire = Wire::Datagrams {
            guest_port: 4001,
            our_port: 4002,
        };
        let netdev = "socket,id=n0,udp=127.0.0.1:4002,localaddr=127.0.0.1:4001";
        assert_eq!(wire.argument().as_deref(), Some(netdev));
        assert_eq!(Wire::Nothing.argument(), None);
        let nic = Launch::pvh(Machine::Q35, "").nic(Nic::E1000e);
        assert_eq!(
            nic.nic_argument([0x52, 0x54, 0, 7, 1, 2]).unwrap(),
            "e1000e,netdev=n0,mac=52:54:00:07:01:02,romfile="
        );
        let nic = Launch::pvh(Machine::Microvm, "").nic(Nic::E1000);
        assert!(nic.nic_argument([0x52, 0x54, 0, 7, 1, 2]).is_err());
        let nic = Launch::pvh(Machine::Microvm, "").nic_options("mrg_rxbuf=off");
        assert_eq!(
            nic.nic_argument([0x52, 0x54, 0, 7, 1, 2]).unwrap(),
            "virtio-net-device,netdev=n0,mac=52:54:00:07:01:02,mrg_rxbuf=off"
        );
    }
}
