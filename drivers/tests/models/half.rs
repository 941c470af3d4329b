//! The device's half of a queue: a split one is played by the `virtio-queue` crate, a packed one
//! by [`PackedHalf`](super::packed::PackedHalf), written from the specification's device side.

use std::sync::atomic::Ordering::{Release, SeqCst};
use std::sync::atomic::fence;

use drivers::virtio::transport::QueueAddresses;
use virtio_queue::{Queue, QueueT};
use vm_memory::{Bytes, GuestAddress, GuestMemoryMmap};

use super::packed::PackedHalf;
use super::table::Table;

const NO_INTERRUPT: u16 = 1;

/// One descriptor of a buffer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Part {
    /// Its number in the ring, or in its table.
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
    /// The table in which they are, if not in the ring.
    pub(crate) table: Option<Table>,
}

/// The device's half of a split queue.
#[derive(Debug)]
pub(crate) struct SplitHalf {
    ring: Queue,
    /// Whether event indices were negotiated.
    events: bool,
    /// The descriptor with which the next buffer begins, if `IN_ORDER` was negotiated.
    next: Option<u16>,
}

/// The device's half of a queue.
#[derive(Debug)]
pub(crate) enum Half {
    /// Of a split queue.
    Split(SplitHalf),
    /// Of a packed queue.
    Packed(PackedHalf),
}

impl Half {
    /// A queue that is not enabled.
    pub(crate) fn idle() -> Self {
        Self::Split(SplitHalf {
            ring: Queue::new(32768).expect("a power of two"),
            events: false,
            next: None,
        })
    }

    /// The queue that the driver laid out.
    pub(crate) fn enable(
        memory: &GuestMemoryMmap,
        (packed, in_order): (bool, bool),
        size: u16,
        addresses: QueueAddresses,
        events: bool,
    ) -> Self {
        if packed {
            let half = PackedHalf::new(memory, size, addresses, events, in_order);
            return Self::Packed(half);
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
        let next = in_order.then_some(0);
        Self::Split(SplitHalf { ring, events, next })
    }

    /// The next buffer that is available.
    pub(crate) fn pop(&mut self, memory: &GuestMemoryMmap) -> Option<Buffer> {
        let half = match self {
            Self::Split(half) => half,
            Self::Packed(half) => return half.pop(memory),
        };
        let chain = half.ring.pop_descriptor_chain(memory)?;
        let id = chain.head_index();
        let at = half.ring.desc_table() + 16 * u64::from(id);
        let flags = read16(memory, at + 12);
        let table = Table::of(memory, at, flags, half.ring.size().into());
        let mut number = if table.is_some() { 0 } else { id };
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
        let parts: Vec<Part> = parts.collect();
        if let Some(table) = table {
            assert_eq!(parts, table.parts(memory, false), "read in two ways");
        }
        if let Some(next) = &mut half.next {
            let numbers = match table {
                Some(_) => vec![id],
                None => parts.iter().map(|part| part.number).collect(),
            };
            for number in numbers {
                assert_eq!(number, *next, "2.7.5: descriptors in ring order");
                *next = (*next + 1) % half.ring.size();
            }
        }
        Some(Buffer { id, parts, table })
    }

    /// Gives a buffer back as used; returns whether the driver wants an interrupt for that.
    pub(crate) fn complete(&mut self, memory: &GuestMemoryMmap, id: u16, len: u32) -> bool {
        self.complete_batch(memory, &[id], len)
    }

    /// Gives buffers back as used with one claim, which names the last of them and says how much was
    /// written to it (2.7.9, 2.8.8); returns whether the driver wants an interrupt.
    pub(crate) fn complete_batch(
        &mut self,
        memory: &GuestMemoryMmap,
        ids: &[u16],
        len: u32,
    ) -> bool {
        let half = match self {
            Self::Packed(half) => return half.complete(memory, ids, len),
            Self::Split(half) => half,
        };
        let id = *ids.last().expect("a buffer");
        half.claim(memory, id.into(), len, ids.len() as u16);
        if half.events {
            fence(SeqCst);
            // 2.7.7.2: the driver wants to know when the index passes its event.
            let size = u64::from(half.ring.size());
            let event = read16(memory, half.ring.avail_ring() + 4 + 2 * size);
            let behind = half.ring.next_used().wrapping_sub(event).wrapping_sub(1);
            return usize::from(behind) < ids.len();
        }
        read16(memory, half.ring.avail_ring()) & NO_INTERRUPT == 0
    }

    /// Asks for a doorbell at the next entry; returns whether entries came in the meantime.
    pub(crate) fn want_doorbell(&mut self, memory: &GuestMemoryMmap) -> bool {
        match self {
            Self::Packed(half) => half.want_doorbell(memory),
            Self::Split(half) => half
                .ring
                .enable_notification(memory)
                .expect("the ring is there"),
        }
    }

    /// Asks for no doorbells.
    pub(crate) fn suppress_doorbells(&mut self, memory: &GuestMemoryMmap) {
        match self {
            Self::Packed(half) => half.suppress_doorbells(memory),
            Self::Split(SplitHalf {
                ring, events: true, ..
            }) => {
                let size = u64::from(ring.size());
                // As far ahead as can be: nothing passes it for half the index space.
                let far = ring.next_avail().wrapping_add(0x8000);
                write16(memory, ring.used_ring() + 4 + 8 * size, far);
            }
            Self::Split(half) => half
                .ring
                .disable_notification(memory)
                .expect("the ring is there"),
        }
    }

    /// Says that buffer `id` is used, as a hostile device may: any id, any length.
    pub(crate) fn forge(&mut self, memory: &GuestMemoryMmap, id: u32, len: u32) {
        match self {
            Self::Packed(half) => half.forge(memory, id as u16, len),
            Self::Split(half) => half.claim(memory, id, len, 1),
        }
    }

    /// Overwrites what the driver wrote about its buffers: in a split ring the whole table, in a
    /// packed one addresses and lengths.
    pub(crate) fn scribble_descriptors(&mut self, memory: &GuestMemoryMmap) {
        match self {
            Self::Packed(half) => half.scribble_descriptors(memory),
            Self::Split(SplitHalf { ring, .. }) => {
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
            Self::Split(SplitHalf { ring, .. }) => {
                read16(memory, ring.avail_ring() + 2).wrapping_sub(ring.next_avail())
            }
        }
    }

    /// Where the driver will make its next entry available: the index, or the place with its wrap counter
    /// in bit 15.
    pub(crate) fn next_available(&self, memory: &GuestMemoryMmap) -> u16 {
        match self {
            Self::Packed(half) => half.next_available(memory),
            Self::Split(SplitHalf { ring, .. }) => read16(memory, ring.avail_ring() + 2),
        }
    }

    /// The split queue.
    ///
    /// # Panics
    /// If it is a packed one.
    pub(crate) fn split(&self) -> &Queue {
        match self {
            Self::Split(half) => &half.ring,
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

impl SplitHalf {
    /// Writes a used element, and counts it as `buffers` of them.
    fn claim(&mut self, memory: &GuestMemoryMmap, id: u32, len: u32, buffers: u16) {
        let ring = &mut self.ring;
        let next = ring.next_used();
        let at = ring.used_ring() + 4 + 8 * u64::from(next % ring.size());
        memory
            .write_obj([id, len], GuestAddress(at))
            .expect("the ring is there");
        let next = next.wrapping_add(buffers);
        ring.set_next_used(next);
        memory
            .store(next, GuestAddress(ring.used_ring() + 2), Release)
            .expect("the ring is there");
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
