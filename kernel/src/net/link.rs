//! One queue pair of a NIC, the pools that feed it, and the packets between it and the stack.
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

use alloc::boxed::Box;
use alloc::vec;
use core::num::{NonZeroU16, NonZeroUsize};

use drivers::net::{Armed, Capabilities, NetDevice, QueueId};
use pbufpool::{Packet, PacketQueue};
use smoltcp::phy::{Checksum, ChecksumCapabilities, SegmentationCapabilities};
use smoltcp::time::Instant;
use smoltcp::wire::ETHERNET_HEADER_LEN;

use super::counters::{Counters, Refusal};
use super::held::Held;
use super::offload;
use super::pools::Pools;

/// Frames handed to the NIC at once when more are written in one turn.
const TX_BATCH: usize = 64;

/// One queue pair of a NIC, with the packets between it and the stack.
pub struct Link {
    nic: Box<dyn NetDevice>,
    pools: Pools,
    queue: QueueId,
    capabilities: Capabilities,
    /// Largest Ethernet frame.
    max_frame: usize,
    /// Where a frame begins in a transmit buffer, so that the device header fits before it.
    headroom: usize,
    /// Received, not looked at yet.
    received: PacketQueue,
    /// Written, not handed to the NIC yet.
    to_send: PacketQueue,
    /// Transmit slots that are free, those promised to `to_send` taken off.
    tx_room: usize,
    /// The packet that the next transmit token will use.
    spare: Option<Packet>,
    /// The packet that it will use if the frame is to be cut by the NIC.
    large_spare: Option<Packet>,
    /// A token was refused since the turn began.
    stalled: bool,
    /// A neighbour's hardware address was asked for since this was last taken.
    asked: bool,
    /// Transmit tokens that sockets took and did not use since this was last taken.
    unused: u32,
    /// Frames whose answer could not be addressed yet.
    held: Held,
}

impl Link {
    /// Takes over queue pair 0 of `nic`, whose packets come from `pools`.
    pub fn new(nic: Box<dyn NetDevice>, pools: Pools) -> Self {
        let queue = QueueId::default();
        Self {
            queue,
            capabilities: nic.capabilities(),
            max_frame: nic.info().mtu + ETHERNET_HEADER_LEN,
            headroom: nic.tx_headroom(),
            tx_room: nic.tx_room(queue),
            received: PacketQueue::new(),
            to_send: PacketQueue::new(),
            spare: None,
            large_spare: None,
            stalled: false,
            asked: false,
            unused: 0,
            held: Held::default(),
            nic,
            pools,
        }
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

    /// Packets outside the pool that are not in a ring: what is in hand between two turns.
    pub fn in_hand(&self) -> usize {
        let spare = usize::from(self.spare.is_some()) + usize::from(self.large_spare.is_some());
        self.received.len() + self.to_send.len() + self.held.len() + spare
    }

    /// Begins a turn: completed transmissions go back to the pool, and a burst of at most
    /// `budget` received packets is taken in hand. Returns how many packets moved.
    pub fn begin(&mut self, budget: usize) -> usize {
        let reclaimed = self.nic.reclaim(self.queue);
        self.tx_room = self
            .nic
            .tx_room(self.queue)
            .saturating_sub(self.to_send.len());
        self.stalled = false;
        let budget = budget.saturating_sub(self.received.len());
        reclaimed + self.nic.rx_burst(self.queue, budget, &mut self.received)
    }

    /// The next received packet, as one contiguous slice.
    ///
    /// A chain whose parts do not lie back to back is copied into one buffer, and counted:
    /// smoltcp reads nothing but slices. Without memory for the copy the packet is dropped, and
    /// the next one is tried.
    pub fn next(&mut self, counters: &mut Counters) -> Option<Packet> {
        loop {
            let packet = self.received.pop_front()?;
            if packet.contiguous().is_some() {
                return Some(packet);
            }
            match self.pools.linearise(packet) {
                Ok(packet) => {
                    counters.copies_rx += 1;
                    return Some(packet);
                }
                Err(_) => counters.refuse(Refusal::NoRoom),
            }
        }
    }

    /// Puts a packet back that could not be dealt with now; it is the next one again.
    pub fn put_back(&mut self, packet: Packet) {
        self.received.push_front(packet);
    }

    /// Until when the oldest frame that waits for a neighbour is kept.
    pub(super) fn held_until(&self) -> Option<Instant> {
        self.held.until()
    }

    /// Frames that wait for a neighbour's address.
    pub(super) fn held(&mut self) -> &mut Held {
        &mut self.held
    }

    /// Whether a neighbour was asked for since the last call.
    pub(super) fn take_asked(&mut self) -> bool {
        core::mem::take(&mut self.asked)
    }

    /// Whether a socket wanted to send since the last call, but left its token unused: the next
    /// hop's address is not known, and smoltcp may not ask for it yet.
    pub(super) fn take_unused(&mut self) -> bool {
        core::mem::take(&mut self.unused) > 0
    }

    /// Whether the receive ring could not be filled, so that it may run dry in silence.
    pub fn starved(&self) -> bool {
        self.nic.lent(self.queue).rx < usize::from(self.nic.info().rx_ring)
    }

    /// Whether received packets are still in hand.
    pub fn has_received(&self) -> bool {
        !self.received.is_empty()
    }

    /// Whether a transmit token was refused since [`begin`](Self::begin).
    pub fn stalled(&self) -> bool {
        self.stalled
    }

    /// Ends a turn: hands over what was written, fills the receive ring, and rings each doorbell
    /// at most once. Returns how many packets the NIC took.
    pub fn end(&mut self, counters: &mut Counters) -> usize {
        counters.tx_stalls += u64::from(self.stalled);
        let sent = self.hand_over();
        self.nic.refill(self.queue);
        self.nic.flush(self.queue);
        sent
    }

    /// Asks for an interrupt, unless something is waiting.
    pub fn arm(&mut self) -> Armed {
        if !self.received.is_empty() {
            return Armed::Work;
        }
        self.nic.arm(self.queue)
    }

    fn hand_over(&mut self) -> usize {
        if self.to_send.is_empty() {
            0
        } else {
            self.nic.tx_burst(self.queue, &mut self.to_send)
        }
    }

    /// Makes sure that a frame of any length can be sent; says whether one can.
    pub(super) fn reserve(&mut self) -> bool {
        if let Some(large) = &self.pools.large
            && self.large_spare.is_none()
        {
            self.large_spare = large.alloc().ok();
            self.stalled |= self.large_spare.is_none();
        }
        let any = self.large_spare.is_some() || self.pools.large.is_none();
        any && self.reserve_reply()
    }

    /// Makes sure that a frame up to the MTU can be sent, which a reply always is; says whether
    /// one can.
    pub(super) fn reserve_reply(&mut self) -> bool {
        if self.tx_room == 0 {
            self.stalled = true;
            return false;
        }
        if self.spare.is_none() {
            self.spare = self.pools.tx.alloc().ok();
        }
        self.stalled |= self.spare.is_none();
        self.spare.is_some()
    }

    /// What smoltcp may leave to the NIC. Receive checksums are verified by the classifier.
    pub(super) fn checksums(&self) -> ChecksumCapabilities {
        let tx = self.capabilities.tx_checksum;
        let mut checksums = ChecksumCapabilities::default();
        checksums.ipv4 = Checksum::Tx;
        checksums.icmpv4 = Checksum::Tx;
        checksums.icmpv6 = Checksum::Tx;
        checksums.tcp = if tx.tcp_v4 && tx.tcp_v6 {
            Checksum::None
        } else {
            Checksum::Tx
        };
        checksums.udp = if tx.udp_v4 && tx.udp_v6 {
            Checksum::None
        } else {
            Checksum::Tx
        };
        checksums
    }

    /// What smoltcp may leave uncut.
    pub(super) fn segmentation(&self) -> SegmentationCapabilities {
        let room = self.pools.large.as_ref().map(|pool| pool.buffer_size());
        let longest = room.map_or(0, |room| room - self.headroom);
        let most = |nic: Option<usize>| NonZeroUsize::new(nic?.min(longest));
        let mut segmentation = SegmentationCapabilities::default();
        segmentation.tcpv4 = most(self.capabilities.tso_v4);
        // smoltcp 0.14 hands over no segment size for IPv6: it drops the packet, longer than the
        // MTU, that it just made for us to cut.
        segmentation.tcpv6 = None;
        segmentation
    }

    /// Notes that a socket took a token; [`send`](Self::send) takes the note back.
    pub(super) fn note_taken(&mut self) {
        self.unused += 1;
    }

    /// Sends a frame of `len` bytes, written by `write` where the NIC will read it, to be cut into
    /// segments of `segment` bytes of payload, if so. To be called after [`reserve`](Self::reserve).
    pub(super) fn send<R>(
        &mut self,
        counters: &mut Counters,
        len: usize,
        segment: Option<NonZeroU16>,
        write: impl FnOnce(&mut [u8]) -> R,
    ) -> R {
        self.unused = self.unused.saturating_sub(1);
        let spare = match segment {
            Some(_) => &mut self.large_spare,
            None => &mut self.spare,
        };
        let Some(mut packet) = spare.take() else {
            return discard(counters, len, write); // `reserve` put one there
        };
        let fits = packet.set_span(self.headroom, len).is_ok();
        let Some(buffer) = packet.data_mut().filter(|_| fits) else {
            return discard(counters, len, write);
        };
        let result = write(buffer);
        self.asked |= asks_for_neighbour(buffer);
        offload::complete(&mut packet, &self.capabilities, segment);
        counters.tx_frames += 1;
        self.tx_room -= 1;
        self.to_send.push_back(packet);
        if self.to_send.len() >= TX_BATCH {
            self.hand_over();
        }
        result
    }
}

/// The frame that a packet from [`Link::next`] holds; that is contiguous.
pub(super) fn slice(packet: &Packet) -> &[u8] {
    packet.contiguous().unwrap_or(packet.data())
}

/// Whether a frame asks for a hardware address: an ARP request or a neighbour solicitation.
fn asks_for_neighbour(frame: &[u8]) -> bool {
    match frame.get(12..14) {
        Some([0x08, 0x06]) => frame.get(21) == Some(&1),
        Some([0x86, 0xdd]) => frame.get(20) == Some(&58) && frame.get(54) == Some(&135),
        _ => false,
    }
}

/// A frame longer than a buffer: smoltcp keeps to the MTU, so only a `pool.buffer` too small for
/// it gets here. It is written nowhere, and counted.
fn discard<R>(counters: &mut Counters, len: usize, write: impl FnOnce(&mut [u8]) -> R) -> R {
    counters.tx_oversize += 1;
    write(&mut vec![0; len])
}
