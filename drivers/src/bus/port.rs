//! Windows onto I/O ports.
//!
//! The kernel has the instructions ([`PortIo`]) and makes a [`PortRegion`] of the ports that a
//! device's BAR names; drivers read and write it. The invariant: every access lies inside the window
//! and is naturally aligned.

use core::fmt;

/// How many bits one access moves.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Width {
    /// 8 bits.
    Byte,
    /// 16 bits.
    Word,
    /// 32 bits.
    Double,
}

/// The processor's way to ports.
pub trait PortIo: Sync {
    /// Reads `port`; bits above `width` are zero.
    ///
    /// # Safety
    /// As promised to [`PortRegion::from_raw`] for a window that has this port.
    unsafe fn read(&self, port: u16, width: Width) -> u32;

    /// Writes the low bits of `value` to `port`.
    ///
    /// # Safety
    /// As for [`PortIo::read`].
    unsafe fn write(&self, port: u16, width: Width, value: u32);
}

/// What one access moves: `u8`, `u16` or `u32`.
pub trait PortValue: Copy {
    /// Its width.
    const WIDTH: Width;

    /// Cuts it out of the low bits.
    fn from_bits(bits: u32) -> Self;

    /// In the low bits.
    fn to_bits(self) -> u32;
}

macro_rules! port_value {
    ($type:ty, $width:ident) => {
        impl PortValue for $type {
            const WIDTH: Width = Width::$width;

            fn from_bits(bits: u32) -> Self {
                bits as Self
            }

            fn to_bits(self) -> u32 {
                self.into()
            }
        }
    };
}

port_value!(u8, Byte);
port_value!(u16, Word);
port_value!(u32, Double);

/// A range of ports that belong to one device.
#[derive(Clone, Copy)]
pub struct PortRegion {
    io: &'static dyn PortIo,
    first: u16,
    len: u16,
}

impl PortRegion {
    /// Makes a window of `len` ports from `first` on.
    ///
    /// # Safety
    /// 1. The ports belong to a device of which no access to them, of any kind, has an effect on
    ///    memory that Rust relies on, but for memory that its driver shows it.
    /// 2. Nobody else uses them.
    pub const unsafe fn from_raw(io: &'static dyn PortIo, first: u16, len: u16) -> Self {
        Self { io, first, len }
    }

    /// Ports in the window.
    #[expect(clippy::len_without_is_empty, reason = "an extent, not a collection")]
    pub const fn len(&self) -> u16 {
        self.len
    }

    /// Reads a register; `None` if it is not inside the window, or not aligned.
    pub fn read<T: PortValue>(&self, offset: usize) -> Option<T> {
        let port = self.port::<T>(offset)?;
        // SAFETY: inside the window, for which `from_raw` was promised this.
        Some(T::from_bits(unsafe { self.io.read(port, T::WIDTH) }))
    }

    /// Writes a register; `None`, and nothing is written, if it is not inside the window, or not
    /// aligned.
    pub fn write<T: PortValue>(&self, offset: usize, value: T) -> Option<()> {
        let port = self.port::<T>(offset)?;
        // SAFETY: as above.
        unsafe { self.io.write(port, T::WIDTH, value.to_bits()) };
        Some(())
    }

    fn port<T>(&self, offset: usize) -> Option<u16> {
        let end = offset.checked_add(size_of::<T>())?;
        let port = self.first.checked_add(u16::try_from(offset).ok()?)?;
        let inside = end <= usize::from(self.len);
        (inside && usize::from(port).is_multiple_of(size_of::<T>())).then_some(port)
    }
}

impl fmt::Debug for PortRegion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { first, len, .. } = self;
        write!(f, "PortRegion({len} from {first:#x})")
    }
}
