//! What a packet can carry along: data of another subsystem, or one other packet.
//!
//! An attached packet may carry foreign data but no packet: [`Leaf`] makes deeper nesting
//! inexpressible. Both are freed with the packet that carries them.
#![forbid(unsafe_code)]

use super::Packet;
use alloc::boxed::Box;
use core::fmt;

/// Data of another subsystem; its `Drop` gives it back there.
pub trait Foreign: Send + Sync {
    /// A copy, for a heavy clone of the packet; `None` if it cannot be copied now.
    fn duplicate(&self) -> Option<Box<dyn Foreign>>;
    /// The data.
    fn bytes(&self) -> &[u8];
}

/// A packet that has no packet attached.
#[derive(Debug)]
pub struct Leaf(Packet);

impl Leaf {
    /// Wraps a packet.
    ///
    /// # Errors
    /// Hands the packet back if it carries a packet itself.
    pub fn new(packet: Packet) -> Result<Self, Packet> {
        match packet.attachment() {
            Attachment::Packet(_) => Err(packet),
            _ => Ok(Self(packet)),
        }
    }
    /// The packet.
    pub fn packet(&self) -> &Packet {
        &self.0
    }
    /// The packet, free again.
    pub fn into_packet(self) -> Packet {
        self.0
    }
}

/// Something a packet carries: nothing, foreign data or a packet, never two of them.
#[derive(Default)]
pub enum Attachment {
    /// Nothing.
    #[default]
    None,
    /// Data of another subsystem.
    Foreign(Box<dyn Foreign>),
    /// A packet.
    Packet(Leaf),
}

impl Attachment {
    /// Whether there is nothing.
    pub fn is_none(&self) -> bool {
        matches!(self, Self::None)
    }
    /// Takes it out.
    pub fn take(&mut self) -> Self {
        core::mem::take(self)
    }
}

impl fmt::Debug for Attachment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => f.write_str("None"),
            Self::Foreign(data) => write!(f, "Foreign({} bytes)", data.bytes().len()),
            Self::Packet(leaf) => f.debug_tuple("Packet").field(&leaf.0).finish(),
        }
    }
}
