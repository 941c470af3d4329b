//! The seam to smoltcp: frames that the NIC wrote are read in place, frames to send are written
//! where the NIC will read them.
//!
//! [`Link`] holds the NIC, the pool and what is on its way between the two; the stack makes a
//! [`Port`] of it for each call into smoltcp. Two invariants:
//!
//! - A token exists only when using it cannot fail: one transmit packet is always taken from the
//!   pool *before* a token is given out, and a slot of the transmit ring is set aside for it. A
//!   token that is not used leaves the packet behind for the next one.
//! - A packet is in one place: ring, burst in hand, token, or transmit queue; whatever drops it
//!   gives it back to the pool.
#![forbid(unsafe_code)]

use alloc::boxed::Box;
use alloc::vec;

use drivers::net::{Armed, Capabilities, NetDevice, QueueId};
use heapless::Deque;
use pbufpool::{Packet, PacketQueue, Pool};
use smoltcp::phy::{self, Checksum, ChecksumCapabilities, DeviceCapabilities, Medium};
use smoltcp::time::{Duration, Instant};
use smoltcp::wire::ETHERNET_HEADER_LEN;

use super::counters::{Counters, Refusal};
use super::offload;

/// Frames handed to the NIC at once when more are written in one turn.
const TX_BATCH: usize = 64;

/// Frames kept until their sender's hardware address is known (RFC 1122, 2.3.2.2).
const HELD: usize = 8;
/// How long they are kept.
const HOLD: Duration = Duration::from_secs(1);

/// A frame that waits for a neighbour, and until when.
pub(super) struct Held {
    pub(super) packet: Packet,
    until: Instant,
}

/// One queue pair of a NIC, with the packets between it and the stack.
pub struct Link {
    nic: Box<dyn NetDevice>,
    pool: Pool,
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
    /// A token was refused since the turn began.
    stalled: bool,
    /// The receive ring has less than it could hold.
    starved: bool,
    /// A neighbour's hardware address was asked for since this was last taken.
    asked: bool,
    /// Transmit tokens that sockets took and did not use since this was last taken.
    unused: u32,
    /// Frames whose answer could not be addressed yet.
    held: Deque<Held, HELD>,
}

impl Link {
    /// Takes over queue pair 0 of `nic`, whose buffers come from `pool`.
    pub fn new(nic: Box<dyn NetDevice>, pool: Pool) -> Self {
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
            stalled: false,
            starved: false,
            asked: false,
            unused: 0,
            held: Deque::new(),
            nic,
            pool,
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

    /// The pool that the rings are fed from.
    pub fn pool(&self) -> &Pool {
        &self.pool
    }

    /// Largest Ethernet frame in bytes, header included.
    pub fn max_frame(&self) -> usize {
        self.max_frame
    }

    /// Packets outside the pool that are not in a ring: what is in hand between two turns.
    pub fn in_hand(&self) -> usize {
        let spare = usize::from(self.spare.is_some());
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
            counters.copies_rx += 1;
            match packet.linearise(&self.pool) {
                Ok(packet) => return Some(packet),
                Err(_) => counters.refuse(Refusal::NoRoom),
            }
        }
    }

    /// Puts a packet back that could not be dealt with now; it is the next one again.
    pub fn put_back(&mut self, packet: Packet) {
        self.received.push_front(packet);
    }

    /// Keeps a frame whose answer could not be addressed, at most until a second from now. When
    /// there are too many the oldest is dropped.
    pub(super) fn hold(&mut self, packet: Packet, now: Instant) {
        if self.held.is_full() {
            self.held.pop_front();
        }
        // There is room: one was just taken out.
        let _ = self.held.push_back(Held {
            packet,
            until: now + HOLD,
        });
    }

    /// The frames that were kept and may still be answered; those whose time is over are dropped.
    pub(super) fn take_held(&mut self, now: Instant) -> Deque<Held, HELD> {
        let mut held = core::mem::take(&mut self.held);
        while held.front().is_some_and(|oldest| oldest.until <= now) {
            held.pop_front();
        }
        held
    }

    /// Drops the frames whose time is over.
    pub(super) fn expire_held(&mut self, now: Instant) {
        self.held = self.take_held(now);
    }

    /// Until when the oldest frame is kept.
    pub(super) fn held_until(&self) -> Option<Instant> {
        self.held.front().map(|oldest| oldest.until)
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
        self.starved
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
        let before = self.nic.stats().rx_no_buffer;
        self.nic.refill(self.queue);
        self.starved = self.nic.stats().rx_no_buffer != before;
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

    /// Makes sure that a transmit token can be given out.
    fn reserve(&mut self) -> bool {
        if self.tx_room == 0 {
            self.stalled = true;
            return false;
        }
        if self.spare.is_none() {
            self.spare = self.pool.alloc().ok();
        }
        self.stalled |= self.spare.is_none();
        self.spare.is_some()
    }

    /// What smoltcp may leave to the NIC. Receive checksums are verified by the classifier.
    fn checksums(&self) -> ChecksumCapabilities {
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
}

/// The frame that a packet from [`Link::next`] holds; that is contiguous.
pub(super) fn slice(packet: &Packet) -> &[u8] {
    packet.contiguous().unwrap_or(packet.data())
}

/// A frame on its way into smoltcp.
pub enum Frame<'a> {
    /// As the NIC delivered it.
    Packet(Packet),
    /// As reassembly put it together.
    Bytes(&'a [u8]),
}

/// [`Link`] as smoltcp sees it for the length of one call.
pub(super) struct Port<'a, 'f> {
    link: &'a mut Link,
    counters: &'a mut Counters,
    frame: Option<Frame<'f>>,
    /// The frame again, once smoltcp has read it.
    done: Option<Frame<'f>>,
}

impl<'a, 'f> Port<'a, 'f> {
    /// A port that only sends.
    pub(super) fn new(link: &'a mut Link, counters: &'a mut Counters) -> Self {
        Self {
            link,
            counters,
            frame: None,
            done: None,
        }
    }

    /// A port that receives `frame` once.
    pub(super) fn receiving(
        link: &'a mut Link,
        counters: &'a mut Counters,
        frame: Frame<'f>,
    ) -> Self {
        Self {
            link,
            counters,
            frame: Some(frame),
            done: None,
        }
    }

    /// The frame after it was read.
    ///
    /// # Errors
    /// The frame, if it was not read: there was no transmit token to go with it.
    pub(super) fn take_back(self) -> Result<Option<Frame<'f>>, Frame<'f>> {
        self.frame.map_or(Ok(self.done), Err)
    }
}

impl<'f> phy::Device for Port<'_, 'f> {
    type RxToken<'t>
        = RxToken<'t, 'f>
    where
        Self: 't;
    type TxToken<'t>
        = TxToken<'t>
    where
        Self: 't;

    fn receive(&mut self, _now: Instant) -> Option<(RxToken<'_, 'f>, TxToken<'_>)> {
        if self.frame.is_none() || !self.link.reserve() {
            return None;
        }
        let frame = self.frame.take()?;
        self.counters.rx_delivered += 1;
        let Self {
            link,
            counters,
            done,
            ..
        } = self;
        Some((RxToken { frame, done }, TxToken { link, counters }))
    }

    fn transmit(&mut self, _now: Instant) -> Option<TxToken<'_>> {
        if !self.link.reserve() {
            return None;
        }
        self.link.unused += 1;
        let Self { link, counters, .. } = self;
        Some(TxToken { link, counters })
    }

    fn capabilities(&self) -> DeviceCapabilities {
        let mut capabilities = DeviceCapabilities::default();
        capabilities.medium = Medium::Ethernet;
        capabilities.max_transmission_unit = self.link.max_frame;
        capabilities.max_burst_size = None;
        capabilities.checksum = self.link.checksums();
        capabilities
    }
}

/// A received frame; it goes back to the port when smoltcp has read it.
pub(super) struct RxToken<'t, 'f> {
    frame: Frame<'f>,
    done: &'t mut Option<Frame<'f>>,
}

impl phy::RxToken for RxToken<'_, '_> {
    fn consume<R, F>(self, read: F) -> R
    where
        F: FnOnce(&[u8]) -> R,
    {
        let result = match &self.frame {
            Frame::Packet(packet) => read(slice(packet)),
            Frame::Bytes(bytes) => read(bytes),
        };
        *self.done = Some(self.frame);
        result
    }
}

/// The right to send one frame; the packet and the slot for it are there.
pub(super) struct TxToken<'a> {
    link: &'a mut Link,
    counters: &'a mut Counters,
}

impl phy::TxToken for TxToken<'_> {
    fn consume<R, F>(self, len: usize, write: F) -> R
    where
        F: FnOnce(&mut [u8]) -> R,
    {
        let Self { link, counters } = self;
        link.unused = link.unused.saturating_sub(1);
        let Some(mut packet) = link.spare.take() else {
            return discard(counters, len, write); // `reserve` put one there
        };
        let fits = packet.set_span(link.headroom, len).is_ok();
        let Some(buffer) = packet.data_mut().filter(|_| fits) else {
            return discard(counters, len, write);
        };
        let result = write(buffer);
        link.asked |= asks_for_neighbour(buffer);
        offload::complete(&mut packet, &link.capabilities);
        counters.tx_frames += 1;
        link.tx_room -= 1;
        link.to_send.push_back(packet);
        if link.to_send.len() >= TX_BATCH {
            link.hand_over();
        }
        result
    }
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
