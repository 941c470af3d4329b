//! PCI: finding functions, their BARs, capabilities and interrupt vectors.
//!
//! The kernel gives a [`ConfigAccess`]; [`scan()`] walks the buses and yields [`PciFunction`]s;
//! a driver then reads its BARs ([`bar`]) and capabilities ([`capability`]) and enables MSI-X
//! ([`msix`]). Everything read from a function is a claim: offsets and sizes are checked before
//! they are used, lists are walked with a bound, and nothing here panics on what it finds.
//!
//! Addresses, class codes and the command register are `pci_types`'. Its BAR sizing and its
//! capability iterator are not used: the first panics on a reserved BAR type and leaves decoding on
//! while the BAR holds all ones, the second follows a list that loops.
#![forbid(unsafe_code)]

pub mod bar;
pub mod capability;
pub mod config;
#[cfg(any(test, feature = "test-utils"))]
pub mod fake;
pub mod msix;
pub mod scan;

use core::fmt;

pub use pci_types::{CommandRegister, PciAddress};

pub use bar::{Bar, Bars};
pub use capability::{Capability, capabilities, find_capability};
pub use config::{ConfigAccess, Ecam};
pub use msix::MsiX;
pub use scan::{PciFunction, bridge_to, scan};

/// What is wrong with a function's configuration space.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PciError {
    /// A capability pointer leads outside the space for capabilities.
    CapabilityOutOfRange {
        /// Where it leads.
        offset: u8,
    },
    /// The list of capabilities comes back to itself.
    CapabilityLoop {
        /// The capability that is met a second time.
        offset: u8,
    },
    /// A capability is shorter than its kind has to be.
    CapabilityTooShort {
        /// Where it is.
        offset: u8,
        /// Its length.
        len: u8,
    },
    /// There is no such BAR, or it is not in memory space.
    NoMemoryBar {
        /// The BAR.
        index: u8,
    },
    /// There is no such BAR, or it is not in port space.
    NoPortBar {
        /// The BAR.
        index: u8,
    },
    /// Nobody gave the BAR an address.
    BarUnassigned {
        /// The BAR.
        index: u8,
    },
    /// A BAR whose size is no power of two, or which runs past the end of its address space.
    BarMalformed {
        /// The BAR.
        index: u8,
    },
    /// A structure does not lie inside its BAR.
    OutsideBar {
        /// The BAR.
        index: u8,
        /// Offset of the structure.
        offset: u64,
        /// Its length.
        len: u64,
        /// Size of the BAR.
        size: u64,
    },
}

impl fmt::Display for PciError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::CapabilityOutOfRange { offset } => {
                write!(f, "capability pointer {offset:#x} is out of range")
            }
            Self::CapabilityLoop { offset } => {
                write!(f, "capability list loops at {offset:#x}")
            }
            Self::CapabilityTooShort { offset, len } => {
                write!(f, "capability at {offset:#x} has only {len} bytes")
            }
            Self::NoMemoryBar { index } => write!(f, "no memory BAR {index}"),
            Self::NoPortBar { index } => write!(f, "no port BAR {index}"),
            Self::BarUnassigned { index } => write!(f, "BAR {index} has no address"),
            Self::BarMalformed { index } => write!(f, "BAR {index} is malformed"),
            Self::OutsideBar {
                index,
                offset,
                len,
                size,
            } => write!(
                f,
                "{len:#x} bytes at {offset:#x} are outside BAR {index} of {size:#x} bytes"
            ),
        }
    }
}

impl core::error::Error for PciError {}
