//! Base address registers: where a function's registers are, and how large they are.
//!
//! Sizing writes all ones and reads back which bits stuck (PCI 3.0, 6.2.5.1); the function decodes
//! nothing meanwhile, since its BARs cover all kinds of addresses then.
#![forbid(unsafe_code)]

use pci_types::CommandRegister;

use super::PciError;
use super::config::ConfigAccess;
use super::scan::PciFunction;

const FIRST: u16 = 0x10;
const IO_SPACE: u32 = 1;
const TYPE_MASK: u32 = 0b110;
const TYPE_64: u32 = 0b100;
const PREFETCHABLE: u32 = 0b1000;
const MEMORY_FLAGS: u64 = 0xf;
const IO_FLAGS: u32 = 0b11;

/// One BAR.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Bar {
    /// Memory space.
    Memory {
        /// Physical address; 0 if nobody assigned one.
        address: u64,
        /// Bytes, a power of two.
        size: u64,
        /// Reads have no side effects.
        prefetchable: bool,
    },
    /// Port space.
    Io {
        /// First port.
        port: u16,
        /// Ports.
        size: u16,
    },
}

/// The BARs of an endpoint. The upper half of a 64-bit BAR is `None`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Bars([Option<Bar>; 6]);

impl Bars {
    /// Reads and sizes all BARs of an endpoint.
    ///
    /// # Errors
    ///
    /// A BAR has a reserved type, or a size that is no power of two.
    pub fn read(access: &dyn ConfigAccess, function: &PciFunction) -> Result<Self, PciError> {
        let mut bars = [None; 6];
        if function.header != 0 {
            return Ok(Self(bars));
        }
        let command = function.command(access);
        let decode = CommandRegister::IO_ENABLE | CommandRegister::MEMORY_ENABLE;
        function.set_command(access, command.difference(decode));
        let result = read_all(access, function, &mut bars);
        function.set_command(access, command);
        result.map(|()| Self(bars))
    }

    /// The BAR at `index`.
    pub fn get(&self, index: u8) -> Option<Bar> {
        self.0.get(usize::from(index)).copied().flatten()
    }

    /// Address and size of the memory BAR at `index`.
    ///
    /// # Errors
    ///
    /// There is none, or it has no address.
    pub fn memory(&self, index: u8) -> Result<(u64, u64), PciError> {
        match self.get(index) {
            Some(Bar::Memory { address: 0, .. }) => Err(PciError::BarUnassigned { index }),
            Some(Bar::Memory { address, size, .. }) => Ok((address, size)),
            _ => Err(PciError::NoMemoryBar { index }),
        }
    }

    /// First port and number of ports of the port BAR at `index`.
    ///
    /// # Errors
    ///
    /// There is none, it has no address, or it runs past the last port.
    pub fn ports(&self, index: u8) -> Result<(u16, u16), PciError> {
        match self.get(index) {
            Some(Bar::Io { port: 0, .. }) => Err(PciError::BarUnassigned { index }),
            Some(Bar::Io { port, size }) if port.checked_add(size - 1).is_some() => {
                Ok((port, size))
            }
            Some(Bar::Io { .. }) => Err(PciError::BarMalformed { index }),
            _ => Err(PciError::NoPortBar { index }),
        }
    }
}

fn read_all(
    access: &dyn ConfigAccess,
    function: &PciFunction,
    bars: &mut [Option<Bar>; 6],
) -> Result<(), PciError> {
    let mut index = 0;
    while index < 6 {
        let word = Word {
            access,
            function,
            index,
        };
        let value = word.read();
        let wide = value & IO_SPACE == 0 && value & TYPE_MASK == TYPE_64;
        bars[usize::from(index)] = if value & IO_SPACE != 0 {
            word.io(value)
        } else {
            match value & TYPE_MASK {
                0 => word.memory32(value)?,
                TYPE_64 => word.memory64(value)?,
                _ => return Err(PciError::BarMalformed { index }),
            }
        };
        index += if wide { 2 } else { 1 };
    }
    Ok(())
}

/// One 32-bit BAR register.
struct Word<'a> {
    access: &'a dyn ConfigAccess,
    function: &'a PciFunction,
    index: u8,
}

impl Word<'_> {
    fn offset(&self) -> u16 {
        FIRST + u16::from(self.index) * 4
    }

    fn read(&self) -> u32 {
        self.access.read32(self.function.address, self.offset())
    }

    fn write(&self, value: u32) {
        self.access
            .write32(self.function.address, self.offset(), value);
    }

    /// Which address bits the function keeps: 0 means that the BAR is not there.
    fn probe(&self, value: u32) -> u32 {
        self.write(u32::MAX);
        let mask = self.read();
        self.write(value);
        mask
    }

    fn io(&self, value: u32) -> Option<Bar> {
        // The upper 16 bits may be hardwired to zero: port space on x86 ends there.
        let mask = (self.probe(value) & !IO_FLAGS) as u16;
        let size = mask & mask.wrapping_neg();
        (size != 0).then_some(Bar::Io {
            port: (value & !IO_FLAGS) as u16,
            size,
        })
    }

    fn memory32(&self, value: u32) -> Result<Option<Bar>, PciError> {
        // All ones above: a 32-bit BAR is a 64-bit one whose upper half is fixed.
        let mask = u64::from(self.probe(value));
        let mask = if mask == 0 {
            0
        } else {
            mask | !u64::from(u32::MAX)
        };
        self.memory(value.into(), mask, value)
    }

    fn memory64(&self, value: u32) -> Result<Option<Bar>, PciError> {
        if self.index == 5 {
            return Err(PciError::BarMalformed { index: self.index });
        }
        let upper = Word {
            index: self.index + 1,
            ..*self
        };
        let upper_value = upper.read();
        let mask = u64::from(self.probe(value)) | u64::from(upper.probe(upper_value)) << 32;
        self.memory(u64::from(value) | u64::from(upper_value) << 32, mask, value)
    }

    fn memory(&self, address: u64, mask: u64, flags: u32) -> Result<Option<Bar>, PciError> {
        let address = address & !MEMORY_FLAGS;
        let mask = mask & !MEMORY_FLAGS;
        if mask == 0 {
            return Ok(None);
        }
        let size = (!mask).wrapping_add(1);
        let fits = address.checked_add(size - 1).is_some();
        if !size.is_power_of_two() || !fits {
            return Err(PciError::BarMalformed { index: self.index });
        }
        Ok(Some(Bar::Memory {
            address,
            size,
            prefetchable: flags & PREFETCHABLE != 0,
        }))
    }
}
