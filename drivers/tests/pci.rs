//! PCI: scanning, BARs and capabilities of functions that are in order, and of such that are not.

use std::cell::RefCell;

use drivers::bus::mmio::MmioRegion;
use drivers::host::MsiMessage;
use drivers::pci::capability::{MSI_X, VENDOR_SPECIFIC};
use drivers::pci::fake::{FakeFunction, FakeSpace};
use drivers::pci::msix::enable_first;
use drivers::pci::{
    Bar, Bars, CommandRegister, ConfigAccess, Ecam, MsiX, PciAddress, PciError, PciFunction,
    capabilities, find_capability, scan,
};

#[path = "models/registers.rs"]
#[allow(dead_code, reason = "others use the rest of it")]
mod registers;

use registers::{BAR, BarHost, MEMORY_LEN};

fn at(bus: u8, device: u8, function: u8) -> PciAddress {
    PciAddress::new(0, bus, device, function)
}

const HERE: (u8, u8, u8) = (0, 2, 0);

/// An endpoint, and the space it is in.
fn one(change: impl FnOnce(FakeFunction) -> FakeFunction) -> (FakeSpace, PciFunction) {
    let (bus, device, function) = HERE;
    let endpoint = FakeFunction::endpoint(at(bus, device, function), 0x1af4, 0x1041);
    let space = FakeSpace::new([change(endpoint)]);
    let function = PciFunction::read(&space, at(bus, device, function)).expect("it answers");
    (space, function)
}

fn found(space: &FakeSpace) -> Vec<PciAddress> {
    let mut found = Vec::new();
    scan(space, |function| found.push(function.address));
    found
}

#[test]
fn a_machine_without_functions_has_none() {
    assert_eq!(found(&FakeSpace::new([])), []);
}

#[test]
fn other_functions_are_looked_for_only_where_the_first_says_so() {
    let single = FakeFunction::endpoint(at(0, 3, 0), 0x8086, 1);
    let hidden = FakeFunction::endpoint(at(0, 3, 1), 0x8086, 2);
    let multi = FakeFunction::endpoint(at(0, 4, 0), 0x8086, 3).multi_function();
    let last = FakeFunction::endpoint(at(0, 4, 7), 0x8086, 4);
    let orphan = FakeFunction::endpoint(at(0, 5, 1), 0x8086, 5);
    let space = FakeSpace::new([single, hidden, multi, last, orphan]);
    assert_eq!(found(&space), [at(0, 3, 0), at(0, 4, 0), at(0, 4, 7)]);
}

#[test]
fn buses_behind_bridges_are_found() {
    let space = FakeSpace::new([
        FakeFunction::bridge(at(0, 1, 0), 1),
        FakeFunction::bridge(at(1, 0, 0), 200),
        FakeFunction::endpoint(at(200, 31, 0), 0x1af4, 0x1041),
        FakeFunction::endpoint(at(7, 0, 0), 0x1af4, 0x1041),
    ]);
    assert_eq!(found(&space), [at(0, 1, 0), at(1, 0, 0), at(200, 31, 0)]);
}

#[test]
fn bridges_that_lead_back_or_nowhere_end_there() {
    let space = FakeSpace::new([
        FakeFunction::bridge(at(0, 1, 0), 0),
        FakeFunction::bridge(at(0, 2, 0), 1),
        FakeFunction::bridge(at(0, 3, 0), 1),
        FakeFunction::bridge(at(1, 0, 0), 1),
        FakeFunction::bridge(at(1, 1, 0), 0),
    ]);
    assert_eq!(found(&space).len(), 5, "each once");
}

#[test]
fn a_header_is_read_field_by_field() {
    let (_, function) = one(|function| {
        function
            .word(0x08, 0x0200_0001)
            .word(0x2c, 0x0001_1af4)
            .word(0x3c, 0x0000_010b)
            .multi_function()
    });
    assert_eq!(
        (function.vendor, function.device, function.revision),
        (0x1af4, 0x1041, 1)
    );
    assert_eq!(
        (function.class, function.subclass, function.header),
        (2, 0, 0)
    );
    assert_eq!((function.subsystem_vendor, function.subsystem), (0x1af4, 1));
    assert_eq!((function.interrupt_line, function.interrupt_pin), (11, 1));
}

#[test]
fn bars_of_all_kinds_are_sized() {
    let (space, function) = one(|function| {
        function
            .io(0, 0xc040, 32)
            .memory32(1, 0xfebd_1000, 0x1000)
            .memory64(2, 0x40_0000_4000, 0x4000, true)
            .memory64(4, 1 << 36, 1 << 33, false)
    });
    let bars = Bars::read(&space, &function).expect("in order");
    let memory = |address, size, prefetchable| {
        Some(Bar::Memory {
            address,
            size,
            prefetchable,
        })
    };
    assert_eq!(
        bars.get(0),
        Some(Bar::Io {
            port: 0xc040,
            size: 32
        })
    );
    assert_eq!(bars.get(1), memory(0xfebd_1000, 0x1000, false));
    assert_eq!(bars.get(2), memory(0x40_0000_4000, 0x4000, true));
    assert_eq!(bars.get(3), None, "the upper half of BAR 2");
    assert_eq!(bars.get(4), memory(1 << 36, 1 << 33, false));
    assert_eq!(
        (bars.get(5), bars.get(6), bars.get(255)),
        (None, None, None)
    );
}

#[test]
fn sizing_happens_while_the_function_is_deaf_and_changes_nothing() {
    let (space, function) = one(|f| f.memory32(0, 0xfebd_0000, 0x1000).io(1, 0xc000, 64));
    function.set_command(&space, CommandRegister::from_bits_retain(0x0107));
    Bars::read(&space, &function).expect("in order");
    assert!(
        !space.careless(),
        "a BAR was all ones while the function decoded it"
    );
    assert_eq!(function.command(&space).bits(), 0x0107);
    assert_eq!(space.read32(function.address, 0x10), 0xfebd_0000);
    assert_eq!(space.read32(function.address, 0x14), 0xc001);
}

#[test]
fn bars_that_are_absent_unassigned_or_ports_are_no_memory() {
    let (space, function) = one(|f| f.memory32(0, 0, 0x1000).io(1, 0xc000, 64));
    let bars = Bars::read(&space, &function).expect("in order");
    assert_eq!(bars.memory(0), Err(PciError::BarUnassigned { index: 0 }));
    for index in [1, 2, 6] {
        assert_eq!(bars.memory(index), Err(PciError::NoMemoryBar { index }));
    }
}

#[test]
fn malformed_bars_are_refused_and_the_function_decodes_again() {
    let malformed = |index, change: fn(FakeFunction) -> FakeFunction| {
        let (space, function) = one(change);
        function.set_command(&space, CommandRegister::MEMORY_ENABLE);
        let error = Bars::read(&space, &function);
        assert_eq!(error, Err(PciError::BarMalformed { index }));
        assert_eq!(function.command(&space), CommandRegister::MEMORY_ENABLE);
    };
    malformed(0, |f| f.word(0x10, 0b010)); // reserved type
    malformed(1, |f| f.word(0x14, 0b110)); // reserved type
    malformed(5, |f| f.word(0x24, 0b100)); // 64 bits in the last word
    malformed(0, |f| {
        f.memory32(0, 0x1000, 0x1000).writable(0x10, 0xff00_f000)
    }); // holes
    malformed(0, |f| {
        f.memory64(0, 0x1000, 0x1000, false).writable(0x14, 0)
    }); // holes
}

#[test]
fn a_bridge_has_no_bars_here() {
    let space = FakeSpace::new([FakeFunction::bridge(at(0, 1, 0), 1)]);
    let function = PciFunction::read(&space, at(0, 1, 0)).expect("it answers");
    let bars = Bars::read(&space, &function).expect("nothing to read");
    assert!((0..6).all(|index| bars.get(index).is_none()));
}

fn walk(change: impl FnOnce(FakeFunction) -> FakeFunction) -> Vec<Result<(u8, u8), PciError>> {
    let (space, function) = one(change);
    let list = capabilities(&space, &function);
    list.map(|found| found.map(|c| (c.id, c.offset))).collect()
}

#[test]
fn capabilities_come_in_list_order() {
    let list = walk(|f| f.capability(0x98, 9, 0, &[]).capability(0x40, 0x11, 0, &[]));
    assert_eq!(list, [Ok((9, 0x98)), Ok((0x11, 0x40))]);
}

#[test]
fn an_empty_list_has_no_capabilities() {
    assert_eq!(walk(|f| f), []);
    assert_eq!(
        walk(|f| f.point_to(0x40)),
        [],
        "the status bit says that there is no list"
    );
}

#[test]
fn a_list_that_loops_ends_with_an_error() {
    let list = walk(|f| {
        f.capability(0x40, 9, 0, &[])
            .capability(0x50, 9, 0, &[])
            .point_to(0x40)
    });
    assert_eq!(list.len(), 3);
    assert_eq!(list[2], Err(PciError::CapabilityLoop { offset: 0x40 }));
}

#[test]
fn a_list_that_leaves_its_space_ends_with_an_error() {
    let list = walk(|f| f.capability(0x40, 9, 0, &[]).point_to(0x3c));
    assert_eq!(
        list[1],
        Err(PciError::CapabilityOutOfRange { offset: 0x3c })
    );
    assert_eq!(list.len(), 2);
}

#[test]
fn reserved_pointer_bits_are_ignored() {
    assert_eq!(
        walk(|f| f.capability(0x40, 9, 0, &[]).point_to(0x03)),
        [Ok((9, 0x40))]
    );
}

#[test]
fn a_full_list_is_walked_to_its_end() {
    let list = walk(|f| (0x10..0x40).fold(f, |f, word| f.capability(word * 4, word, 0, &[])));
    assert_eq!(list.len(), 48);
    assert!(list.iter().all(Result::is_ok));
}

#[test]
fn a_capability_is_found_before_the_list_goes_wrong() {
    let (space, function) = one(|f| f.capability(0x40, MSI_X, 0, &[]).point_to(0x10));
    assert!(matches!(find_capability(&space, &function, MSI_X), Ok(Some(c)) if c.offset == 0x40));
    let error = Err(PciError::CapabilityOutOfRange { offset: 0x10 });
    assert_eq!(find_capability(&space, &function, VENDOR_SPECIFIC), error);
}

/// A function with `vectors` MSI-X vectors, whose table is at `table` (BAR in the low bits).
fn msix(vectors: u16, table: u32) -> (FakeSpace, PciFunction) {
    one(|f| {
        f.memory32(1, 0xfebd_0000, 0x1000)
            .capability(0x98, MSI_X, vectors - 1, &[table, 0])
            .writable(0x98, 0xc000_0000)
    })
}

fn find_msix((space, function): &(FakeSpace, PciFunction)) -> Result<Option<MsiX>, PciError> {
    MsiX::find(
        space,
        function,
        &Bars::read(space, function).expect("in order"),
    )
}

#[test]
fn an_msix_table_inside_its_bar_is_found() {
    for (vectors, table) in [(1, 1), (3, 0x801), (256, 1), (1, 0xff1)] {
        let found = find_msix(&msix(vectors, table))
            .expect("in order")
            .expect("there is one");
        assert_eq!(
            (found.vectors, found.bar, found.offset),
            (vectors, 1, table & !7)
        );
    }
    assert_eq!(find_msix(&one(|f| f)), Ok(None));
}

#[test]
fn an_msix_table_outside_its_bar_is_refused() {
    for (vectors, table) in [(257, 1), (2, 0xff1), (1, 0x1001), (2048, 0xffff_fff9)] {
        let offset = u64::from(table & !7);
        let len = u64::from(vectors) * 16;
        let outside = PciError::OutsideBar {
            index: 1,
            offset,
            len,
            size: 0x1000,
        };
        assert_eq!(find_msix(&msix(vectors, table)), Err(outside));
    }
    assert_eq!(
        find_msix(&msix(1, 0)),
        Err(PciError::NoMemoryBar { index: 0 })
    );
    assert_eq!(
        find_msix(&msix(1, 7)),
        Err(PciError::NoMemoryBar { index: 7 })
    );
}

#[test]
fn an_msix_capability_at_the_very_end_is_too_short() {
    let cut = one(|f| f.capability(0xfc, MSI_X, 0, &[]));
    let short = PciError::CapabilityTooShort {
        offset: 0xfc,
        len: 0,
    };
    assert_eq!(find_msix(&cut), Err(short));
}

/// A window onto ordinary memory.
fn window(words: &RefCell<Vec<u32>>) -> MmioRegion {
    let mut words = words.borrow_mut();
    let base = std::ptr::NonNull::from(words.as_mut_slice()).cast();
    // SAFETY: the vector outlives the window in each test, and is looked at only in between.
    unsafe { MmioRegion::from_raw(base, words.len() * 4) }
}

#[test]
fn vectors_without_a_message_stay_masked() {
    let (space, function) = msix(3, 0x801);
    let found = find_msix(&(space, function))
        .expect("in order")
        .expect("there is one");
    let (space, _) = msix(3, 0x801);
    let table = RefCell::new(vec![0; 12]);
    let message = MsiMessage {
        address: 0x1_fee0_1000,
        data: 0x51,
    };
    found
        .enable(&space, &window(&table), &[message])
        .expect("the table is long enough");
    let table = table.into_inner();
    assert_eq!(table[..4], [0xfee0_1000, 1, 0x51, 0]);
    assert_eq!((table[7], table[11]), (1, 1));
    assert_eq!(
        space.read16(function.address, 0x9a),
        0x8002,
        "on, and not masked as a whole"
    );
    found.disable(&space);
    assert_eq!(space.read16(function.address, 0x9a), 2);
}

#[test]
fn the_first_vectors_get_a_message_each_as_far_as_both_sides_have_them() {
    let message = MsiMessage {
        address: 0xfee0_0000,
        data: 0x40,
    };
    for (has, wanted, expected) in [(1, 2, 1), (2, 2, 2), (5, 2, 2), (5, 1, 1)] {
        let function = FakeFunction::endpoint(at(0, 1, 0), 0x8086, 0x10d3)
            .memory32(0, BAR, MEMORY_LEN as u32)
            .capability(0x40, MSI_X, has - 1, &[0x100, 0x200])
            .writable(0x40, 0xc000_0000);
        let space = FakeSpace::new([function]);
        let function = PciFunction::read(&space, at(0, 1, 0)).expect("it answers");
        let bars = Bars::read(&space, &function).expect("in order");
        for (message, expected) in [(Some(message), expected), (None, 0)] {
            let host = BarHost::new(message);
            let vectors = enable_first(wanted, &space, &function, &bars, &host);
            assert_eq!(vectors, Ok(expected), "{wanted} of {has}");
            let control = space.read16(function.address, 0x42);
            assert_eq!(control >> 14, if expected > 0 { 0b10 } else { 0 });
            for vector in 0..usize::from(expected) {
                let entry = 0x100 + 16 * vector;
                let words = [0, 4, 8, 12].map(|word| host.word(entry + word));
                assert_eq!(words, [0xfee0_0000, 0, 0x40, 0]);
            }
        }
    }
}

#[test]
fn a_mapped_table_that_is_too_short_is_refused() {
    let pair = msix(3, 0x801);
    let found = find_msix(&pair).expect("in order").expect("there is one");
    let table = RefCell::new(vec![0; 8]);
    assert!(found.enable(&pair.0, &window(&table), &[]).is_err());
}

#[test]
fn a_function_is_enabled_in_two_steps_and_its_pin_is_not_silent() {
    let (space, function) = one(|f| f);
    function.set_command(&space, CommandRegister::INTERRUPT_DISABLE);
    function.enable_memory(&space);
    let on = CommandRegister::MEMORY_ENABLE;
    assert_eq!(
        function.command(&space),
        on | CommandRegister::INTERRUPT_DISABLE
    );
    function.enable_dma(&space);
    assert_eq!(
        function.command(&space),
        on | CommandRegister::BUS_MASTER_ENABLE
    );
}

#[test]
fn ecam_reaches_its_own_buses_and_nothing_else() {
    let words = RefCell::new(vec![0; Ecam::window_len(1) / 4]);
    let place = ((2 << 3 | 1) << 12) / 4;
    words.borrow_mut()[place] = 0x1041_1af4;
    let ecam = Ecam::new(window(&words), 0, 4);
    let function = at(4, 2, 1);
    assert_eq!(ecam.read32(function, 0), 0x1041_1af4);
    assert_eq!(
        (ecam.read16(function, 2), ecam.read8(function, 1)),
        (0x1041, 0x1a)
    );
    ecam.write32(function, 0xffc, 7);
    assert_eq!(ecam.read32(function, 0xffc), 7);
    for (address, offset) in [
        (at(3, 2, 1), 0),
        (at(5, 2, 1), 0),
        (PciAddress::new(1, 4, 2, 1), 0),
        (function, 0x1000),
    ] {
        ecam.write32(address, offset, 0);
        assert_eq!(
            ecam.read32(address, offset),
            u32::MAX,
            "{address} {offset:#x}"
        );
    }
    assert_eq!(ecam.read32(function, 0), 0x1041_1af4);
}
