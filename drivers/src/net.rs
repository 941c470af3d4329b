//! The contract between a network driver and the stack above it.
//!
//! A [`NetDevice`] moves *bursts* of packets. It owns every packet the device may touch: a packet
//! is in a ring, in a [`PacketQueue`], or with the caller, never in two of these. The core that
//! serves a queue pair calls the verbs in this order, once per turn:
//!
//! ```text
//!   refill → rx_burst → (stack runs) → tx_burst → reclaim → flush → arm, only before sleeping
//! ```
//!
//! No verb blocks, allocates from the heap or panics on anything the device says. A device that
//! breaks its contract turns [`NetDevice::health`] to [`Health::Broken`]; from then on the verbs
//! do nothing, until [`NetDevice::reset`] has taken every packet back and started it again.
#![forbid(unsafe_code)]

mod control;
pub(crate) mod wishes;

use alloc::string::String;
use core::fmt;

use pbufpool::PacketQueue;

pub use control::{ControlError, Moderation, RxFilter, VlanId};

use crate::error::{DeviceFault, DriverError};

/// An Ethernet hardware address.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct MacAddr(pub [u8; 6]);

impl MacAddr {
    /// Whether this can be the address of a station: neither all zero nor a group address.
    pub const fn is_station(self) -> bool {
        self.0[0] & 1 == 0 && !matches!(self.0, [0, 0, 0, 0, 0, 0])
    }
}

impl fmt::Display for MacAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

/// A queue pair of a device: one receive and one transmit ring, served by one core.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct QueueId(pub u16);

/// How the device asks for attention.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum InterruptMode {
    /// Message-signalled, with this many vectors. Nothing has to be acknowledged.
    MsiX(u16),
    /// One level-triggered line: [`NetDevice::on_interrupt`] has to run for it to fall again.
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

/// Packets that a queue pair's rings hold: lent to the device, or done and not reclaimed yet.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct LentCounts {
    /// In the receive ring.
    pub rx: usize,
    /// In the transmit ring.
    pub tx: usize,
    /// Requests to the device itself that it never answered; counted with the first pair.
    pub control: usize,
}

/// The answer to [`NetDevice::arm`].
#[must_use]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Armed {
    /// Nothing is waiting and the next event interrupts: the core may sleep.
    Sleep,
    /// Something came in the meantime, or the device is broken and may be reset: turn once more.
    Work,
}

/// Whether the device still keeps its side of the contract.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Health {
    /// It does.
    Ok,
    /// It does not, or asked to be reset; [`NetDevice::reset`] is the way back, now.
    Broken(DeviceFault),
    /// It does not, and was reset a short while ago: it becomes `Broken` when it is time to try
    /// again. Nothing wakes the core for that, so it has to look from time to time.
    Waiting(DeviceFault),
}

impl Health {
    /// What [`NetDevice::arm`] answers for a device that is not well: a reset is due at once, but
    /// while it has to wait, nothing is work.
    pub(crate) fn armed(self) -> Option<Armed> {
        match self {
            Self::Ok => None,
            Self::Broken(_) => Some(Armed::Work),
            Self::Waiting(_) => Some(Armed::Sleep),
        }
    }
}

macro_rules! drop_reasons {
    ($($(#[$doc:meta])* $variant:ident = $name:literal,)*) => {
        /// Why a driver threw a frame away.
        #[derive(Clone, Copy, PartialEq, Eq, Debug)]
        #[repr(usize)]
        pub enum DropReason { $($(#[$doc])* $variant,)* }

        impl DropReason {
            /// Every reason, in the order of the counters.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// The name used in statistics.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }
        }
    };
}

drop_reasons! {
    /// Received: shorter than an Ethernet header.
    RxRunt = "rx_runt",
    /// Received: longer than the buffer that was posted, by the device's own account.
    RxTooLong = "rx_too_long",
    /// Received: the device's header makes no sense.
    RxBadHeader = "rx_bad_header",
    /// Received: a segmentation type that was not negotiated.
    RxBadGso = "rx_bad_gso",
    /// Received: a checksum position outside the frame, or a partial sum nobody asked for.
    RxBadChecksum = "rx_bad_checksum",
    /// Received: a merged frame whose parts do not fit together.
    RxBadMerge = "rx_bad_merge",
    /// Received: the device flagged the frame as damaged.
    RxError = "rx_error",
    /// Received: not in the virtual LAN that was joined.
    RxVlan = "rx_vlan",
    /// Received, or taken back empty, when the device was reset.
    RxReset = "rx_reset",
    /// To send: no room in front of the frame for the device's header.
    TxNoHeadroom = "tx_no_headroom",
    /// To send: shorter than an Ethernet header or longer than the device takes.
    TxBadLength = "tx_bad_length",
    /// To send: more buflets than the ring has descriptors, which is the longest chain that there may be.
    TxTooManyBuflets = "tx_too_many_buflets",
    /// To send: asks for an offload that the device does not have, or at an impossible place.
    TxBadOffload = "tx_bad_offload",
    /// Sent or not, nobody knows: the device was reset while it held the frame.
    TxReset = "tx_reset",
}

/// Counters of dropped frames, by reason.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct DropCounts([u64; DropReason::ALL.len()]);

impl DropCounts {
    /// Counts one frame.
    pub fn count(&mut self, reason: DropReason) {
        self.add(reason, 1);
    }

    /// Counts `frames` frames.
    pub fn add(&mut self, reason: DropReason, frames: u64) {
        self.0[reason as usize] += frames;
    }

    /// How many were dropped for `reason`.
    pub fn get(&self, reason: DropReason) -> u64 {
        self.0[reason as usize]
    }

    /// How many were dropped in all.
    pub fn total(&self) -> u64 {
        self.0.iter().sum()
    }

    /// Every reason's name with its count.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, u64)> + '_ {
        DropReason::ALL
            .iter()
            .map(|&reason| (reason.name(), self.get(reason)))
    }

    /// Adds another set of counters to this one.
    pub fn merge(&mut self, other: &Self) {
        for (mine, theirs) in self.0.iter_mut().zip(other.0) {
            *mine += theirs;
        }
    }
}

/// What a device has done since it was first initialised; a reset does not clear it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct NicStats {
    /// Frames handed to the stack.
    pub rx_packets: u64,
    /// Their bytes, without device headers.
    pub rx_bytes: u64,
    /// Frames given to the device to send.
    pub tx_packets: u64,
    /// Their bytes, without device headers.
    pub tx_bytes: u64,
    /// Frames handed to the stack that filled more than one buffer.
    pub rx_merged: u64,
    /// Of these, frames whose buffers lie back to back: one slice, read in place.
    pub rx_merged_in_place: u64,
    /// Frames handed to the stack that are segments merged by the device.
    pub rx_gso: u64,
    /// Frames given to the device to be cut into segments.
    pub tx_gso: u64,
    /// Doorbells rung: each is one register write, and under a hypervisor one exit.
    pub doorbells: u64,
    /// Requests made of the device besides moving packets.
    pub commands: u64,
    /// Calls of [`NetDevice::on_interrupt`] that found the device to be the cause.
    pub interrupts: u64,
    /// Times a receive ring could not be filled because the pool was empty.
    pub rx_no_buffer: u64,
    /// Times the device was reset after a fault.
    pub resets: u64,
    /// Frames dropped by the driver, by reason.
    pub drops: DropCounts,
}

/// A network interface whose rings are fed from a packet pool.
///
/// The verbs come in the same order in each driver: refill, rx_burst, tx_burst, reclaim, flush,
/// arm. A queue that does not exist is treated as one that is always idle.
pub trait NetDevice: Send {
    /// What the device is.
    fn info(&self) -> &DeviceInfo;

    /// What it can do for the stack.
    fn capabilities(&self) -> Capabilities;

    /// The link, read from the device: a few register accesses, so for a timer, not for each
    /// turn. A device that asks for a reset, or that has stopped to send, is noticed here too.
    fn link(&mut self) -> LinkState;

    /// Counters since the start.
    fn stats(&self) -> NicStats;

    /// Packets in the rings of this queue pair. Together with what the stack has in hand these
    /// account for every packet outside the pool: the difference is a leak.
    fn lent(&self, queue: QueueId) -> LentCounts;

    /// Bytes that have to be free in front of a frame's first byte in its first buflet. The
    /// stack writes frames at this offset, so that device header and frame are one descriptor.
    fn tx_headroom(&self) -> usize;

    /// Posts fresh buffers for receive until the ring is full or the pool is empty; returns how
    /// many. Rings no doorbell. With an empty pool what is posted stays posted, and a later call
    /// tries again.
    fn refill(&mut self, queue: QueueId) -> usize;

    /// Takes at most `budget` received frames, in order, to the back of `into`; returns how many.
    /// Frames that make no sense are dropped and counted, and do not count against the result.
    fn rx_burst(&mut self, queue: QueueId, budget: usize, into: &mut PacketQueue) -> usize;

    /// How many packets of one buflet [`tx_burst`](Self::tx_burst) will surely take, as the ring
    /// stands; a chain counts as one for each of its buflets at most.
    fn tx_room(&self, queue: QueueId) -> usize;

    /// Takes packets from the front of `from` while there is room; returns how many left it, sent
    /// or dropped. What does not fit stays with the caller. Rings no doorbell.
    fn tx_burst(&mut self, queue: QueueId, from: &mut PacketQueue) -> usize;

    /// Gives packets that were sent back to the pool; returns how many.
    fn reclaim(&mut self, queue: QueueId) -> usize;

    /// Tells the device about everything posted since the last call: at most one doorbell for
    /// each direction, and none where the device said it needs none.
    fn flush(&mut self, queue: QueueId);

    /// Asks for an interrupt at the next event, then looks once more. A transmit ring that is full,
    /// or without room for the packet that the last burst left with the caller, counts as waiting
    /// for room.
    fn arm(&mut self, queue: QueueId) -> Armed;

    /// Acknowledges an interrupt where the device needs that (see [`InterruptMode`]), and looks at
    /// the device's status if the rings do not explain the interrupt. To be called
    /// once after each interrupt, on the core's turn and before [`arm`](Self::arm); not in the
    /// handler. A line that the kernel routes as edge-triggered needs no masking for this: events
    /// before the acknowledgement are found by `arm`, later ones raise the line again.
    fn on_interrupt(&mut self);

    /// Whether the device keeps its contract.
    fn health(&self) -> Health;

    /// Stops the device, waits until it has stopped, takes back every packet it held, and starts
    /// it again as it was. To be called when [`health`](Self::health) says `Broken`, which it does
    /// ever more rarely for a device that breaks again and again.
    ///
    /// # Errors
    ///
    /// The device does not stop, or does not come up again. It stays broken, and packets which it
    /// may still write to are not given back to the pool.
    fn reset(&mut self) -> Result<(), DriverError>;

    /// Gives the device another hardware address, which it keeps over a [`reset`](Self::reset).
    ///
    /// # Errors
    /// As for all requests: the device cannot, or will not, or is broken. A broken one is told
    /// after its reset.
    fn set_mac(&mut self, mac: MacAddr) -> Result<(), ControlError> {
        let _ = mac;
        Err(ControlError::Unsupported("another hardware address"))
    }

    /// Says which frames are wanted. Before the first time it is what the device likes, which may
    /// be all there are; a [`reset`](Self::reset) does not change it.
    ///
    /// # Errors
    /// As [`set_mac`](Self::set_mac).
    fn set_filter(&mut self, filter: &RxFilter) -> Result<(), ControlError> {
        let _ = filter;
        Err(ControlError::Unsupported("a receive filter"))
    }

    /// Lets frames of a virtual LAN through, or no longer. A device that filters them lets none
    /// through unless told.
    ///
    /// # Errors
    /// As [`set_mac`](Self::set_mac).
    fn set_vlan(&mut self, vlan: VlanId, admitted: bool) -> Result<(), ControlError> {
        let _ = (vlan, admitted);
        Err(ControlError::Unsupported("a VLAN filter"))
    }

    /// Puts the station into a virtual LAN: whatever it sends gets the tag of that LAN on its way, and it
    /// receives frames of no other, without their tag. `None` takes it out: frames pass as they are.
    ///
    /// # Errors
    /// As [`set_mac`](Self::set_mac).
    fn join_vlan(&mut self, vlan: Option<VlanId>) -> Result<(), ControlError> {
        let _ = vlan;
        Err(ControlError::Unsupported("tags of a virtual LAN"))
    }

    /// Bounds how long interrupts may wait for company.
    ///
    /// # Errors
    /// As [`set_mac`](Self::set_mac).
    fn set_moderation(&mut self, limits: Moderation) -> Result<(), ControlError> {
        let _ = limits;
        Err(ControlError::Unsupported("interrupt moderation"))
    }

    /// Whether the device wants its station to make itself known in the network, as after it was
    /// moved to another place in it. As of the last [`link`](Self::link) or interrupt.
    fn wants_announcement(&self) -> bool {
        false
    }

    /// Tells the device that the station did so.
    ///
    /// # Errors
    /// As [`set_mac`](Self::set_mac).
    fn announced(&mut self) -> Result<(), ControlError> {
        Ok(())
    }

    /// Has the device interrupt as for a received frame, though there is none: a test of all that
    /// lies between it and the core. Returns whether it can do that. What it raised is
    /// acknowledged by [`on_interrupt`](Self::on_interrupt), as any other.
    fn raise_interrupt(&mut self) -> bool {
        false
    }

    /// Has the device receive what it sends, and nothing else, until the next
    /// [`reset`](Self::reset). Returns in which part of it frames turn round; `None` if it has no
    /// such part. The first frames may be lost.
    ///
    /// # Errors
    /// That part does not do as it is told.
    fn loop_back(&mut self) -> Result<Option<&'static str>, DriverError> {
        Ok(None)
    }
}
