//! The command line: one text, whichever way the image was booted, parsed once at boot.
//!
//! `main` calls [`Config::parse`] before it starts any device. The invariant: a
//! [`Config`] is complete and consistent, so nothing further down checks it again; whatever is
//! unknown, malformed or contradictory is a [`ConfigError`], whose `Display` is the one line that
//! a person sees before the machine stops.
#![forbid(unsafe_code)]

mod error;
mod keys;
mod value;

use alloc::vec::Vec;
use core::fmt;

use drivers::net::{MacAddr, VlanId};
use drivers::virtio::Features;
use log::LevelFilter;
use smoltcp::wire::{Ipv4Address, Ipv4Cidr, Ipv6Address, Ipv6Cidr};

pub use error::ConfigError;
pub use keys::help;

use crate::services::ServiceSet;

/// How the interface gets its IPv4 address (`ip=`, `gw=`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ipv4Config {
    /// Ask a DHCP server (RFC 2131).
    Dhcp,
    /// A fixed address; the gateway is optional.
    Static {
        /// The address and its network's prefix length.
        address: Ipv4Cidr,
        /// The default route.
        gateway: Option<Ipv4Address>,
    },
    /// No IPv4.
    Off,
}

/// How the interface gets its IPv6 addresses (`ip6=`, `gw6=`). A link-local address is made
/// from the MAC address in every case but `Off`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ipv6Config {
    /// From router advertisements (SLAAC, RFC 4862).
    Auto,
    /// A fixed address besides the link-local one; the gateway is optional.
    Static {
        /// The address and its network's prefix length.
        address: Ipv6Cidr,
        /// The default route.
        gateway: Option<Ipv6Address>,
    },
    /// No IPv6.
    Off,
}

/// Sizes of the packet pool and of the NIC's rings, which draw on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PoolSizes {
    /// Packets (and buffers) in the pool; `None` lets the kernel choose by memory and rings.
    pub packets: Option<usize>,
    /// Bytes of one buffer, device header and frame together; `None` lets the kernel choose by the NIC.
    pub buffer: Option<usize>,
    /// Descriptors of the receive ring; `None` lets the kernel choose by memory.
    pub rx_ring: Option<usize>,
    /// Descriptors of the transmit ring; `None` lets the kernel choose by memory.
    pub tx_ring: Option<usize>,
}

/// Bounds on what TCP clients can make the image hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TcpLimits {
    /// Connections in total, all services together.
    pub max: usize,
    /// Handshakes under way for one service; the oldest gives way to a new one.
    pub backlog: usize,
}

/// A virtio-mmio device named by the command line, as QEMU's microvm does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MmioDevice {
    /// Bytes of the register window.
    pub len: usize,
    /// Physical address of the register window.
    pub base: u64,
    /// Interrupt line (I/O APIC input).
    pub irq: u32,
}

/// Which NIC is used (`nic=`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum NicChoice {
    /// The first that is found.
    #[default]
    First,
    /// The first virtio-net.
    Virtio,
    /// The first of Intel's 8254x family.
    E1000,
    /// The first Intel 82574L.
    E1000e,
    /// The first of Intel's igb family.
    Igb,
    /// The one with this number among those on PCI that are driven, as the log counts them.
    Number(u8),
    /// The one at this place on PCI.
    At {
        /// Bus.
        bus: u8,
        /// Device: 0 to 31.
        device: u8,
        /// Function: 0 to 7.
        function: u8,
    },
}

impl fmt::Display for NicChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::First => f.write_str("first"),
            Self::Virtio => f.write_str("virtio"),
            Self::E1000 => f.write_str("e1000"),
            Self::E1000e => f.write_str("e1000e"),
            Self::Igb => f.write_str("igb"),
            Self::Number(number) => number.fmt(f),
            Self::At {
                bus,
                device,
                function,
            } => write!(f, "{bus:02x}:{device:02x}.{function}"),
        }
    }
}

/// What the machine does when it can serve no longer (`onfail=`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnFailure {
    /// Stands still with the message on the screen.
    Halt,
    /// Switches itself off.
    Off,
    /// Starts again.
    Reboot,
}

/// Everything that the command line decides.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// IPv4 addressing.
    pub ipv4: Ipv4Config,
    /// IPv6 addressing.
    pub ipv6: Ipv6Config,
    /// Resolvers given by hand; those of DHCP are added to them.
    pub dns: Vec<Ipv4Address>,
    /// What is served.
    pub services: ServiceSet,
    /// How much is logged.
    pub log: LevelFilter,
    /// Pool and ring sizes.
    pub pool: PoolSizes,
    /// TCP bounds.
    pub tcp: TcpLimits,
    /// What happens after a panic or without a NIC.
    pub on_failure: OnFailure,
    /// The NIC's hardware address, if not its own.
    pub mac: Option<MacAddr>,
    /// Queue pairs of the NIC to use at most.
    pub queues: usize,
    /// Microseconds that a NIC may gather events for before it interrupts, if not its own choice.
    pub coalesce: Option<u32>,
    /// Bytes of the longest IP packet that the NIC carries whole; `None`: the usual 1,500, or what
    /// the NIC itself says.
    pub mtu: Option<usize>,
    /// The virtual LAN that the station is in.
    pub vlan: Option<VlanId>,
    /// Microseconds that an idle core may go on looking for work before it sleeps.
    pub idle_poll: u16,
    /// Which NIC is used.
    pub nic: NicChoice,
    /// The machine is checked, and nothing is served.
    pub self_test: bool,
    /// virtio-mmio devices to probe.
    pub mmio: Vec<MmioDevice>,
    /// Features of a virtio NIC that are not to be used.
    pub virtio_without: Features,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            ipv4: Ipv4Config::Dhcp,
            ipv6: Ipv6Config::Auto,
            dns: Vec::new(),
            services: ServiceSet::default(),
            log: LevelFilter::Info,
            pool: PoolSizes {
                packets: None,
                buffer: None,
                rx_ring: None,
                tx_ring: None,
            },
            tcp: TcpLimits {
                max: 16_384,
                backlog: 1024,
            },
            on_failure: OnFailure::Halt,
            mac: None,
            queues: 1,
            coalesce: None,
            mtu: None,
            vlan: None,
            idle_poll: 200,
            nic: NicChoice::default(),
            self_test: false,
            mmio: Vec::new(),
            virtio_without: Features::empty(),
        }
    }
}

/// Packets that the stack itself keeps besides those in rings: one burst in hand, and replies.
pub const PACKETS_BESIDES_RINGS: usize = 64;

impl Config {
    /// Parses the command line: words `key=value` separated by white space.
    ///
    /// # Errors
    /// The first thing wrong: an unknown or repeated key, a bad value, or two settings that
    /// contradict each other.
    pub fn parse(line: &[u8]) -> Result<Self, ConfigError> {
        let line = core::str::from_utf8(line).map_err(|error| ConfigError::NotText {
            byte: line.get(error.valid_up_to()).copied().unwrap_or(0),
            at: error.valid_up_to(),
        })?;
        let mut draft = keys::Draft::default();
        for word in line.split_ascii_whitespace() {
            draft.word(word)?;
        }
        draft.finish()
    }
}

#[cfg(test)]
mod tests;
