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
mod health;
mod info;
mod mac;
mod stats;
pub(crate) mod wishes;

use pbufpool::PacketQueue;

pub use control::{ControlError, Moderation, RxFilter, VlanId};
pub use health::{Armed, Health};
pub use info::{Capabilities, ChecksumSupport, DeviceInfo, InterruptMode, LinkState};
pub use mac::MacAddr;
pub use stats::{DropCounts, DropReason, LentCounts, NicStats};

use crate::error::DriverError;

/// A queue pair of a device: one receive and one transmit ring, served by one core.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct QueueId(pub u16);

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
