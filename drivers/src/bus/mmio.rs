//! Windows onto memory-mapped registers.
//!
//! The kernel maps device memory and makes an [`MmioRegion`]; drivers cut it with
//! [`MmioRegion::sub`] and read it through it or through typed [`Registers`]. The invariant: every
//! access lies inside the window and is naturally aligned, and is volatile, so that the compiler
//! neither repeats, nor joins, nor drops it. Windows are never unmapped.

use core::fmt;
use core::marker::PhantomData;
use core::ptr::NonNull;

use volatile::VolatilePtr;
use zerocopy::{FromBytes, IntoBytes};

// Registers of every device driven here are little-endian and are read as native words.
const _: () = assert!(cfg!(target_endian = "little"));

/// An access outside a window, or not aligned to its size.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct MmioError {
    /// Offset of the access in its window.
    pub offset: usize,
    /// Bytes to access.
    pub len: usize,
    /// Bytes in the window.
    pub window: usize,
}

impl fmt::Display for MmioError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            offset,
            len,
            window,
        } = self;
        write!(
            f,
            "register access of {len} bytes at {offset:#x} in a window of {window:#x}"
        )
    }
}

impl core::error::Error for MmioError {}

/// A mapped range of device memory.
#[derive(Clone, Debug)]
pub struct MmioRegion {
    base: NonNull<u8>,
    len: usize,
}

// SAFETY: device registers are no memory of this program's; volatile accesses from several cores
// are put in order by the bus, and what they mean is for the driver to arrange.
unsafe impl Send for MmioRegion {}
// SAFETY: as above.
unsafe impl Sync for MmioRegion {}

impl MmioRegion {
    /// Makes a window of a mapping.
    ///
    /// # Safety
    ///
    /// 1. `base` is valid for volatile reads and writes of `len` bytes for the rest of the program.
    /// 2. Rust code reaches these bytes only through windows like this one.
    pub const unsafe fn from_raw(base: NonNull<u8>, len: usize) -> Self {
        Self { base, len }
    }

    /// Bytes in the window.
    #[expect(clippy::len_without_is_empty, reason = "an extent, not a collection")]
    pub const fn len(&self) -> usize {
        self.len
    }

    /// A part of the window.
    ///
    /// # Errors
    ///
    /// The part is not inside the window.
    pub fn sub(&self, offset: usize, len: usize) -> Result<Self, MmioError> {
        if offset.checked_add(len).is_none_or(|end| end > self.len) {
            return Err(MmioError {
                offset,
                len,
                window: self.len,
            });
        }
        Ok(Self {
            // SAFETY: `offset` is inside the mapping.
            base: unsafe { self.base.add(offset) },
            len,
        })
    }

    /// A block of registers at `offset`, checked once and then read and written freely.
    ///
    /// # Errors
    ///
    /// The block is not inside the window, or not aligned.
    pub fn registers<T: RegisterBlock>(&self, offset: usize) -> Result<Registers<T>, MmioError> {
        let part = self.sub(offset, size_of::<T>())?;
        let base = part.base.cast::<T>();
        if !base.is_aligned() {
            return Err(MmioError {
                offset,
                len: size_of::<T>(),
                window: self.len,
            });
        }
        Ok(Registers {
            base,
            _registers: PhantomData,
        })
    }

    /// Reads one register.
    ///
    /// # Errors
    ///
    /// It is not inside the window, or not aligned.
    pub fn read<T: RegisterBlock>(&self, offset: usize) -> Result<T, MmioError> {
        Ok(self.registers::<T>(offset)?.ptr().read())
    }

    /// Writes one register.
    ///
    /// # Errors
    ///
    /// It is not inside the window, or not aligned.
    pub fn write<T: RegisterBlock>(&self, offset: usize, value: T) -> Result<(), MmioError> {
        self.registers::<T>(offset)?.ptr().write(value);
        Ok(())
    }
}

/// A register, or a `repr(C)` struct of registers: any bits are a value, and there is no padding.
pub trait RegisterBlock: FromBytes + IntoBytes + Copy {}
impl<T: FromBytes + IntoBytes + Copy> RegisterBlock for T {}

/// A typed block of registers inside a window.
#[derive(Debug)]
pub struct Registers<T> {
    base: NonNull<T>,
    _registers: PhantomData<fn() -> T>,
}

// SAFETY: as for `MmioRegion`.
unsafe impl<T> Send for Registers<T> {}
// SAFETY: as for `MmioRegion`.
unsafe impl<T> Sync for Registers<T> {}

impl<T: RegisterBlock> Registers<T> {
    /// Volatile access to the block; `map_field!`-style accessors come from
    /// `#[derive(VolatileFieldAccess)]`.
    pub fn ptr(&self) -> VolatilePtr<'_, T> {
        // SAFETY: `MmioRegion::registers` checked bounds and alignment, the mapping is permanent,
        // and every bit pattern is a `T`.
        unsafe { VolatilePtr::new(self.base) }
    }
}
