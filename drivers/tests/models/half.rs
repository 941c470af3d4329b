//! The device's half of a queue: a split one is played by the `virtio-queue` crate, a packed one
//! by [`PackedHalf`](super::packed::PackedHalf), written from the specification's device side.

use drivers::virtio::transport::QueueAddresses;
use virtio_queue::{Queue, QueueT};
use vm_memory::{Bytes, GuestAddress, GuestMemoryMmap};

use super::packed::PackedHalf;

const NO_INTERRUPT: u16 = 1;

/// One descriptor of a buffer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Part {
    /// Its number in a split ring's table.
    pub(crate) number: u16,
    /// Where the bytes are.
    pub(crate) address: GuestAddress,
    /// How many.
    pub(crate) len: u32,
    /// Whether the device may write.
    pub(crate) writable: bool,
}

/// A buffer that the driver made available.
#[derive(Clone, Debug)]
pub(crate) struct Buffer {
    /// What names it.
    pub(crate) id: u16,
    /// Its descriptors.
    pub(crate) parts: Vec<Part>,
}

/// The device's half of a queue.
#[derive(Debug)]
pub(crate) enum Half {
    /// Of a split queue, and whether event indices were negotiated.
    Split(Queue, bool),
    /// Of a packed queue.
    Packed(PackedHalf),
}

impl Half {
    /// A queue that is not enabled.
    pub(crate) fn idle() -> Self {
        Self::Split(Queue::new(32768).expect("a power of two"), false)
    }

    /// The queue that the driver laid out.
    pub(crate) fn enable(
        memory: &GuestMemoryMmap,
        packed: bool,
        size: u16,
        addresses: QueueAddresses,
        events: bool,
    ) -> Self {
        if packed {
            return Self::Packed(PackedHalf::new(memory, size, addresses, events));
        }
        let mut ring = Queue::new(32768).expect("a power of two");
        let halves = |at: u64| (Some(at as u32), Some((at >> 32) as u32));
        ring.set_size(size);
        let (low, high) = halves(addresses.descriptors.as_u64());
        ring.set_desc_table_address(low, high);
        let (low, high) = halves(addresses.driver.as_u64());
        ring.set_avail_ring_address(low, high);
        let (low, high) = halves(addresses.device.as_u64());
        ring.set_used_ring_address(low, high);
        ring.set_event_idx(events);
        ring.set_ready(true);
        assert!(
            ring.is_valid(memory),
            "the driver lays its rings out inside memory, aligned"
        );
        Self::Split(ring, events)
    }

    /// The next buffer that is available.
    pub(crate) fn pop(&mut self, memory: &GuestMemoryMmap) -> Option<Buffer> {
        let ring = match self {
            Self::Split(ring, _) => ring,
            Self::Packed(half) => return half.pop(memory),
        };
        let chain = ring.pop_descriptor_chain(memory)?;
        let id = chain.head_index();
        let mut number = id;
        let parts = chain.map(|descriptor| {
            let part = Part {
                number,
                address: descriptor.addr(),
                len: descriptor.len(),
                writable: descriptor.is_write_only(),
            };
            number = descriptor.next();
            part
        });
        let parts = parts.collect();
        Some(Buffer { id, parts })
    }

    /// Gives a buffer back as used; returns whether the driver wants an interrupt for that.
    pub(crate) fn complete(&mut self, memory: &GuestMemoryMmap, id: u16, len: u32) -> bool {
        match self {
            Self::Packed(half) => half.complete(memory, id, len),
            Self::Split(ring, events) => {
                ring.add_used(memory, id, len).expect("the ring is there");
                if *events {
                    let wanted = ring.needs_notification(memory);
                    return wanted.expect("the ring is there");
                }
                read16(memory, ring.avail_ring()) & NO_INTERRUPT == 0
            }
        }
    }

    /// Asks for a doorbell at the next entry; returns whether entries came in the meantime.
    pub(crate) fn want_doorbell(&mut self, memory: &GuestMemoryMmap) -> bool {
        match self {
            Self::Packed(half) => half.want_doorbell(memory),
            Self::Split(ring, _) => ring.enable_notification(memory).expect("the ring is there"),
        }
    }

    /// Asks for no doorbells.
    pub(crate) fn suppress_doorbells(&mut self, memory: &GuestMemoryMmap) {
        match self {
            Self::Packed(half) => half.suppress_doorbells(memory),
            Self::Split(ring, true) => {
                let size = u64::from(ring.size());
                // As far ahead as can be: nothing passes it for half the index space.
                let far = ring.next_avail().wrapping_add(0x8000);
                write16(memory, ring.used_ring() + 4 + 8 * size, far);
            }
            Self::Split(ring, false) => ring
                .disable_notification(memory)
                .expect("the ring is there"),
        }
    }

    /// Says that buffer `id` is used, as a hostile device may: any id, any length.
    pub(crate) fn forge(&mut self, memory: &GuestMemoryMmap, id: u32, len: u32) {
        match self {
            Self::Packed(half) => half.forge(memory, id as u16, len),
            Self::Split(ring, _) => {
                let next = ring.next_used();
                let at = ring.used_ring() + 4 + 8 * u64::from(next % ring.size());
                memory
                    .write_obj([id, len], GuestAddress(at))
                    .expect("the ring is there");
                ring.set_next_used(next.wrapping_add(1));
                write16(memory, ring.used_ring() + 2, next.wrapping_add(1));
            }
        }
    }

    /// Overwrites what the driver wrote about its buffers: in a split ring the whole table, in a
    /// packed one addresses and lengths.
    pub(crate) fn scribble_descriptors(&mut self, memory: &GuestMemoryMmap) {
        match self {
            Self::Packed(half) => half.scribble_descriptors(memory),
            Self::Split(ring, _) => {
                let bytes = vec![0xa5; 16 * usize::from(ring.size())];
                memory
                    .write_slice(&bytes, GuestAddress(ring.desc_table()))
                    .expect("the ring is there");
            }
        }
    }

    /// Buffers that are available and not taken yet.
    pub(crate) fn available(&self, memory: &GuestMemoryMmap) -> u16 {
        match self {
            Self::Packed(half) => half.available(memory),
            Self::Split(ring, _) => {
                read16(memory, ring.avail_ring() + 2).wrapping_sub(ring.next_avail())
            }
        }
    }

    /// The split queue.
    ///
    /// # Panics
    /// If it is a packed one.
    pub(crate) fn split(&self) -> &Queue {
        match self {
            Self::Split(ring, _) => ring,
            Self::Packed(_) => panic!("a test of split rings"),
        }
    }

    /// The packed queue.
    ///
    /// # Panics
    /// If it is a split one.
    pub(crate) fn packed(&mut self) -> &mut PackedHalf {
        match self {
            Self::Packed(half) => half,
            Self::Split(..) => panic!("a test of packed rings"),
        }
    }
}

pub(super) fn read16(memory: &GuestMemoryMmap, at: u64) -> u16 {
    memory.read_obj(GuestAddress(at)).expect("inside memory")
}

pub(super) fn write16(memory: &GuestMemoryMmap, at: u64, value: u16) {
    memory
        .write_obj(value, GuestAddress(at))
        .expect("inside memory");
}
