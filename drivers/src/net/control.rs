//! What the stack may ask of a card besides moving packets: its address, what it lets through, how
//! often it interrupts.
//!
//! These are requests on rare occasions, not verbs of the packet path: they may take memory from
//! the heap, and wait for the card for a bounded time.
#![forbid(unsafe_code)]

use alloc::vec::Vec;
use core::fmt;

use super::MacAddr;
use crate::error::DeviceFault;

/// Which frames a card is to hand over besides those for its own address.
///
/// A card may hand over more, as one whose tables are full does: whoever receives frames looks at
/// their addresses all the same.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RxFilter {
    /// All frames, whoever they are for.
    pub promiscuous: bool,
    /// All frames for groups.
    pub all_multicast: bool,
    /// Frames for everybody.
    pub broadcast: bool,
    /// Further stations.
    pub stations: Vec<MacAddr>,
    /// Groups.
    pub groups: Vec<MacAddr>,
}

impl Default for RxFilter {
    /// Our own address and broadcasts, as stations do.
    fn default() -> Self {
        Self {
            promiscuous: false,
            all_multicast: false,
            broadcast: true,
            stations: Vec::new(),
            groups: Vec::new(),
        }
    }
}

/// The number of a virtual LAN (IEEE 802.1Q).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct VlanId(u16);

impl VlanId {
    /// A number from 0, which is that of frames with a priority alone, to 4094.
    pub const fn new(id: u16) -> Option<Self> {
        if id < 4095 { Some(Self(id)) } else { None }
    }

    /// The number.
    pub const fn get(self) -> u16 {
        self.0
    }
}

/// How long a card may gather events before it interrupts.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Moderation {
    /// Microseconds from the first event at most; 0 does not wait.
    pub max_usecs: u32,
    /// Packets at most; 0 does not count.
    pub max_packets: u32,
}

/// Why a card does not do what was asked of it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ControlError {
    /// The card, or its driver, cannot do this.
    Unsupported(&'static str),
    /// The card can, and would not.
    Refused(&'static str),
    /// No packet was free to carry the request. A later attempt may succeed.
    NoBuffer,
    /// The card is broken. Where it could have done this, it will be told after its reset.
    Broken(DeviceFault),
}

impl fmt::Display for ControlError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unsupported(what) => write!(f, "the card does not support {what}"),
            Self::Refused(what) => write!(f, "the card refuses {what}"),
            Self::NoBuffer => f.write_str("no packet is free to ask the card with"),
            Self::Broken(fault) => write!(f, "the card is broken: {fault}"),
        }
    }
}

impl core::error::Error for ControlError {}
