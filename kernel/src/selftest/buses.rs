//! PCI: all functions answer, and each says the same in the two ways that there are to ask.
#![forbid(unsafe_code)]

use alloc::format;
use alloc::string::String;

use drivers::pci::{self, ConfigAccess, PciFunction};

use super::Outcome;

/// PCI base class of network controllers.
const NETWORK_CLASS: u8 = 2;

/// Walks the buses by memory-mapped configuration space, or by ports where there is none, and reads
/// each header again by ports.
pub fn exercise(memory: Option<&dyn ConfigAccess>, ports: Option<&dyn ConfigAccess>) -> Outcome {
    let (access, way) = match (memory, ports) {
        (Some(memory), Some(_)) => (memory, "by memory and by ports alike"),
        (Some(memory), None) => (memory, "by memory"),
        (None, Some(ports)) => (ports, "by ports"),
        (None, None) => return Outcome::Skip("there is no PCI bus".into()),
    };
    let (mut functions, mut cards, mut differs) = (0, String::new(), None);
    pci::scan(access, |function| {
        functions += 1;
        if function.class == NETWORK_CLASS {
            let PciFunction { vendor, device, .. } = function;
            cards += &format!(" {vendor:04x}:{device:04x} at {}", function.address);
        }
        let again = ports.map(|ports| PciFunction::read(ports, function.address));
        if again.is_some_and(|again| again != Some(*function)) {
            differs = Some(*function);
        }
    });
    if let Some(function) = differs {
        return Outcome::Fail(format!("{function} is another one when read by ports"));
    }
    if functions == 0 {
        return Outcome::Fail("nothing answers on bus 0".into());
    }
    let cards = if cards.is_empty() { " none" } else { &cards };
    Outcome::Pass(format!(
        "{functions} functions, read {way}; network cards:{cards}"
    ))
}

#[cfg(test)]
mod tests {
    use drivers::pci::PciAddress;
    use drivers::pci::fake::{FakeFunction, FakeSpace};

    use super::*;

    fn machine(revision: u32) -> FakeSpace {
        let at = |device| PciAddress::new(0, 0, device, 0);
        let behind = PciAddress::new(0, 1, 0, 0);
        FakeSpace::new([
            FakeFunction::endpoint(at(0), 0x8086, 0x29c0),
            FakeFunction::bridge(at(1), 1),
            FakeFunction::endpoint(behind, 0x8086, 0x10d3).word(8, 2 << 24 | revision),
        ])
    }

    #[test]
    fn a_machine_whose_two_ways_agree_passes() {
        let (memory, ports) = (machine(0), machine(0));
        let (memory, ports): (&dyn ConfigAccess, &dyn ConfigAccess) = (&memory, &ports);
        for (memory, ports, way) in [
            (Some(memory), Some(ports), "by memory and by ports alike"),
            (Some(memory), None, "by memory"),
            (None, Some(ports), "by ports"),
        ] {
            let text = format!("3 functions, read {way}; network cards: 8086:10d3 at 0000:01:00.0");
            assert_eq!(exercise(memory, ports), Outcome::Pass(text));
        }
    }

    #[test]
    fn ways_that_differ_and_silence_fail_and_no_bus_is_skipped() {
        let (memory, other, silent) = (machine(0), machine(1), FakeSpace::new([]));
        let why = "0000:01:00.0 8086:10d3 class 0200 is another one when read by ports";
        let found = exercise(Some(&memory), Some(&other));
        assert_eq!(found, Outcome::Fail(why.into()));
        let found = exercise(Some(&memory), Some(&silent));
        assert!(matches!(found, Outcome::Fail(_)), "{found}");
        for silent in [exercise(Some(&silent), None), exercise(None, Some(&silent))] {
            assert_eq!(silent, Outcome::Fail("nothing answers on bus 0".into()));
        }
        let none = exercise(None, None);
        assert_eq!(none, Outcome::Skip("there is no PCI bus".into()));
    }
}
