//! The network cards on PCI: which there are, which of them are driven here, and which one is used.
//!
//! [`bring_up`](super::bring_up) finds them once. All are named in the log or, if none can be used,
//! in the error.
#![forbid(unsafe_code)]

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt::Write;

use drivers::intel::{self, Family, Model};
use drivers::pci::{self, ConfigAccess, PciAddress, PciFunction};
use drivers::virtio::TYPE_NET;
use drivers::virtio::transport::pci::device_type;
use kernel::config::NicChoice;

use super::{SUPPORTED, VIRTIO};

/// PCI base class of network controllers.
const NETWORK_CLASS: u8 = 2;

/// A kind of card that is driven here.
#[derive(Clone, Copy)]
pub(super) enum Kind {
    /// virtio-net.
    Virtio,
    /// One of Intel's.
    Intel(Model),
}

impl Kind {
    fn of(function: &PciFunction) -> Option<Self> {
        if device_type(function) == Some(TYPE_NET) {
            return Some(Self::Virtio);
        }
        intel::model(function).map(Self::Intel)
    }

    /// Its name.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Virtio => VIRTIO,
            Self::Intel(model) => model.name,
        }
    }
}

/// The network cards of a machine, in the order of discovery.
pub(super) struct Cards(Vec<(PciFunction, Option<Kind>)>);

impl Cards {
    /// Looks for them.
    pub(super) fn find(access: &dyn ConfigAccess) -> Self {
        let mut cards = Vec::new();
        pci::scan(access, |function| {
            log::debug!("pci {function}");
            let kind = Kind::of(function);
            if kind.is_some() || function.class == NETWORK_CLASS {
                cards.push((*function, kind));
            }
        });
        Self(cards)
    }

    /// The first that is driven here and fits `choice`. Where there is something to choose, all are
    /// named in the log, each with the number that chooses it.
    pub(super) fn choose(&self, choice: NicChoice) -> Option<(PciFunction, Kind)> {
        let driven = |&(function, kind): &(PciFunction, Option<Kind>)| Some((function, kind?));
        let cards: Vec<_> = self.0.iter().filter_map(driven).collect();
        let fitting =
            |(n, (function, kind)): (usize, &(PciFunction, Kind))| fits(choice, n, function, *kind);
        let chosen = cards.iter().enumerate().position(fitting);
        for (n, (function, kind)) in cards.iter().enumerate().filter(|_| cards.len() > 1) {
            let (name, at) = (kind.name(), function.address);
            let used = if chosen == Some(n) {
                "used"
            } else {
                "not used"
            };
            log::info!("nic {n}: {name} at pci {at}: {used}");
        }
        for (function, _) in self.0.iter().filter(|(_, kind)| kind.is_none()) {
            log::warn!(
                "pci {function}: no driver for this network card; there is one for {SUPPORTED}"
            );
        }
        chosen.and_then(|n| cards.get(n).copied())
    }

    /// What there is, for a person to read.
    pub(super) fn describe(&self) -> String {
        let mut text = String::new();
        for (function, kind) in &self.0 {
            let PciFunction {
                address,
                vendor,
                device,
                ..
            } = function;
            let name = kind.map_or("no driver", Kind::name);
            let gap = if text.is_empty() { "" } else { ", " };
            // Writing to a string does not fail.
            let _ = write!(text, "{gap}{vendor:04x}:{device:04x} at {address} ({name})");
        }
        if text.is_empty() {
            text.push_str("nothing");
        }
        text
    }
}

fn fits(choice: NicChoice, n: usize, function: &PciFunction, kind: Kind) -> bool {
    let is_of = |wanted| matches!(kind, Kind::Intel(model) if model.family == wanted);
    match choice {
        NicChoice::First => true,
        NicChoice::Number(number) => usize::from(number) == n,
        NicChoice::Virtio => matches!(kind, Kind::Virtio),
        NicChoice::E1000 => is_of(Family::E8254x),
        NicChoice::E1000e => is_of(Family::E82574),
        NicChoice::Igb => matches!(kind, Kind::Intel(model) if model.family.is_igb()),
        NicChoice::At {
            bus,
            device,
            function: number,
        } => function.address == PciAddress::new(0, bus, device, number),
    }
}
