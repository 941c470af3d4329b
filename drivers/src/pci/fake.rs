//! A configuration space in memory, for tests: functions with registers, BARs that size as real
//! ones do, and lists of capabilities, well-formed or not.
//!
//! Bits that a function does not let the driver write keep their value, as on the bus. The space
//! remembers a BAR that was sized while its function decoded addresses ([`FakeSpace::careless`]).
#![forbid(unsafe_code)]

use alloc::vec::Vec;
use core::cell::{Cell, RefCell};

use pci_types::PciAddress;

use super::config::ConfigAccess;

const WORDS: usize = 64;
const COMMAND: u16 = 0x04;
const STATUS_CAPABILITIES: u32 = 1 << 20;
/// I/O, memory, bus master, parity, SERR, INTx disable.
const COMMAND_BITS: u32 = 0x0547;
const DECODE: u32 = 0b11;
const BARS: core::ops::Range<u16> = 0x10..0x28;
const POINTER: u16 = 0x34;

/// One function's 256 bytes.
#[derive(Clone, Debug)]
pub struct FakeFunction {
    address: PciAddress,
    words: [u32; WORDS],
    writable: [u32; WORDS],
    /// The byte with the pointer to the next capability.
    link: u16,
}

impl FakeFunction {
    /// An endpoint without BARs or capabilities.
    pub fn endpoint(address: PciAddress, vendor: u16, device: u16) -> Self {
        let mut words = [0; WORDS];
        words[0] = u32::from(device) << 16 | u32::from(vendor);
        let mut writable = [0; WORDS];
        writable[usize::from(COMMAND) / 4] = COMMAND_BITS;
        Self {
            address,
            words,
            writable,
            link: POINTER,
        }
    }

    /// A bridge to bus `secondary`.
    pub fn bridge(address: PciAddress, secondary: u8) -> Self {
        Self::endpoint(address, 0x8086, 0x0001)
            .word(0x08, 0x0604_0000)
            .word(0x0c, 1 << 16)
            .word(0x18, u32::from(secondary) << 8)
    }

    /// Sets the bit that says that functions 1 to 7 may exist.
    #[must_use]
    pub fn multi_function(self) -> Self {
        let header = self.words[3] | 0x80 << 16;
        self.word(0x0c, header)
    }

    /// Sets the word at `offset`.
    #[must_use]
    pub fn word(mut self, offset: u16, value: u32) -> Self {
        self.words[usize::from(offset) / 4] = value;
        self
    }

    /// Lets the driver write the bits of `mask` in the word at `offset`.
    #[must_use]
    pub fn writable(mut self, offset: u16, mask: u32) -> Self {
        self.writable[usize::from(offset) / 4] = mask;
        self
    }

    /// A 32-bit memory BAR of `size` bytes, a power of two.
    #[must_use]
    pub fn memory32(self, index: u16, address: u32, size: u32) -> Self {
        let at = 0x10 + index * 4;
        self.word(at, address).writable(at, !(size - 1))
    }

    /// A 64-bit memory BAR, in the words of `index` and the next.
    #[must_use]
    pub fn memory64(self, index: u16, address: u64, size: u64, prefetchable: bool) -> Self {
        let flags = 0b100 | u32::from(prefetchable) << 3;
        let (at, mask) = (0x10 + index * 4, !(size - 1));
        self.word(at, address as u32 | flags)
            .writable(at, mask as u32)
            .word(at + 4, (address >> 32) as u32)
            .writable(at + 4, (mask >> 32) as u32)
    }

    /// A port BAR.
    #[must_use]
    pub fn io(self, index: u16, port: u16, size: u16) -> Self {
        let at = 0x10 + index * 4;
        self.word(at, u32::from(port) | 1)
            .writable(at, u32::from(!(size - 1)))
    }

    /// Adds a capability at `offset` to the end of the list. `head` holds what follows its id and
    /// its pointer; the next words follow it.
    #[must_use]
    pub fn capability(mut self, offset: u8, id: u8, head: u16, next: &[u32]) -> Self {
        self.words[1] |= STATUS_CAPABILITIES;
        let mut this = self.point_to(offset);
        let at = usize::from(offset) / 4;
        this.words[at] = u32::from(head) << 16 | u32::from(id);
        this.words[at + 1..][..next.len()].copy_from_slice(next);
        this.link = u16::from(offset) + 1;
        this
    }

    /// Lets the list go on at `offset`, whatever is there.
    #[must_use]
    pub fn point_to(mut self, offset: u8) -> Self {
        let shift = u32::from(self.link & 3) * 8;
        let word = &mut self.words[usize::from(self.link) / 4];
        *word = *word & !(0xff << shift) | u32::from(offset) << shift;
        self
    }
}

/// All functions of a machine.
#[derive(Debug, Default)]
pub struct FakeSpace {
    functions: RefCell<Vec<FakeFunction>>,
    careless: Cell<bool>,
}

impl FakeSpace {
    /// A machine with these functions.
    pub fn new(functions: impl IntoIterator<Item = FakeFunction>) -> Self {
        Self {
            functions: RefCell::new(functions.into_iter().collect()),
            careless: Cell::new(false),
        }
    }

    /// Whether a BAR was filled with ones while its function decoded addresses.
    pub fn careless(&self) -> bool {
        self.careless.get()
    }
}

impl ConfigAccess for FakeSpace {
    fn read32(&self, address: PciAddress, offset: u16) -> u32 {
        let functions = self.functions.borrow();
        let function = functions
            .iter()
            .find(|function| function.address == address);
        let word = function.and_then(|function| function.words.get(usize::from(offset) / 4));
        word.copied().unwrap_or(u32::MAX)
    }

    fn write32(&self, address: PciAddress, offset: u16, value: u32) {
        let mut functions = self.functions.borrow_mut();
        let Some(function) = functions.iter_mut().find(|f| f.address == address) else {
            return;
        };
        if BARS.contains(&offset) && value == u32::MAX && function.words[1] & DECODE != 0 {
            self.careless.set(true);
        }
        let at = usize::from(offset) / 4;
        if let (Some(word), Some(mask)) = (function.words.get_mut(at), function.writable.get(at)) {
            *word = *word & !mask | value & mask;
        }
    }
}
