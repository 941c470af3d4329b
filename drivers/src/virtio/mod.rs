//! Virtio: transports (how registers are reached), queues (how a ring works), `net` (what the
//! device is for). After Virtio 1.2; sections are cited where they matter.
#![deny(unsafe_code)]

pub mod net;
pub mod queue;
pub mod transport;

use bitflags::bitflags;

bitflags! {
    /// Device status (2.1).
    #[derive(Clone, Copy, PartialEq, Eq, Debug)]
    pub struct Status: u8 {
        /// The driver noticed the device.
        const ACKNOWLEDGE = 1;
        /// The driver knows how to drive it.
        const DRIVER = 2;
        /// The driver is ready.
        const DRIVER_OK = 4;
        /// Feature negotiation is complete.
        const FEATURES_OK = 8;
        /// The device cannot go on without a reset.
        const NEEDS_RESET = 64;
        /// The driver gave up.
        const FAILED = 128;
    }
}

bitflags! {
    /// Feature bits: those of the network device (5.1.3) and the reserved ones (6).
    #[derive(Clone, Copy, PartialEq, Eq, Debug)]
    pub struct Features: u64 {
        /// The device completes transmit checksums.
        const CSUM = 1 << 0;
        /// The driver accepts partial receive checksums.
        const GUEST_CSUM = 1 << 1;
        /// The device says its MTU.
        const MTU = 1 << 3;
        /// The device has a hardware address.
        const MAC = 1 << 5;
        /// The driver accepts TCP/IPv4 frames that were merged, or never cut.
        const GUEST_TSO4 = 1 << 7;
        /// The same for TCP over IPv6.
        const GUEST_TSO6 = 1 << 8;
        /// Such frames may carry congestion marks.
        const GUEST_ECN = 1 << 9;
        /// The device cuts TCP/IPv4 frames into segments.
        const HOST_TSO4 = 1 << 11;
        /// The same for TCP over IPv6.
        const HOST_TSO6 = 1 << 12;
        /// A received frame may fill several buffers.
        const MRG_RXBUF = 1 << 15;
        /// The device reports the link.
        const STATUS = 1 << 16;
        /// There is a control queue (5.1.6.5).
        const CTRL_VQ = 1 << 17;
        /// Which frames are received can be set.
        const CTRL_RX = 1 << 18;
        /// Virtual LANs can be filtered.
        const CTRL_VLAN = 1 << 19;
        /// More kinds of frames can be kept out.
        const CTRL_RX_EXTRA = 1 << 20;
        /// The device asks for announcements, after a migration for example.
        const GUEST_ANNOUNCE = 1 << 21;
        /// The device has several queue pairs and steers frames by itself.
        const MQ = 1 << 22;
        /// The hardware address can be set.
        const CTRL_MAC_ADDR = 1 << 23;
        /// The header may lie anywhere; from before virtio 1.0, which implies it (6.3).
        const ANY_LAYOUT = 1 << 27;
        /// A chain may lie in a table of descriptors, to which one entry of a ring points (2.7.5.3, 2.8.7).
        const INDIRECT_DESC = 1 << 28;
        /// Event indices instead of flags (2.7.10).
        const EVENT_IDX = 1 << 29;
        /// Virtio 1.0 and later.
        const VERSION_1 = 1 << 32;
        /// The device is behind an address translation; bus addresses are to be used (6.1).
        const ACCESS_PLATFORM = 1 << 33;
        /// Packed rings (2.8).
        const RING_PACKED = 1 << 34;
        /// The device uses buffers in the order in which it is given them (6).
        const IN_ORDER = 1 << 35;
        /// Memory is ordered as the platform's own devices need it (6).
        const ORDER_PLATFORM = 1 << 36;
        /// A doorbell says how far its queue was filled (6).
        const NOTIFICATION_DATA = 1 << 38;
        /// Interrupts can be moderated.
        const NOTF_COAL = 1 << 53;
        /// The device has several queue pairs and steers frames by a hash.
        const RSS = 1 << 60;
        /// The device reports the speed of its link.
        const SPEED_DUPLEX = 1 << 63;
    }
}

/// PCI vendor of virtio devices (4.1.2).
pub const PCI_VENDOR: u16 = 0x1af4;
/// Device type of a network card (5.1.1).
pub const TYPE_NET: u32 = 1;
