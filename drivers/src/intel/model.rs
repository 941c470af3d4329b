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
    /// The first of the igb family: 82576.
    E82576,
    /// The same where the PHY's power and Energy-Efficient Ethernet are the driver's: 82580, I350.
    I350,
    /// The same with the PHY's registers in pages: I210, I211.
    I210,
}

impl Family {
    /// Whether it is of the igb family: advanced descriptors, registers for each queue, and vectors
    /// that are masked and moderated one by one.
    pub const fn is_igb(self) -> bool {
        matches!(self, Self::E82576 | Self::I350 | Self::I210)
    }

    /// Whether it is on PCI Express.
    pub const fn is_express(self) -> bool {
        !matches!(self, Self::E8254x)
    }

    /// Queue pairs that are used of those that it has.
    pub const fn pairs(self) -> u16 {
        if self.is_express() { 2 } else { 1 }
    }

    /// MSI-X vectors for `pairs` pairs: one for each, or for each of their rings.
    pub const fn vectors(self, pairs: u16) -> u16 {
        if self.is_igb() { 2 * pairs } else { pairs }
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
pub const MODELS: [Model; 24] = [
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
    card(0x10c9, Family::E82576, "igb (82576)"),
    card(0x10e8, Family::E82576, "igb (82576)"),
    card(0x150a, Family::E82576, "igb (82576)"),
    card(0x1526, Family::E82576, "igb (82576)"),
    card(0x150e, Family::I350, "igb (82580)"),
    card(0x1516, Family::I350, "igb (82580)"),
    card(0x1521, Family::I350, "igb (I350)"),
    card(0x1533, Family::I210, "igb (I210)"),
    card(0x1534, Family::I210, "igb (I210)"),
    card(0x1535, Family::I210, "igb (I210)"),
    card(0x157b, Family::I210, "igb (I210)"),
    card(0x1539, Family::I210, "igb (I211)"),
];

/// The model of a function; `None` if it is not driven here.
pub fn model(function: &PciFunction) -> Option<Model> {
    let ours = |known: &&Model| function.vendor == VENDOR && known.device == function.device;
    MODELS.iter().find(ours).copied()
}
