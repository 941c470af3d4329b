//! The way to a card's registers: one trait, so that the driver runs on a model of a card as well.
//!
//! [`Window`] is the card's memory BAR. The invariant: what a [`Register`] names lies inside the
//! window, since both are bounded by [`WINDOW`].
#![forbid(unsafe_code)]

use super::registers::{Contents, Register, WINDOW};
use crate::bus::mmio::{MmioError, MmioRegion};

/// Reads and writes 32-bit registers. Accesses happen in program order, each once.
pub trait RegisterBus: Send {
    /// Reads the register at `offset`. What is not there reads as all ones.
    fn read32(&self, offset: u16) -> u32;

    /// Writes the register at `offset`.
    fn write32(&self, offset: u16, value: u32);
}

/// Typed access, for every bus.
pub trait Typed: RegisterBus {
    /// Reads a register.
    fn get<T: Contents>(&self, register: Register<T>) -> T {
        T::from_word(self.read32(register.offset()))
    }

    /// Writes a register.
    fn set<T: Contents>(&self, register: Register<T>, contents: T) {
        self.write32(register.offset(), contents.to_word());
    }

    /// Writes back what `change` makes of a register.
    fn update<T: Contents>(&self, register: Register<T>, change: impl FnOnce(T) -> T) {
        self.set(register, change(self.get(register)));
    }
}

impl<B: RegisterBus + ?Sized> Typed for B {}

/// Registers in a memory BAR.
#[derive(Debug)]
pub struct Window(MmioRegion);

impl Window {
    /// Takes the first bytes of a mapped BAR.
    ///
    /// # Errors
    /// The mapping is shorter than the registers.
    pub fn new(bar: &MmioRegion) -> Result<Self, MmioError> {
        Ok(Self(bar.sub(0, WINDOW.into())?))
    }
}

impl RegisterBus for Window {
    fn read32(&self, offset: u16) -> u32 {
        self.0.read(offset.into()).unwrap_or(u32::MAX)
    }

    fn write32(&self, offset: u16, value: u32) {
        // Outside the window there is nothing to write to; no register lies there.
        let _ = self.0.write(offset.into(), value);
    }
}
