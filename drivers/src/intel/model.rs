//! The cards that are driven here, by PCI id, and the family that each belongs to.
//!
//! The kernel asks [`model`] of each function it finds; everything else here asks only for the
//! [`Family`].
#![forbid(unsafe_code)]

use crate::pci::PciFunction;

/// Intel's PCI vendor id.
pub const VENDOR: u16 = 0x8086;

/// Cards with one programming model.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Family {
    /// PCI and PCI-X: 82540, 82545 and 82546, with copper ports.
    E8254x,
    /// PCI Express: 82574L.
    E82574,
}

impl Family {
    /// Queue pairs that it has.
    pub fn pairs(self) -> u16 {
        match self {
            Self::E8254x => 1,
            Self::E82574 => 2,
        }
    }
}

/// One kind of card.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Model {
    /// PCI device id.
    pub device: u16,
    /// How it is driven.
    pub family: Family,
    /// The name to show.
    pub name: &'static str,
}

const fn card(device: u16, family: Family, name: &'static str) -> Model {
    Model {
        device,
        family,
        name,
    }
}

/// Every card that is driven.
pub const MODELS: [Model; 12] = [
    card(0x100e, Family::E8254x, "e1000 (82540EM)"),
    card(0x1015, Family::E8254x, "e1000 (82540EM)"),
    card(0x1016, Family::E8254x, "e1000 (82540EP)"),
    card(0x1017, Family::E8254x, "e1000 (82540EP)"),
    card(0x101e, Family::E8254x, "e1000 (82540EP)"),
    card(0x100f, Family::E8254x, "e1000 (82545EM)"),
    card(0x1026, Family::E8254x, "e1000 (82545GM)"),
    card(0x1010, Family::E8254x, "e1000 (82546EB)"),
    card(0x101d, Family::E8254x, "e1000 (82546EB)"),
    card(0x1079, Family::E8254x, "e1000 (82546GB)"),
    card(0x10d3, Family::E82574, "e1000e (82574L)"),
    card(0x10f6, Family::E82574, "e1000e (82574L)"),
];

/// The model of a function; `None` if it is not driven here.
pub fn model(function: &PciFunction) -> Option<Model> {
    let ours = |known: &&Model| function.vendor == VENDOR && known.device == function.device;
    MODELS.iter().find(ours).copied()
}
