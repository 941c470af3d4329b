//! What is found on PCI. The registers here are plain memory, so a reset never ends.

use crate::models::registers::{BAR, BarHost, MEMORY_LEN};
use drivers::DriverError;
use drivers::intel::pci::probe;
use drivers::intel::{Family, model};
use drivers::pci::capability::PCI_EXPRESS;
use drivers::pci::fake::{FakeFunction, FakeSpace};
use drivers::pci::{CommandRegister, ConfigAccess, PciAddress, PciError, PciFunction};

fn address() -> PciAddress {
    PciAddress::new(0, 0, 2, 0)
}

fn card(device: u16) -> FakeFunction {
    FakeFunction::endpoint(address(), 0x8086, device)
}

fn probe_with(function: FakeFunction) -> (FakeSpace, DriverError) {
    let space = FakeSpace::new([function]);
    let function = PciFunction::read(&space, address()).expect("it answers");
    let why = probe(&space, &function, &BarHost::new(None)).expect_err("no card behind it");
    (space, why)
}

#[test]
fn families_come_from_the_ids() {
    let family = |vendor, device| {
        let space = FakeSpace::new([FakeFunction::endpoint(address(), vendor, device)]);
        let function = PciFunction::read(&space, address()).expect("it answers");
        model(&function).map(|model| model.family)
    };
    assert_eq!(family(0x8086, 0x100e), Some(Family::E8254x));
    assert_eq!(family(0x8086, 0x10d3), Some(Family::E82574));
    assert_eq!(family(0x8086, 0x10c9), Some(Family::E82576));
    assert_eq!(family(0x8086, 0x1521), Some(Family::I350));
    for device in [0x1533, 0x157b, 0x1539] {
        assert_eq!(family(0x8086, device), Some(Family::I210));
    }
    for fibre in [0x10e6, 0x10e7, 0x1522, 0x1536] {
        assert_eq!(family(0x8086, fibre), None);
    }
    assert_eq!(family(0x1af4, 0x100e), None);
}

#[test]
fn registers_that_cannot_be_reached_are_refused() {
    let (_, why) = probe_with(card(0x100e));
    assert_eq!(why, DriverError::Pci(PciError::NoMemoryBar { index: 0 }));
    let (_, why) = probe_with(card(0x100e).io(0, 0xc000, 64));
    assert_eq!(why, DriverError::Pci(PciError::NoMemoryBar { index: 0 }));
    let (_, why) = probe_with(card(0x100e).memory32(0, BAR, 0x4000));
    let outside = PciError::OutsideBar {
        index: 0,
        offset: 0,
        len: 0x6000,
        size: 0x4000,
    };
    assert_eq!(why, DriverError::Pci(outside));
    let (_, why) = probe_with(card(0x1000).memory32(0, BAR, MEMORY_LEN as u32));
    assert_eq!(why, DriverError::NoDevice);
}

#[test]
fn a_card_that_does_not_reset_never_reaches_memory_and_its_link_stays_awake() {
    for (device, express) in [(0x100e, false), (0x10d3, true), (0x1533, true)] {
        let function = card(device)
            .memory32(0, BAR, MEMORY_LEN as u32)
            .capability(0x40, PCI_EXPRESS, 0, &[0, 0, 0, 0xffff_0043])
            .writable(0x50, 0xffff_ffff);
        let (space, why) = probe_with(function);
        let timeout = DriverError::Timeout("the card to come out of its reset");
        assert_eq!(why, timeout);
        let command = CommandRegister::from_bits_retain(space.read16(address(), 4));
        assert_eq!(command, CommandRegister::MEMORY_ENABLE);
        // Link control without L0s and L1; zeros change nothing in link status.
        let expected = if express { 0x40 } else { 0xffff_0043 };
        assert_eq!(space.read32(address(), 0x50), expected);
    }
}

/// Each end of the link enters a power state by its own setting.
#[test]
fn both_ends_of_the_link_stay_awake() {
    let (port, behind) = (PciAddress::new(0, 0, 3, 0), PciAddress::new(0, 7, 0, 0));
    let link = [0, 0, 0, 0x0043];
    let bridge = |at, bus| {
        FakeFunction::bridge(at, bus)
            .capability(0x40, PCI_EXPRESS, 0, &link)
            .writable(0x50, 0xffff_ffff)
    };
    let other = PciAddress::new(0, 0, 4, 0);
    let card = FakeFunction::endpoint(behind, 0x8086, 0x10d3)
        .memory32(0, BAR, MEMORY_LEN as u32)
        .capability(0x40, PCI_EXPRESS, 0, &link)
        .writable(0x50, 0xffff_ffff);
    let space = FakeSpace::new([bridge(other, 8), bridge(port, 7), card]);
    let function = PciFunction::read(&space, behind).expect("it answers");
    probe(&space, &function, &BarHost::new(None)).expect_err("no card behind it");
    assert_eq!(space.read32(behind, 0x50), 0x40);
    assert_eq!(space.read32(port, 0x50), 0x40);
    assert_eq!(space.read32(other, 0x50), 0x43, "another link");
}
