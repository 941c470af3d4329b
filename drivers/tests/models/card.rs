//! The device: status, features, configuration, doorbells, and both ends of its queues.

use std::sync::{Arc, Mutex, MutexGuard};

use drivers::DriverError;
use drivers::net::InterruptMode;
use drivers::virtio::transport::{Doorbell, QueueAddresses, Transport};
use drivers::virtio::{Features, Status};
use virtio_queue::QueueT;
use vm_memory::{Bytes, GuestAddress, GuestMemoryMmap};

use super::bench::Model;
use super::control::{Manner, Told};
use super::half::{Buffer, Half, read16, write16};
use super::memory::GuestDma;
use super::table::Table;

/// Receive queue.
pub(crate) const RX: usize = 0;
/// Transmit queue.
pub(crate) const TX: usize = 1;
/// Queues of the largest card here: four pairs and the control queue.
pub(crate) const QUEUES: usize = 9;
/// Entries of the control queue at most.
const CONTROL_MAX: u16 = 64;
/// The device's header in front of a frame, as long as it can be.
pub(crate) type Header = [u8; 12];
/// Its bytes, where no buffers are merged.
pub(crate) const HEADER: usize = if crate::LEGACY { 10 } else { 12 };

/// What a card offers unless a test says otherwise.
pub(crate) const OFFERED: Features = Features::CSUM
    .union(Features::GUEST_CSUM)
    .union(Features::MTU)
    .union(Features::MAC)
    .union(Features::STATUS)
    .union(Features::EVENT_IDX)
    .union(Features::VERSION_1)
    .union(Features::ACCESS_PLATFORM)
    .union(Features::ORDER_PLATFORM)
    .union(Features::NOTIFICATION_DATA);

/// What a card does wrong.
#[derive(Clone, Copy, Default, Debug)]
pub(crate) struct Faults {
    /// Clears FEATURES_OK.
    pub(crate) refuses_features: bool,
    /// Reads as all ones everywhere.
    pub(crate) gone: bool,
    /// Never comes out of a reset.
    pub(crate) reset_hangs: bool,
    /// Asks for a reset.
    pub(crate) needs_reset: bool,
    /// Refuses to enable this queue.
    pub(crate) refuses_queue: Option<u16>,
}

/// A frame the driver posted for transmission.
#[derive(Debug)]
pub(crate) struct Posted {
    /// Its id.
    pub(crate) head: u16,
    /// Bytes of its header.
    pub(crate) header_len: usize,
    /// Header and frame.
    pub(crate) bytes: Vec<u8>,
    /// Bytes of each descriptor.
    pub(crate) descriptors: Vec<u32>,
    /// Ids of the descriptors behind the head in the ring.
    pub(crate) tail: Vec<u16>,
    /// The table in which its descriptors are, if not in the ring.
    pub(crate) table: Option<Table>,
}

impl Posted {
    /// The frame behind the header.
    pub(crate) fn frame(&self) -> &[u8] {
        &self.bytes[self.header_len..]
    }

    /// The header; fields that it does not have are zero.
    pub(crate) fn header(&self) -> Header {
        let mut header = Header::default();
        header[..self.header_len].copy_from_slice(&self.bytes[..self.header_len]);
        header
    }
}

/// One virtio network card.
pub(crate) struct Card {
    memory: &'static GuestMemoryMmap,
    /// Feature bits it offers.
    pub(crate) offered: u64,
    /// What the driver accepted.
    pub(crate) accepted: u64,
    /// What the driver wrote to the status register since the last reset.
    pub(crate) status: u8,
    /// Device configuration (5.1.4).
    pub(crate) config: [u8; 24],
    /// Largest sizes of the receive and the transmit queues.
    pub(crate) queue_max: [u16; 2],
    /// Device halves of the queues.
    pub(crate) queues: [Half; QUEUES],
    /// Doorbells rung, by queue.
    pub(crate) doorbells: [usize; QUEUES],
    /// What doorbells said with `NOTIFICATION_DATA` and what the ring said then, by queue.
    pub(crate) told_next: [Vec<(u16, u16)>; QUEUES],
    /// What it does with commands.
    pub(crate) manner: Manner,
    /// What it was told by them.
    pub(crate) told: Told,
    /// Commands that came in tables of descriptors.
    pub(crate) tables_told: usize,
    /// Doorbells rung before DRIVER_OK, which is forbidden.
    pub(crate) early_doorbells: usize,
    /// Receive queues in use that had no buffers yet when the first doorbell of one rang.
    pub(crate) unfed: Option<usize>,
    /// Times it was reset.
    pub(crate) resets: usize,
    /// Interrupts raised.
    pub(crate) interrupts: usize,
    /// Whether an interrupt waits to be acknowledged: bit 0 queues, bit 1 configuration.
    pub(crate) pending: u8,
    /// What it does wrong.
    pub(crate) faults: Faults,
}

impl Card {
    /// A card that offers everything the driver knows.
    pub(crate) fn new(dma: &'static GuestDma) -> Self {
        let mut config = [0; 24];
        config[..6].copy_from_slice(&[0x52, 0x54, 0, 0x12, 0x34, 0x56]);
        config[6] = 1;
        config[8] = 1;
        config[10..12].copy_from_slice(&1500_u16.to_le_bytes());
        Self {
            memory: dma.memory(),
            offered: OFFERED.bits(),
            accepted: 0,
            status: 0,
            config,
            queue_max: [256; 2],
            queues: std::array::from_fn(|_| Half::idle()),
            doorbells: [0; QUEUES],
            told_next: std::array::from_fn(|_| Vec::new()),
            manner: Manner::default(),
            told: Told::default(),
            tables_told: 0,
            early_doorbells: 0,
            unfed: None,
            resets: 0,
            interrupts: 0,
            pending: 0,
            faults: Faults::default(),
        }
    }

    /// Whether event indices were negotiated.
    pub(crate) fn event_index(&self) -> bool {
        self.accepted & Features::EVENT_IDX.bits() != 0
    }

    /// Whether it promised to use buffers in their order.
    pub(crate) fn in_order(&self) -> bool {
        self.accepted & Features::IN_ORDER.bits() != 0
    }

    /// Queue pairs that it has.
    fn max_pairs(&self) -> usize {
        usize::from(u16::from_le_bytes([self.config[8], self.config[9]])).max(1)
    }

    /// Number of the control queue: behind all pairs if several were negotiated (5.1.2).
    pub(crate) fn control_queue(&self) -> Option<usize> {
        let accepted = Features::from_bits_truncate(self.accepted);
        let several = accepted.intersects(Features::MQ | Features::RSS);
        let pairs = if several { self.max_pairs() } else { 1 };
        accepted.contains(Features::CTRL_VQ).then_some(2 * pairs)
    }

    /// Takes the next buffer of a queue.
    fn pop(&mut self, queue: usize) -> Option<Buffer> {
        let buffer = self.queues[queue].pop(self.memory)?;
        let may = self.accepted & Features::INDIRECT_DESC.bits() != 0;
        assert!(may || buffer.table.is_none(), "a table that nobody offered");
        Some(buffer)
    }

    /// Answers the commands that wait.
    fn serve_control(&mut self) {
        let Some(number) = self.control_queue() else {
            return;
        };
        if self.manner == Manner::Silent {
            return;
        }
        self.want_doorbell(number);
        while let Some(buffer) = self.pop(number) {
            self.tables_told += usize::from(buffer.table.is_some());
            let mut command = Vec::new();
            let mut answer = None;
            for part in &buffer.parts {
                if part.writable {
                    assert_eq!((part.len, answer), (1, None), "one byte for the answer");
                    answer = Some(part.address);
                    continue;
                }
                assert!(answer.is_none(), "what is written comes last");
                let start = command.len();
                command.resize(start + part.len as usize, 0);
                let memory = self.memory;
                memory
                    .read_slice(&mut command[start..], part.address)
                    .expect("valid");
            }
            let accepted = Features::from_bits_truncate(self.accepted);
            let said = match self.manner {
                Manner::Obeys => u8::from(self.told.obey(&command, accepted).is_none()),
                Manner::Answers(number) => number,
                Manner::Refuses | Manner::Silent => 1,
            };
            let answer = answer.expect("room for the answer");
            self.memory.write_obj(said, answer).expect("valid");
            self.complete(number, buffer.id, 1);
            self.want_doorbell(number);
        }
    }

    /// Bytes of the header that was negotiated.
    pub(crate) fn header_len(&self) -> usize {
        let longer = Features::VERSION_1 | Features::MRG_RXBUF;
        if self.accepted & longer.bits() == 0 {
            10
        } else {
            12
        }
    }

    /// Whether the header has to have a descriptor of its own.
    fn header_is_apart(&self) -> bool {
        let anywhere = Features::VERSION_1 | Features::ANY_LAYOUT;
        self.accepted & anywhere.bits() == 0
    }

    /// Puts a frame with an empty header into the next receive buffer. `false`: there is none.
    pub(crate) fn deliver(&mut self, frame: &[u8]) -> bool {
        let mut header = Header::default();
        if self.accepted & Features::MRG_RXBUF.bits() != 0 {
            header[10] = 1; // one buffer
        }
        self.deliver_with(header, frame)
    }

    /// The same with a header.
    pub(crate) fn deliver_with(&mut self, header: Header, frame: &[u8]) -> bool {
        self.deliver_to(RX, header, frame)
    }

    /// The same to any receive queue.
    pub(crate) fn deliver_to(&mut self, queue: usize, header: Header, frame: &[u8]) -> bool {
        let Some((head, address, room)) = self.buffer_of(queue) else {
            return false;
        };
        let bytes = [&header[..self.header_len()], frame].concat();
        assert!(
            bytes.len() <= room as usize,
            "this card keeps inside the buffers it is given"
        );
        self.memory
            .write_slice(&bytes, address)
            .expect("the driver posts valid addresses");
        self.complete(queue, head, bytes.len() as u32);
        true
    }

    /// Puts a frame into as many receive buffers as it fills, and says so. `false`, and the
    /// buffers are gone: there are too few.
    pub(crate) fn deliver_merged(&mut self, mut header: Header, frame: &[u8]) -> bool {
        let mut parts = Vec::new();
        let mut left = header.len() + frame.len();
        while left > 0 {
            let Some(part @ (_, _, len)) = self.next_receive_buffer() else {
                return false;
            };
            left = left.saturating_sub(len as usize);
            parts.push(part);
        }
        header[10..].copy_from_slice(&(parts.len() as u16).to_le_bytes());
        let bytes = [&header[..], frame].concat();
        let mut rest = &bytes[..];
        let mut used = Vec::new();
        for (id, address, len) in parts {
            let (here, behind) = rest.split_at(rest.len().min(len as usize));
            self.memory
                .write_slice(here, address)
                .expect("the driver posts valid addresses");
            used.push((id, here.len() as u32));
            rest = behind;
        }
        self.complete_all(RX, &used);
        true
    }

    /// Takes the next receive buffer without completing it: id, address, length.
    pub(crate) fn next_receive_buffer(&mut self) -> Option<(u16, GuestAddress, u32)> {
        self.buffer_of(RX)
    }

    fn buffer_of(&mut self, queue: usize) -> Option<(u16, GuestAddress, u32)> {
        let buffer = self.pop(queue)?;
        let [first, rest @ ..] = &buffer.parts[..] else {
            panic!("no descriptors: {buffer:?}");
        };
        let all_writable = buffer.parts.iter().all(|part| part.writable);
        assert!(all_writable, "a receive buffer is to be written");
        let len = match rest {
            [] if !self.header_is_apart() => first.len,
            [second] if self.header_is_apart() => {
                assert_eq!(first.len as usize, self.header_len());
                let end = GuestAddress(first.address.0 + u64::from(first.len));
                assert_eq!(end, second.address, "one buffer in two descriptors");
                first.len + second.len
            }
            _ => panic!("a receive buffer is one descriptor: {buffer:?}"),
        };
        Some((buffer.id, first.address, len))
    }

    /// Takes the next frame to send without completing it.
    pub(crate) fn fetch(&mut self) -> Option<Posted> {
        self.fetch_from(TX)
    }

    /// The same from any transmit queue.
    pub(crate) fn fetch_from(&mut self, queue: usize) -> Option<Posted> {
        let buffer = self.pop(queue)?;
        let mut bytes = Vec::new();
        let header_len = self.header_len();
        if self.header_is_apart() {
            assert_eq!(buffer.parts[0].len as usize, header_len);
        }
        for part in &buffer.parts {
            assert!(!part.writable, "a frame to send is not written");
            let start = bytes.len();
            bytes.resize(start + part.len as usize, 0);
            self.memory
                .read_slice(&mut bytes[start..], part.address)
                .expect("valid");
        }
        Some(Posted {
            head: buffer.id,
            header_len,
            bytes,
            descriptors: buffer.parts.iter().map(|part| part.len).collect(),
            tail: match buffer.table {
                Some(_) => Vec::new(),
                None => buffer.parts[1..].iter().map(|part| part.number).collect(),
            },
            table: buffer.table,
        })
    }

    /// Takes and completes every frame to send.
    pub(crate) fn transmit_all(&mut self) -> Vec<Posted> {
        let sent: Vec<Posted> = std::iter::from_fn(|| self.fetch()).collect();
        let used: Vec<_> = sent.iter().map(|posted| (posted.head, 0)).collect();
        self.complete_all(TX, &used);
        sent
    }

    /// Completes buffers, by their ids and the bytes written to each: one by one, or with one claim where
    /// it goes by the order. Then all but the last have to be full, where there is something to write.
    pub(crate) fn complete_all(&mut self, queue: usize, used: &[(u16, u32)]) {
        let Some((_, len)) = used.last() else { return };
        if !self.in_order() {
            for (id, len) in used {
                self.complete(queue, *id, *len);
            }
            return;
        }
        let ids: Vec<u16> = used.iter().map(|(id, _)| *id).collect();
        if self.queues[queue].complete_batch(self.memory, &ids, *len) {
            self.interrupts += 1;
            self.pending |= 1;
        }
    }

    /// Completes a buffer, and interrupts if the driver asked for that.
    pub(crate) fn complete(&mut self, queue: usize, head: u16, len: u32) {
        if self.queues[queue].complete(self.memory, head, len) {
            self.interrupts += 1;
            self.pending |= 1;
        }
    }

    /// Asks for a doorbell at the next entry; returns whether entries came in the meantime.
    pub(crate) fn want_doorbell(&mut self, queue: usize) -> bool {
        self.queues[queue].want_doorbell(self.memory)
    }

    /// Asks for no doorbells.
    pub(crate) fn suppress_doorbells(&mut self, queue: usize) {
        self.queues[queue].suppress_doorbells(self.memory);
    }

    /// Says that a buffer is used, as a hostile device may: any id, any length.
    pub(crate) fn forge(&mut self, queue: usize, id: u32, len: u32) {
        self.queues[queue].forge(self.memory, id, len);
    }

    /// Overwrites what the driver wrote about its buffers.
    pub(crate) fn scribble_descriptors(&mut self, queue: usize) {
        self.queues[queue].scribble_descriptors(self.memory);
    }

    /// Available entries that the device has not taken yet.
    pub(crate) fn available(&self, queue: usize) -> u16 {
        self.queues[queue].available(self.memory)
    }

    /// Split ring: writes any used index.
    pub(crate) fn forge_used_index(&mut self, queue: usize, index: u16) {
        write16(
            self.memory,
            self.queues[queue].split().used_ring() + 2,
            index,
        );
    }

    /// Split ring: the used index, as a device that keeps its contract would have it.
    pub(crate) fn used_index(&self, queue: usize) -> u16 {
        self.queues[queue].split().next_used()
    }

    /// Split ring: the id in the next used element, which was written a lap ago.
    pub(crate) fn stale_id(&self, queue: usize) -> u16 {
        let queue = self.queues[queue].split();
        let slot = u64::from(queue.next_used() % queue.size());
        read16(self.memory, queue.used_ring() + 4 + 8 * slot)
    }

    /// The guest's memory.
    pub(crate) fn memory(&self) -> &'static GuestMemoryMmap {
        self.memory
    }
}

impl Model for Card {
    type Sent = Posted;

    fn transmit_all(&mut self) -> Vec<Posted> {
        Card::transmit_all(self)
    }

    fn frame(sent: &Posted) -> &[u8] {
        sent.frame()
    }

    fn deliver(&mut self, frame: &[u8]) -> bool {
        Card::deliver(self, frame)
    }

    fn doorbells(&self) -> usize {
        self.doorbells.iter().sum()
    }
}

/// The driver's way to the card.
#[derive(Clone)]
pub(crate) struct CardTransport(pub(crate) Arc<Mutex<Card>>);

impl CardTransport {
    fn card(&self) -> MutexGuard<'_, Card> {
        self.0.lock().expect("no panic inside")
    }
}

impl Transport for CardTransport {
    fn location(&self) -> String {
        "test".into()
    }

    fn status(&self) -> Status {
        let card = self.card();
        let needs = if card.faults.needs_reset {
            Status::NEEDS_RESET.bits()
        } else {
            0
        };
        Status::from_bits_retain(if card.faults.gone {
            0xff
        } else {
            card.status | needs
        })
    }

    fn set_status(&mut self, status: Status) {
        let mut card = self.card();
        if card.faults.gone || (card.faults.reset_hangs && status.is_empty()) {
            return;
        }
        card.status = status.bits();
        if status.is_empty() {
            card.resets += 1;
            card.queues = std::array::from_fn(|_| Half::idle());
            card.told = Told::default();
            card.unfed = None;
            card.faults.needs_reset = false;
            card.pending = 0;
        }
        if card.faults.refuses_features {
            card.status &= !Status::FEATURES_OK.bits();
        }
    }

    fn device_features(&mut self) -> u64 {
        self.card().offered
    }

    fn set_driver_features(&mut self, features: u64) {
        self.card().accepted = features;
    }

    fn queue_max(&mut self, queue: u16) -> u16 {
        let card = self.card();
        match usize::from(queue) {
            // Before features are chosen, control is behind what there could be.
            number if Some(number) == card.control_queue() => CONTROL_MAX,
            number if number < 2 * card.max_pairs() => card.queue_max[number % 2],
            _ => 0,
        }
    }

    fn enable_queue(
        &mut self,
        queue: u16,
        size: u16,
        addresses: QueueAddresses,
    ) -> Result<(), DriverError> {
        let mut card = self.card();
        if card.faults.refuses_queue == Some(queue) {
            return Err(DriverError::QueueRefused { queue });
        }
        let packed = card.accepted & Features::RING_PACKED.bits() != 0;
        let kind = (packed, card.in_order());
        let half = Half::enable(card.memory, kind, size, addresses, card.event_index());
        card.queues[usize::from(queue)] = half;
        Ok(())
    }

    fn notify(&self, doorbell: Doorbell) {
        let mut card = self.card();
        let queue = doorbell.queue;
        if card.accepted & Features::NOTIFICATION_DATA.bits() != 0 {
            let next = card.queues[usize::from(queue)].next_available(card.memory);
            card.told_next[usize::from(queue)].push((doorbell.next, next));
        }
        card.doorbells[usize::from(queue)] += 1;
        let early = card.status & Status::DRIVER_OK.bits() == 0;
        card.early_doorbells += usize::from(early);
        if card.control_queue() == Some(queue.into()) {
            card.serve_control();
        } else if card.unfed.is_none() && !early {
            let used = 2 * usize::from(card.told.pairs.unwrap_or(1));
            let empty = (0..used).step_by(2).filter(|rx| card.available(*rx) == 0);
            card.unfed = Some(empty.count());
        }
    }

    fn read_config(&self, offset: usize, bytes: &mut [u8]) {
        let card = self.card();
        for (n, byte) in bytes.iter_mut().enumerate() {
            let value = card.config.get(offset + n).copied().unwrap_or(0);
            *byte = if card.faults.gone { 0xff } else { value };
        }
    }

    fn interrupts(&self) -> InterruptMode {
        InterruptMode::Line
    }

    fn acknowledge(&mut self) -> bool {
        core::mem::take(&mut self.card().pending) != 0
    }
}
