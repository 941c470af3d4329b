//! Walking the buses.
//!
//! Starts at bus 0 and follows the bus numbers that firmware gave to bridges, each bus once, so a
//! bridge that points back at a bus already seen ends there.
#![forbid(unsafe_code)]

use alloc::vec::Vec;
use core::fmt;

use pci_types::{CommandRegister, PciAddress};

use super::config::ConfigAccess;

const ID: u16 = 0x00;
const COMMAND: u16 = 0x04;
const CLASS: u16 = 0x08;
const HEADER: u16 = 0x0c;
const BUSES: u16 = 0x18;
const SUBSYSTEM: u16 = 0x2c;
const INTERRUPT: u16 = 0x3c;

const MULTI_FUNCTION: u8 = 0x80;
const TYPE_BRIDGE: u8 = 1;

/// One function of a PCI device, with the fixed fields of its header.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PciFunction {
    /// Where it is.
    pub address: PciAddress,
    /// Vendor ID.
    pub vendor: u16,
    /// Device ID.
    pub device: u16,
    /// Revision ID.
    pub revision: u8,
    /// Base class, such as 2 for network.
    pub class: u8,
    /// Sub-class.
    pub subclass: u8,
    /// Header type without the multi-function bit: 0 endpoint, 1 bridge.
    pub header: u8,
    /// Subsystem vendor ID (endpoints; 0 elsewhere).
    pub subsystem_vendor: u16,
    /// Subsystem ID (endpoints; 0 elsewhere).
    pub subsystem: u16,
    /// Line that the firmware routed its interrupt pin to, as the legacy PIC counts; 255: none.
    pub interrupt_line: u8,
    /// Interrupt pin: 1 to 4 for INTA to INTD, 0: uses none.
    pub interrupt_pin: u8,
}

impl PciFunction {
    /// Reads the header of the function at `address`; `None` if nobody answers there.
    pub fn read(access: &dyn ConfigAccess, address: PciAddress) -> Option<Self> {
        let id = access.read32(address, ID);
        if id as u16 == u16::MAX {
            return None;
        }
        let class = access.read32(address, CLASS);
        let header = access.read8(address, HEADER + 2) & !MULTI_FUNCTION;
        let subsystem = if header == 0 {
            access.read32(address, SUBSYSTEM)
        } else {
            0
        };
        let interrupt = access.read32(address, INTERRUPT);
        Some(Self {
            address,
            vendor: id as u16,
            device: (id >> 16) as u16,
            revision: class as u8,
            class: (class >> 24) as u8,
            subclass: (class >> 16) as u8,
            header,
            subsystem_vendor: subsystem as u16,
            subsystem: (subsystem >> 16) as u16,
            interrupt_line: interrupt as u8,
            interrupt_pin: (interrupt >> 8) as u8,
        })
    }

    /// The command register.
    pub fn command(&self, access: &dyn ConfigAccess) -> CommandRegister {
        CommandRegister::from_bits_retain(access.read16(self.address, COMMAND))
    }

    /// Writes the command register. The status half is written as zero, which clears nothing: its
    /// bits are cleared by ones.
    pub fn set_command(&self, access: &dyn ConfigAccess, command: CommandRegister) {
        access.write32(self.address, COMMAND, command.bits().into());
    }

    /// Lets the function decode its memory BARs: its registers can be reached.
    pub fn enable_memory(&self, access: &dyn ConfigAccess) {
        self.set_command(
            access,
            self.command(access) | CommandRegister::MEMORY_ENABLE,
        );
    }

    /// Lets the function decode its port BARs.
    pub fn enable_ports(&self, access: &dyn ConfigAccess) {
        self.set_command(access, self.command(access) | CommandRegister::IO_ENABLE);
    }

    /// Lets the function reach memory and raise its interrupt pin. To be called once it is quiet:
    /// what firmware had it do may go on otherwise, in memory that is no longer firmware's.
    pub fn enable_dma(&self, access: &dyn ConfigAccess) {
        let command = self.command(access) | CommandRegister::BUS_MASTER_ENABLE;
        self.set_command(access, command - CommandRegister::INTERRUPT_DISABLE);
    }
}

impl fmt::Display for PciFunction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            address,
            vendor,
            device,
            class,
            subclass,
            ..
        } = self;
        write!(
            f,
            "{address} {vendor:04x}:{device:04x} class {class:02x}{subclass:02x}"
        )
    }
}

/// Calls `visit` for each function that answers, bridges included, in the order of discovery.
pub fn scan(access: &dyn ConfigAccess, mut visit: impl FnMut(&PciFunction)) {
    let mut seen = [false; 256];
    let mut todo: Vec<u8> = Vec::from([0]);
    while let Some(bus) = todo.pop() {
        if core::mem::replace(&mut seen[usize::from(bus)], true) {
            continue;
        }
        for device in 0..32 {
            for function in functions(access, bus, device) {
                visit(&function);
                if function.header == TYPE_BRIDGE {
                    // Bus 0 means that nobody numbered the bus behind this bridge; it is seen.
                    todo.push(access.read8(function.address, BUSES + 1));
                }
            }
        }
    }
}

/// The bridge that leads to `bus`; `None` for bus 0 and where there is none.
pub fn bridge_to(access: &dyn ConfigAccess, bus: u8) -> Option<PciFunction> {
    let mut found = None;
    if bus != 0 {
        scan(access, |function| {
            let leads_there = || access.read8(function.address, BUSES + 1) == bus;
            if function.header == TYPE_BRIDGE && found.is_none() && leads_there() {
                found = Some(*function);
            }
        });
    }
    found
}

fn functions(
    access: &dyn ConfigAccess,
    bus: u8,
    device: u8,
) -> impl Iterator<Item = PciFunction> + '_ {
    let address = move |function| PciAddress::new(0, bus, device, function);
    let first = PciFunction::read(access, address(0));
    let multi = first.is_some() && access.read8(address(0), HEADER + 2) & MULTI_FUNCTION != 0;
    let last = if multi { 8 } else { 1 };
    let others = (1..last).filter_map(move |n| PciFunction::read(access, address(n)));
    first.into_iter().chain(others)
}
