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

use alloc::boxed::Box;
use alloc::vec;
use alloc::vec::Vec;
use core::num::{NonZeroU16, NonZeroUsize};

use drivers::net::{Armed, Capabilities, LentCounts, LinkState, NetDevice, QueueId};
use pbufpool::{Packet, PacketQueue};
use smoltcp::phy::{Checksum, ChecksumCapabilities, SegmentationCapabilities};
use smoltcp::time::Instant;
use smoltcp::wire::{ETHERNET_HEADER_LEN, IpAddress, Ipv4Address};

use super::counters::{Counters, Refusal};
use super::held::Held;
use super::offload;
use super::pools::Pools;
use super::spread::pair_of;
use super::udp::{Ethernet, header_to};

/// Frames handed to the NIC at once when more are written in one turn.
const TX_BATCH: usize = 64;

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
    /// A neighbour's hardware address was asked for since this was last taken.
    asked: bool,
    /// Whose frames are looked for.
    watched: Option<Watch>,
    /// Transmit tokens that sockets took and did not use since this was last taken.
    unused: u32,
    /// Bytes of the frame that smoltcp wrote last.
    last_length: usize,
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
            asked: false,
            watched: None,
            unused: 0,
            last_length: 0,
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

    /// The next received packet, as one contiguous slice.
    ///
    /// A chain whose parts do not lie back to back is copied into one buffer, and counted:
    /// smoltcp reads nothing but slices. Without memory for the copy the packet is dropped, and
    /// the next one is tried.
    pub fn next(&mut self, counters: &mut Counters) -> Option<Packet> {
        loop {
            let packet = self.received.pop_front()?;
            if packet.buflet_count() <= 1 || packet.contiguous().is_some() {
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

    /// Takes a packet that has been read.
    #[inline(always)]
    pub(super) fn spend(&mut self, packet: Packet) {
        self.spent.push_back(packet);
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
        let ring = usize::from(self.nic.info().rx_ring);
        self.lent().rx < ring * self.to_send.len()
    }

    /// Bytes of the frame that smoltcp wrote last, headers included.
    pub(super) fn last_length(&self) -> usize {
        self.last_length
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

    #[inline(never)]
    fn hand_over(&mut self) {
        if self.written == 0 {
            return;
        }
        let mut taken = 0;
        for (queue, waiting) in self.to_send.iter_mut().enumerate() {
            if !waiting.is_empty() {
                taken += self.nic.tx_burst(QueueId(queue as u16), waiting);
            }
        }
        self.written -= taken;
        self.handed += taken;
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
        if self.spares.is_empty() {
            self.fetch_spares();
        }
        !self.spares.is_empty()
    }

    /// Takes packets for the next frames from the pool, no more than there are slots.
    #[inline(never)]
    fn fetch_spares(&mut self) {
        let wanted = self.tx_room.min(SPARES);
        let fetched = self.pools.tx.alloc_vec(wanted, &mut self.spares);
        // What has been read may be of the same pool.
        if fetched.count == 0 && self.spent.clear() > 0 {
            let _ = self.pools.tx.alloc_vec(wanted, &mut self.spares);
        }
        self.stalled |= self.spares.is_empty();
    }

    /// Whether the NIC completes the checksums of UDP.
    pub(super) fn completes_udp(&self) -> bool {
        let tx = self.capabilities.tx_checksum;
        tx.udp_v4 && tx.udp_v6
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
        checksums.udp = if self.completes_udp() {
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
        self.last_length = len;
        let spare = match segment {
            Some(_) => self.large_spare.take(),
            None => self.spares.pop(),
        };
        let Some(mut packet) = spare else {
            return discard(counters, len, write); // `reserve` put one there
        };
        let fits = packet.set_span(self.headroom, len).is_ok();
        let Some(buffer) = packet.data_mut().filter(|_| fits) else {
            return discard(counters, len, write);
        };
        let result = write(buffer);
        self.asked |= asks_for_neighbour(buffer);
        if let Some(Watch { address, header }) = &mut self.watched {
            *header = header_to(buffer, *address).or(*header);
        }
        offload::complete(&mut packet, &self.capabilities, segment);
        self.send_packet(packet, counters);
        result
    }

    /// Sends a frame for which a slot was set aside, and of which the NIC has been asked all that it
    /// is to do.
    pub(super) fn send_packet(&mut self, packet: Packet, counters: &mut Counters) {
        let pair = pair_of(packet.data(), self.to_send.len());
        counters.tx_frames += 1;
        self.tx_room -= 1;
        self.to_send[pair].push_back(packet);
        self.written += 1;
        if self.written >= TX_BATCH {
            self.hand_over();
        }
    }

    /// Takes the packet that [`reserve_reply`](Self::reserve_reply) set aside, for a frame of at most
    /// the MTU behind [`headroom`](Self::headroom) bytes.
    pub(super) fn take_spare(&mut self) -> Option<Packet> {
        self.spares.pop()
    }

    /// Puts it back: nothing was written.
    pub(super) fn put_spare(&mut self, packet: Packet) {
        self.spares.push(packet);
    }

    /// Bytes in front of a frame.
    pub(super) fn headroom(&self) -> usize {
        self.headroom
    }

    /// Remembers with which Ethernet header the next frames to `address` are sent.
    pub(super) fn watch(&mut self, address: IpAddress) {
        self.watched = match address {
            IpAddress::Ipv4(address) => Some(Watch {
                address,
                header: None,
            }),
            IpAddress::Ipv6(_) => None,
        };
    }

    /// The last one of those, if there was any; no more are remembered.
    pub(super) fn take_watched(&mut self) -> Option<Ethernet> {
        self.watched.take()?.header
    }
}

/// Whom frames are looked for to, and the header of the last one.
struct Watch {
    address: Ipv4Address,
    header: Option<Ethernet>,
}

/// The frame that a packet from [`Link::next`] holds; that is contiguous.
#[inline(always)]
pub(super) fn slice(packet: &Packet) -> &[u8] {
    if packet.buflet_count() <= 1 {
        packet.data()
    } else {
        slice_of_many(packet)
    }
}

#[inline(never)]
fn slice_of_many(packet: &Packet) -> &[u8] {
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
