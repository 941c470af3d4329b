//! A NIC with all its queue pairs, the pools that feed it, and the packets between it and the stack.
//!
//! The turn takes bursts from it and hands bursts back; [`device`](super::device) writes frames
//! through it. Two invariants:
//!
//! - Whether a frame can be sent is known *before* smoltcp is asked for one: a transmit packet is
//!   taken from the pool and a slot of the ring set aside first. A packet that is not used stays
//!   behind for the next frame.
//! - A packet is in one place: ring, burst in hand, held, spare, or transmit queue; whatever drops
//!   it gives it back to the pool.
#![forbid(unsafe_code)]

mod notes;
mod offers;
mod receive;
mod transmit;

use alloc::boxed::Box;
use alloc::vec::Vec;

use drivers::net::{Armed, Capabilities, LentCounts, LinkState, NetDevice, QueueId};
use pbufpool::{Packet, PacketQueue};
use smoltcp::time::Instant;
use smoltcp::wire::ETHERNET_HEADER_LEN;

use super::counters::Counters;
use super::held::Held;
use super::pools::Pools;
use notes::Notes;
pub(super) use receive::slice;

/// Packets for frames to send that are taken from the pool at once. A turn that sent nothing leaves
/// one of them.
const SPARES: usize = 16;

/// A NIC, with the packets between it and the stack.
pub struct Link {
    nic: Box<dyn NetDevice>,
    pools: Pools,
    /// What the link was when it was last looked at.
    state: LinkState,
    /// The pair that is served first this turn.
    first: usize,
    capabilities: Capabilities,
    /// Largest Ethernet frame.
    max_frame: usize,
    /// Where a frame begins in a transmit buffer, so that the device header fits before it.
    headroom: usize,
    /// Received, not looked at yet.
    received: PacketQueue,
    /// Received and read: they go back to the pool together, before the ring is filled.
    spent: PacketQueue,
    /// Written, not handed to the NIC yet, by the pair that it leaves by.
    to_send: Vec<PacketQueue>,
    /// Frames in all of `to_send`.
    written: usize,
    /// Frames that the NIC took since the turn began.
    handed: usize,
    /// Transmit slots that are free whatever pair a frame leaves by.
    tx_room: usize,
    /// The packets that the next transmit tokens will use.
    spares: Vec<Packet>,
    /// The packet that it will use if the frame is to be cut by the NIC.
    large_spare: Option<Packet>,
    /// A token was refused since the turn began.
    stalled: bool,
    /// What was noticed in the frames that smoltcp sent.
    notes: Notes,
    /// Frames whose answer could not be addressed yet.
    held: Held,
    /// Packets that a service reads and writes.
    served: usize,
}

impl Link {
    /// Takes over `nic`, whose packets come from `pools`.
    pub fn new(nic: Box<dyn NetDevice>, pools: Pools) -> Self {
        let mut link = Self {
            state: LinkState::Up { mbps: None },
            first: 0,
            capabilities: nic.capabilities(),
            max_frame: nic.info().mtu + ETHERNET_HEADER_LEN,
            headroom: nic.tx_headroom(),
            tx_room: 0,
            received: PacketQueue::new(),
            spent: PacketQueue::new(),
            to_send: (0..nic.info().queue_pairs.max(1))
                .map(|_| PacketQueue::new())
                .collect(),
            written: 0,
            handed: 0,
            spares: Vec::with_capacity(SPARES),
            large_spare: None,
            stalled: false,
            notes: Notes::default(),
            held: Held::default(),
            served: 0,
            nic,
            pools,
        };
        link.tx_room = link.room();
        link
    }

    /// Its queue pairs.
    fn pairs(&self) -> impl Iterator<Item = QueueId> + use<> {
        (0..self.to_send.len() as u16).map(QueueId)
    }

    /// Frames that can be written whatever pair they leave by.
    fn room(&self) -> usize {
        let pairs = self.pairs().zip(&self.to_send);
        let room = pairs.map(|(q, waiting)| self.nic.tx_room(q).saturating_sub(waiting.len()));
        room.min().unwrap_or(0)
    }

    /// What the link was when it was last looked at.
    pub fn state(&self) -> LinkState {
        self.state
    }

    /// Looks at the link.
    pub(super) fn look(&mut self) -> LinkState {
        self.state = self.nic.link();
        self.state
    }

    /// Packets in the rings of all pairs.
    pub fn lent(&self) -> LentCounts {
        self.pairs().fold(LentCounts::default(), |sum, queue| {
            let LentCounts { rx, tx, control } = self.nic.lent(queue);
            LentCounts {
                rx: sum.rx + rx,
                tx: sum.tx + tx,
                control: sum.control + control,
            }
        })
    }

    /// The NIC, for what is not on the path of a packet.
    pub fn nic(&self) -> &dyn NetDevice {
        &*self.nic
    }

    /// The NIC, to be reset or asked for its link.
    pub fn nic_mut(&mut self) -> &mut dyn NetDevice {
        &mut *self.nic
    }

    /// Where the packets come from.
    pub fn pools(&self) -> &Pools {
        &self.pools
    }

    /// Largest Ethernet frame in bytes, header included.
    pub fn max_frame(&self) -> usize {
        self.max_frame
    }

    /// Packets outside the pool that are not in a ring: what is in hand between two turns, and what a
    /// service has been given.
    pub fn in_hand(&self) -> usize {
        let spare = self.spares.len() + usize::from(self.large_spare.is_some());
        let received = self.received.len() + self.spent.len();
        received + self.written + self.held.len() + spare + self.served
    }

    /// Says how many packets a service has been given.
    pub(super) fn serve(&mut self, packets: usize) {
        self.served = packets;
    }

    /// Begins a turn: completed transmissions go back to the pool, and a burst of at most
    /// `budget` received packets is taken in hand. Returns how many packets moved.
    pub fn begin(&mut self, budget: usize) -> usize {
        let pairs = self.to_send.len();
        let mut moved = 0;
        for queue in self.pairs() {
            moved += self.nic.reclaim(queue);
        }
        self.tx_room = self.room();
        (self.stalled, self.handed) = (false, 0);
        // Another pair comes first each turn, so that none can take the whole budget for ever.
        self.first = (self.first + 1) % pairs;
        for number in self.first..self.first + pairs {
            let queue = QueueId((number % pairs) as u16);
            let left = budget.saturating_sub(self.received.len());
            moved += self.nic.rx_burst(queue, left, &mut self.received);
        }
        moved
    }

    /// Until when the oldest frame that waits for a neighbour is kept.
    pub(super) fn held_until(&self) -> Option<Instant> {
        self.held.until()
    }

    /// Frames that wait for a neighbour's address.
    pub(super) fn held(&mut self) -> &mut Held {
        &mut self.held
    }

    /// Whether the receive ring could not be filled, so that it may run dry in silence.
    pub fn starved(&self) -> bool {
        let ring = usize::from(self.nic.info().rx_ring);
        self.lent().rx < ring * self.to_send.len()
    }

    /// Whether a transmit token was refused since [`begin`](Self::begin).
    pub fn stalled(&self) -> bool {
        self.stalled
    }

    /// Ends a turn: hands over what was written, fills the receive ring, and rings each doorbell
    /// at most once. Returns how many packets the NIC took.
    pub fn end(&mut self, counters: &mut Counters) -> usize {
        counters.tx_stalls += u64::from(self.stalled);
        self.hand_over();
        if self.handed == 0 {
            self.spares.truncate(1);
        }
        self.spent.clear();
        for queue in self.pairs() {
            self.nic.refill(queue);
            self.nic.flush(queue);
        }
        self.handed
    }

    /// Asks for an interrupt, unless something is waiting.
    pub fn arm(&mut self) -> Armed {
        if !self.received.is_empty() {
            return Armed::Work;
        }
        for queue in self.pairs() {
            if self.nic.arm(queue) == Armed::Work {
                return Armed::Work;
            }
        }
        Armed::Sleep
    }
}
