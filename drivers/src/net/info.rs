//! What a device is and what it can do, fixed once it is initialised, and the state of its link.
//!
//! Drivers fill this in at start; the stack and whoever describes the device to a person read it.
#![forbid(unsafe_code)]

use alloc::string::String;

use super::MacAddr;

/// How the device asks for attention.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum InterruptMode {
    /// Message-signalled, with this many vectors. Nothing has to be acknowledged.
    MsiX(u16),
    /// One level-triggered line: [`on_interrupt`](super::NetDevice::on_interrupt) has to run for it to fall again.
    Line,
}

/// What a device is, fixed once it is initialised.
#[derive(Clone, Debug)]
pub struct DeviceInfo {
    /// The kind of device, such as `virtio-net`.
    pub model: &'static str,
    /// Where it sits, such as `pci 0000:00:02.0` or `mmio 0xfeb00e00`.
    pub location: String,
    /// Its hardware address.
    pub mac: MacAddr,
    /// Largest layer-3 packet in bytes, without the Ethernet header.
    pub mtu: usize,
    /// Queue pairs in use.
    pub queue_pairs: u16,
    /// Descriptors in each receive ring.
    pub rx_ring: u16,
    /// Descriptors in each transmit ring.
    pub tx_ring: u16,
    /// How it interrupts.
    pub interrupts: InterruptMode,
    /// What was negotiated, for a person to read.
    pub features: String,
}

/// The protocols whose layer-4 checksum the device computes (transmit) or has checked (receive).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct ChecksumSupport {
    /// TCP over IPv4.
    pub tcp_v4: bool,
    /// UDP over IPv4.
    pub udp_v4: bool,
    /// TCP over IPv6.
    pub tcp_v6: bool,
    /// UDP over IPv6.
    pub udp_v6: bool,
}

impl ChecksumSupport {
    /// Nothing is offloaded.
    pub const NONE: Self = Self {
        tcp_v4: false,
        udp_v4: false,
        tcp_v6: false,
        udp_v6: false,
    };
    /// Any one's-complement sum, given its start and its offset.
    pub const ALL: Self = Self {
        tcp_v4: true,
        udp_v4: true,
        tcp_v6: true,
        udp_v6: true,
    };
}

/// What the stack may ask of the device.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Capabilities {
    /// Receive: packets may arrive verified, or with a partial checksum, as their
    /// `Offload::rx_checksum` says packet by packet.
    pub rx_checksum: ChecksumSupport,
    /// Transmit: `Offload::tx_checksum` is honoured. The checksum field has to hold the sum over
    /// the pseudo-header.
    pub tx_checksum: ChecksumSupport,
    /// Largest TCP/IPv4 frame in bytes that the device cuts into segments, if it does.
    pub tso_v4: Option<usize>,
    /// The same for TCP over IPv6.
    pub tso_v6: Option<usize>,
    /// Most packets one burst can carry: the size of the smaller ring.
    pub max_burst: usize,
}

/// The state of the link.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LinkState {
    /// Frames can pass, at this speed in Mbit/s where the device knows it.
    Up {
        /// Speed in Mbit/s.
        mbps: Option<u32>,
    },
    /// No carrier.
    Down,
}
