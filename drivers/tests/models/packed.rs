//! The device's half of a packed queue (virtio 1.2, 2.8), for tests. It counts descriptors from
//! the start of the queue, in one number that never wraps; slot and wrap counter follow from it.

use drivers::virtio::transport::QueueAddresses;
use vm_memory::{Bytes, GuestAddress, GuestMemoryMmap};

use super::half::{Buffer, Part, read16, write16};
use super::table::{INDIRECT, Table};

const NEXT: u16 = 1;
const WRITE: u16 = 2;
const AVAIL: u16 = 0x80;
const USED: u16 = 0x8000;

/// The device's half of a packed queue.
#[derive(Debug)]
pub(crate) struct PackedHalf {
    ring: u64,
    driver_event: u64,
    device_event: u64,
    size: u64,
    events: bool,
    /// Whether `IN_ORDER` was negotiated.
    in_order: bool,
    /// Descriptors taken so far.
    taken: u64,
    /// Descriptors used so far, those that a used one stands for included.
    used: u64,
    /// Ids that were taken and not completed, in order, and descriptors of each.
    held: Vec<(u16, u64)>,
}

impl PackedHalf {
    /// The queue that the driver laid out.
    pub(super) fn new(
        memory: &GuestMemoryMmap,
        size: u16,
        addresses: QueueAddresses,
        events: bool,
        in_order: bool,
    ) -> Self {
        let half = Self {
            ring: addresses.descriptors.as_u64(),
            driver_event: addresses.driver.as_u64(),
            device_event: addresses.device.as_u64(),
            size: size.into(),
            events,
            in_order,
            taken: 0,
            used: 0,
            held: Vec::new(),
        };
        assert!((1..=32768).contains(&size));
        assert!(half.ring.is_multiple_of(16), "2.8.10.1: aligned to 16");
        assert!(half.driver_event.is_multiple_of(4) && half.device_event.is_multiple_of(4));
        for (at, len) in [(half.ring, 16 * size as usize), (half.device_event, 4)] {
            let mut bytes = vec![0; len];
            memory
                .read_slice(&mut bytes, GuestAddress(at))
                .expect("inside memory");
            assert!(bytes.iter().all(|byte| *byte == 0), "a fresh ring is zero");
        }
        half
    }

    fn at(&self, count: u64) -> u64 {
        self.ring + 16 * (count % self.size)
    }

    /// The wrap counter: 1 on the first lap.
    fn wrap(&self, count: u64) -> bool {
        (count / self.size).is_multiple_of(2)
    }

    fn flags(&self, memory: &GuestMemoryMmap, count: u64) -> u16 {
        read16(memory, self.at(count) + 14)
    }

    fn is_available(&self, memory: &GuestMemoryMmap, count: u64) -> bool {
        let flags = self.flags(memory, count);
        let (avail, used) = (flags & AVAIL != 0, flags & USED != 0);
        avail == self.wrap(count) && used != self.wrap(count)
    }

    pub(super) fn pop(&mut self, memory: &GuestMemoryMmap) -> Option<Buffer> {
        if !self.is_available(memory, self.taken) {
            return None;
        }
        let mut parts = Vec::new();
        let first = self.taken;
        let head = self.flags(memory, first);
        let table = Table::of(memory, self.at(first), head, self.size);
        loop {
            let at = self.at(self.taken);
            let flags = self.flags(memory, self.taken);
            assert!(
                self.is_available(memory, self.taken),
                "the whole chain is made available with its head"
            );
            assert!((parts.len() as u64) < self.size, "a chain without an end");
            assert!(
                parts.is_empty() || flags & INDIRECT == 0,
                "2.8.19: a table in a chain"
            );
            let read = |offset| memory.read_obj::<u32>(GuestAddress(at + offset));
            let low = read(0).expect("inside memory");
            let high = read(4).expect("inside memory");
            parts.push(Part {
                number: (self.taken % self.size) as u16,
                address: GuestAddress(u64::from(high) << 32 | u64::from(low)),
                len: read(8).expect("inside memory"),
                writable: flags & WRITE != 0,
            });
            self.taken += 1;
            if flags & NEXT == 0 {
                let id = read16(memory, at + 12);
                assert!(u64::from(id) < self.size);
                let in_use = self.held.iter().any(|(held, _)| *held == id);
                assert!(!in_use, "id {id} is in use");
                self.held.push((id, self.taken - first));
                let inside = table.map(|table| table.parts(memory, true));
                let parts = inside.unwrap_or(parts);
                return Some(Buffer { id, parts, table });
            }
        }
    }

    /// Writes a used descriptor for all of `ids`, which names the last; `true` if the driver wants to
    /// know.
    pub(super) fn complete(&mut self, memory: &GuestMemoryMmap, ids: &[u16], len: u32) -> bool {
        let mut descriptors = 0;
        for id in ids {
            let at = self.held.iter().position(|(held, _)| held == id);
            descriptors += self.held.remove(at.expect("a buffer that was taken")).1;
        }
        let id = *ids.last().expect("a buffer");
        self.write_used(memory, id, len);
        let before = self.used;
        self.used += descriptors;
        match read16(memory, self.driver_event + 2) {
            0 => true,
            1 => false,
            2 => {
                assert!(self.events, "places count with event indices only");
                let event = read16(memory, self.driver_event);
                (before..self.used).any(|count| self.place(count) == event)
            }
            flags => panic!("the driver's event flags are {flags}"),
        }
    }

    fn place(&self, count: u64) -> u16 {
        (count % self.size) as u16 | u16::from(self.wrap(count)) << 15
    }

    fn write_used(&self, memory: &GuestMemoryMmap, id: u16, len: u32) {
        let at = self.at(self.used);
        memory
            .write_obj(len, GuestAddress(at + 8))
            .expect("inside memory");
        write16(memory, at + 12, id);
        let turn = if self.wrap(self.used) {
            AVAIL | USED
        } else {
            0
        };
        write16(memory, at + 14, turn);
    }

    /// Says that `id` is used, whatever it is.
    pub(super) fn forge(&mut self, memory: &GuestMemoryMmap, id: u16, len: u32) {
        self.write_used(memory, id, len);
        let Some(at) = self.held.iter().position(|(held, _)| *held == id) else {
            self.used += 1;
            return;
        };
        // By the order, those before it are used with it.
        let first = if self.in_order { 0 } else { at };
        let used = self.held.drain(first..=at);
        self.used += used.map(|(_, descriptors)| descriptors).sum::<u64>();
    }

    pub(super) fn want_doorbell(&self, memory: &GuestMemoryMmap) -> bool {
        write16(memory, self.device_event, self.place(self.taken));
        let flags = if self.events { 2 } else { 0 };
        write16(memory, self.device_event + 2, flags);
        self.is_available(memory, self.taken)
    }

    pub(super) fn suppress_doorbells(&self, memory: &GuestMemoryMmap) {
        write16(memory, self.device_event + 2, 1);
    }

    /// Asks for doorbells in any words.
    pub(crate) fn forge_event(&self, memory: &GuestMemoryMmap, place: u16, flags: u16) {
        write16(memory, self.device_event, place);
        write16(memory, self.device_event + 2, flags);
    }

    /// Writes the flags of the descriptor that would be used next, `ahead` of it.
    pub(crate) fn forge_flags(&self, memory: &GuestMemoryMmap, ahead: u64, flags: u16) {
        write16(memory, self.at(self.used + ahead) + 14, flags);
    }

    /// The flags there.
    pub(crate) fn flags_ahead(&self, memory: &GuestMemoryMmap, ahead: u64) -> u16 {
        self.flags(memory, self.used + ahead)
    }

    pub(super) fn scribble_descriptors(&self, memory: &GuestMemoryMmap) {
        for slot in 0..self.size {
            memory
                .write_slice(&[0xa5; 12], GuestAddress(self.ring + 16 * slot))
                .expect("inside memory");
        }
    }

    /// The first place that is not available.
    pub(super) fn next_available(&self, memory: &GuestMemoryMmap) -> u16 {
        let all = self.taken..self.taken + self.size;
        let next = all.clone().find(|count| !self.is_available(memory, *count));
        self.place(next.unwrap_or(all.end))
    }

    pub(super) fn available(&self, memory: &GuestMemoryMmap) -> u16 {
        let mut buffers = 0;
        for count in self.taken..self.taken + self.size {
            if !self.is_available(memory, count) {
                break;
            }
            buffers += u16::from(self.flags(memory, count) & NEXT == 0);
        }
        buffers
    }
}
