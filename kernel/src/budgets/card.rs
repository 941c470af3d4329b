//! A virtio network card made of memory: registers for the driver, and the device's half of both
//! rings for the budgets.
//!
//! [`card`] makes the two. [`Registers`] is a [`Transport`], so the driver is the very one that is
//! shipped, and its rings and buffers lie where they always do. [`Card`] plays the device *between*
//! two counts, so what it does costs nothing. It trusts the driver, whose rings are in the same image.

use alloc::boxed::Box;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicU8, AtomicU64, Ordering::Relaxed};

use drivers::DriverError;
use drivers::net::{InterruptMode, MacAddr};
use drivers::virtio::transport::{Doorbell, QueueAddresses, Transport};
use drivers::virtio::{Features, Status};
use spin::Mutex;

use crate::mem;

/// Bytes of the header in front of a frame (5.1.6).
const HEADER: usize = 12;
/// `flags`: the checksum is partial.
const NEEDS_CSUM: u8 = 1;
/// `gso_type`: TCP over IPv4.
const GSO_TCPV4: u8 = 1;
/// Most entries of a ring, as QEMU has them.
const RING: u16 = 256;
/// A descriptor's flag: the chain goes on.
const NEXT: u16 = 1;
/// Bytes of a sent frame that are kept: all its headers.
const KEPT: usize = 128;

/// What driver and device share besides memory.
struct Shared {
    mac: MacAddr,
    offers: Features,
    accepted: AtomicU64,
    status: AtomicU8,
    queues: Mutex<[Option<QueueAddresses>; 2]>,
}

/// The card as the driver sees it.
pub(super) struct Registers(Arc<Shared>);

/// The card as its wire sees it.
pub(super) struct Card {
    shared: Arc<Shared>,
    rx: Ring,
    tx: Ring,
}

/// A frame that the driver sent.
pub(super) struct Sent {
    /// Its first bytes.
    pub head: Vec<u8>,
}

/// A card that offers `offers`, and its registers.
pub(super) fn card(mac: MacAddr, offers: Features) -> (Card, Box<dyn Transport>) {
    let shared = Arc::new(Shared {
        mac,
        offers: offers | Features::MAC | Features::STATUS | Features::VERSION_1,
        accepted: AtomicU64::new(0),
        status: AtomicU8::new(0),
        queues: Mutex::default(),
    });
    let card = Card {
        shared: shared.clone(),
        rx: Ring::new(0),
        tx: Ring::new(1),
    };
    (card, Box::new(Registers(shared)))
}

impl Transport for Registers {
    fn location(&self) -> String {
        String::from("memory")
    }

    fn status(&self) -> Status {
        Status::from_bits_retain(self.0.status.load(Relaxed))
    }

    fn set_status(&mut self, status: Status) {
        self.0.status.store(status.bits(), Relaxed);
    }

    fn device_features(&mut self) -> u64 {
        self.0.offers.bits()
    }

    fn set_driver_features(&mut self, features: u64) {
        self.0.accepted.store(features, Relaxed);
    }

    fn queue_max(&mut self, queue: u16) -> u16 {
        if queue < 2 { RING } else { 0 }
    }

    fn enable_queue(
        &mut self,
        queue: u16,
        size: u16,
        addresses: QueueAddresses,
    ) -> Result<(), DriverError> {
        assert_eq!(size, RING, "the driver takes the whole ring");
        self.0.queues.lock()[usize::from(queue)] = Some(addresses);
        Ok(())
    }

    fn notify(&self, _: Doorbell) {}

    fn read_config(&self, offset: usize, bytes: &mut [u8]) {
        // Hardware address and link status (5.1.4).
        let mut config = [0; 8];
        config[..6].copy_from_slice(&self.0.mac.0);
        config[6] = 1;
        for (n, byte) in bytes.iter_mut().enumerate() {
            *byte = config.get(offset + n).copied().unwrap_or(0);
        }
    }

    fn interrupts(&self) -> InterruptMode {
        InterruptMode::MsiX(1)
    }

    fn acknowledge(&mut self) -> bool {
        false
    }
}

impl Card {
    /// Puts `frame` into the receive ring; `segment` is the payload of each of the segments that it
    /// was merged of, if it was.
    ///
    /// # Panics
    /// If the ring has no room for it: the driver was to refill it.
    pub(super) fn receive(&mut self, frame: &[u8], segment: Option<u16>) {
        let mut bytes = self.header(frame, segment).to_vec();
        bytes.extend_from_slice(frame);
        let ring = &mut self.rx;
        let at = ring.find(&self.shared);
        let (mut left, mut parts, mut first) = (&bytes[..], 0_u16, None);
        while !left.is_empty() {
            let head = ring.next(&at).expect("a receive buffer");
            let (address, len, _) = ring.descriptor(&at, head);
            let (part, rest) = left.split_at(left.len().min(len));
            write(address, part);
            ring.complete(&at, head, part.len());
            first.get_or_insert(address);
            (left, parts) = (rest, parts + 1);
        }
        if let Some(first) = first {
            write(first + 10, &parts.to_le_bytes());
        }
        ring.publish(&at);
    }

    /// Takes every frame that the driver sent.
    pub(super) fn sent(&mut self) -> Vec<Sent> {
        let ring = &mut self.tx;
        let at = ring.find(&self.shared);
        let mut all = Vec::new();
        while let Some(head) = ring.next(&at) {
            // Header and frame are one descriptor.
            let (address, len, flags) = ring.descriptor(&at, head);
            assert_eq!(flags & NEXT, 0, "one buffer a frame");
            let mut bytes = alloc::vec![0; (len - HEADER).min(KEPT)];
            read(address + HEADER as u64, &mut bytes);
            all.push(Sent { head: bytes });
            ring.complete(&at, head, 0);
        }
        ring.publish(&at);
        all
    }

    /// What Linux's tap says of a frame of the host's own: its checksum is partial, if the guest
    /// takes such.
    fn header(&self, frame: &[u8], segment: Option<u16>) -> [u8; HEADER] {
        let mut header = [0; HEADER];
        let accepted = Features::from_bits_retain(self.shared.accepted.load(Relaxed));
        let checksum_at = match frame.get(23) {
            Some(6) if frame[12..14] == [8, 0] => Some(16_u16),
            Some(17) if frame[12..14] == [8, 0] => Some(6),
            _ => None,
        };
        if let Some(offset) = checksum_at
            && accepted.contains(Features::GUEST_CSUM)
        {
            header[0] = NEEDS_CSUM;
            header[6..8].copy_from_slice(&34_u16.to_le_bytes());
            header[8..10].copy_from_slice(&offset.to_le_bytes());
        }
        if let Some(segment) = segment {
            header[1] = GSO_TCPV4;
            header[2..4].copy_from_slice(&54_u16.to_le_bytes());
            header[4..6].copy_from_slice(&segment.to_le_bytes());
        }
        header
    }
}

/// The device's half of a split ring (2.7).
struct Ring {
    index: usize,
    /// Next entry of the available ring.
    seen: u16,
    /// Next element of the used ring.
    used: u16,
}

impl Ring {
    fn new(index: usize) -> Self {
        Self {
            index,
            seen: 0,
            used: 0,
        }
    }

    fn find(&self, shared: &Shared) -> QueueAddresses {
        shared.queues.lock()[self.index].expect("the driver has enabled its rings")
    }

    /// The next descriptor that the driver offers.
    fn next(&mut self, at: &QueueAddresses) -> Option<u16> {
        let available = at.driver.as_u64();
        if read_u16(available + 2) == self.seen {
            return None;
        }
        let entry = read_u16(available + 4 + 2 * u64::from(self.seen % RING));
        self.seen = self.seen.wrapping_add(1);
        Some(entry)
    }

    /// Address, length and flags.
    fn descriptor(&self, at: &QueueAddresses, id: u16) -> (u64, usize, u16) {
        let entry = at.descriptors.as_u64() + 16 * u64::from(id);
        let (mut address, mut len) = ([0; 8], [0; 4]);
        read(entry, &mut address);
        read(entry + 8, &mut len);
        let len = u32::from_le_bytes(len) as usize;
        (u64::from_le_bytes(address), len, read_u16(entry + 12))
    }

    fn complete(&mut self, at: &QueueAddresses, id: u16, len: usize) {
        let element = at.device.as_u64() + 4 + 8 * u64::from(self.used % RING);
        write(element, &u32::from(id).to_le_bytes());
        write(element + 4, &(len as u32).to_le_bytes());
        self.used = self.used.wrapping_add(1);
    }

    /// Shows what was completed, and asks for a doorbell at the next offer (2.7.10).
    fn publish(&mut self, at: &QueueAddresses) {
        let used = at.device.as_u64();
        write(used + 2, &self.used.to_le_bytes());
        let event = used + 4 + 8 * u64::from(RING);
        write(event, &self.seen.to_le_bytes());
    }
}

fn read_u16(at: u64) -> u16 {
    let mut bytes = [0; 2];
    read(at, &mut bytes);
    u16::from_le_bytes(bytes)
}

/// Reads what the driver shares at this address.
fn read(at: u64, bytes: &mut [u8]) {
    let from = mem::direct(at);
    for (n, byte) in bytes.iter_mut().enumerate() {
        // SAFETY: the address comes from the driver's rings, or is one of these: memory of this
        // image that it lends to its device, with no reference to it until it is completed.
        *byte = unsafe { from.add(n).read_volatile() };
    }
}

/// Writes where the driver lets its device write.
fn write(at: u64, bytes: &[u8]) {
    let to = mem::direct(at);
    for (n, byte) in bytes.iter().enumerate() {
        // SAFETY: as in `read`.
        unsafe { to.add(n).write_volatile(*byte) };
    }
}
