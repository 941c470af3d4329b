//! A table of descriptors, as the device reads it (virtio 1.2, 2.7.5.3 and 2.8.7), with a look at all that the
//! specification asks of the driver that wrote it.

use vm_memory::{Bytes, GuestAddress, GuestMemoryMmap};

use super::half::{Part, read16};

const NEXT: u16 = 1;
const WRITE: u16 = 2;
/// Of a descriptor that refers to a table.
pub(super) const INDIRECT: u16 = 4;

/// Where a table is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Table {
    /// Its first byte.
    pub(crate) address: GuestAddress,
    /// Its bytes.
    pub(crate) len: u32,
}

impl Table {
    /// The table to which the descriptor at `at` refers, whose flags are `flags`, in a ring of `size`.
    pub(super) fn of(memory: &GuestMemoryMmap, at: u64, flags: u16, size: u64) -> Option<Self> {
        if flags & INDIRECT == 0 {
            return None;
        }
        assert_eq!(flags & NEXT, 0, "2.7.5.3.1: a table ends the chain");
        let read = |offset| memory.read_obj::<u32>(GuestAddress(at + offset));
        let [low, high, len] = [0, 4, 8].map(|offset| read(offset).expect("inside memory"));
        assert!(len > 0 && len.is_multiple_of(16), "{len} bytes of table");
        // DPDK's back end takes fewer than the ring has.
        let entries = u64::from(len / 16);
        assert!(entries < size, "2.7.5.3.1, 2.8.17: {entries} in {size}");
        Some(Self {
            address: GuestAddress(u64::from(high) << 32 | u64::from(low)),
            len,
        })
    }

    /// What is in it: with numbers of its own.
    pub(super) fn parts(self, memory: &GuestMemoryMmap, packed: bool) -> Vec<Part> {
        let count = (self.len / 16) as u16;
        let part = |number: u16| {
            let at = self.address.0 + 16 * u64::from(number);
            let flags = read16(memory, at + if packed { 14 } else { 12 });
            if packed {
                assert_eq!(flags & !WRITE, 0, "2.8.19: no other flags in a table");
            } else {
                let last = number + 1 == count;
                let (more, next) = if last { (0, 0) } else { (NEXT, number + 1) };
                assert_eq!(flags & !WRITE, more, "2.7.5.3");
                assert_eq!(read16(memory, at + 14), next, "2.7.5.3.1: in order");
            }
            Part {
                number,
                address: GuestAddress(memory.read_obj(GuestAddress(at)).expect("inside memory")),
                len: memory
                    .read_obj(GuestAddress(at + 8))
                    .expect("inside memory"),
                writable: flags & WRITE != 0,
            }
        };
        let parts: Vec<Part> = (0..count).map(part).collect();
        assert!(parts.iter().all(|part| part.len > 0), "{parts:?}");
        let sorted = parts.is_sorted_by_key(|part| part.writable);
        assert!(sorted, "2.7.4.2: what is written comes last");
        parts
    }

    /// Overwrites it, as a device may that is done with it or that lies.
    pub(crate) fn scribble(self, memory: &GuestMemoryMmap) {
        let bytes = vec![0xa5; self.len as usize];
        memory
            .write_slice(&bytes, self.address)
            .expect("inside memory");
    }
}
