//! The ACPI table reader of the machine half (`src/arch/acpi/tables.rs`), on the host.

extern crate alloc;

#[allow(unreachable_pub, reason = "the image's own module, tested on the host")]
#[path = "../src/arch/acpi/tables.rs"]
#[allow(dead_code, reason = "the image uses the rest")]
mod tables;

use tables::{EcamWindow, Fadt, HEADER, IoApic, Override, Register, VirtioMmio};

/// A table with `fields` behind its header.
fn table(fields: &[u8]) -> Vec<u8> {
    let mut table = vec![0; HEADER];
    table.extend_from_slice(fields);
    table
}

/// Parsers must take any prefix of a table, and any byte in it, without a panic.
fn survives_damage<T>(table: &[u8], parse: impl Fn(&[u8]) -> T) {
    for len in 0..=table.len() {
        parse(&table[..len]);
    }
    let mut damaged = table.to_vec();
    for at in 0..table.len() {
        for value in [0, 1, 0x7F, 0xFF] {
            damaged[at] = value;
            parse(&damaged);
        }
        damaged[at] = table[at];
    }
}

fn madt() -> Vec<u8> {
    let mut fields = vec![0, 0, 0xE0, 0xFE, 1, 0, 0, 0];
    fields.extend([0, 8, 0, 0, 1, 0, 0, 0]);
    fields.extend([1, 12, 2, 0, 0, 0, 0xC0, 0xFE, 0, 0, 0, 0]);
    fields.extend([1, 12, 3, 0, 0, 0, 0xC1, 0xFE, 24, 0, 0, 0]);
    table(&fields)
}

#[test]
fn io_apics_are_found_among_other_entries() {
    assert_eq!(
        tables::io_apics(&madt()),
        [
            IoApic {
                address: 0xFEC0_0000,
                first_gsi: 0
            },
            IoApic {
                address: 0xFEC1_0000,
                first_gsi: 24
            }
        ]
    );
    survives_damage(&madt(), tables::io_apics);
}

#[test]
fn overrides_say_which_line_an_interrupt_is_and_how_it_asks() {
    let mut fields = vec![0; 8];
    fields.extend([1, 12, 2, 0, 0, 0, 0xC0, 0xFE, 0, 0, 0, 0]);
    fields.extend([2, 10, 0, 0, 2, 0, 0, 0, 0, 0]);
    fields.extend([2, 10, 0, 9, 9, 0, 0, 0, 0b1101, 0]); // high, level
    fields.extend([2, 10, 0, 10, 20, 0, 0, 0, 0b0111, 0]); // low, edge
    fields.extend([2, 10, 0, 11, 11, 0, 0, 0, 0b1010, 0]); // reserved: as the bus
    fields.extend([2, 10, 1, 5, 5, 0, 0, 0, 0, 0]); // another bus
    let madt = table(&fields);
    let found = |irq, gsi, low, level| Override {
        irq,
        gsi,
        low,
        level,
    };
    let expected = [
        found(0, 2, None, None),
        found(9, 9, Some(false), Some(true)),
        found(10, 20, Some(true), Some(false)),
        found(11, 11, None, None),
    ];
    assert_eq!(tables::overrides(&madt), expected);
    survives_damage(&madt, tables::overrides);
}

#[test]
fn an_entry_of_length_zero_does_not_stop_the_walk_for_ever() {
    assert_eq!(tables::io_apics(&table(&[0; 64])), []);
}

#[test]
fn an_ecam_window_is_read_and_one_without_buses_is_left_out() {
    let mut fields = vec![0; 8];
    fields.extend(0xB000_0000_u64.to_le_bytes());
    fields.extend([0, 0, 0, 0xFF, 0, 0, 0, 0]);
    fields.extend(0xC000_0000_u64.to_le_bytes());
    fields.extend([1, 0, 8, 7, 0, 0, 0, 0]);
    let mcfg = table(&fields);
    let window = EcamWindow {
        base: 0xB000_0000,
        segment: 0,
        first_bus: 0,
        last_bus: 0xFF,
    };
    assert_eq!(tables::ecam_windows(&mcfg), [window]);
    survives_damage(&mcfg, tables::ecam_windows);
}

fn fadt(flags: u32) -> Vec<u8> {
    let mut fadt = vec![0; 276];
    fadt[40..44].copy_from_slice(&0x8000_u32.to_le_bytes());
    fadt[48..52].copy_from_slice(&0xB2_u32.to_le_bytes());
    fadt[52] = 2;
    fadt[64..68].copy_from_slice(&0x604_u32.to_le_bytes());
    fadt[76..80].copy_from_slice(&0x608_u32.to_le_bytes());
    fadt[112..116].copy_from_slice(&flags.to_le_bytes());
    fadt[116] = 1;
    fadt[120..128].copy_from_slice(&0xCF9_u64.to_le_bytes());
    fadt[128] = 0xF;
    fadt[248..256].copy_from_slice(&0xFEA0_0200_u64.to_le_bytes());
    fadt
}

#[test]
fn a_full_machine_has_ports_and_no_sleep_register() {
    let expected = Fadt {
        dsdt: 0x8000,
        pm_timer: Some(0x608),
        pm1: [Some(0x604), None],
        enable: Some((0xB2, 2)),
        reset: Some((Register::Port(0xCF9), 0xF)),
        sleep: None,
    };
    assert_eq!(tables::fadt(&fadt(1 << 10)), expected);
    survives_damage(&fadt(1 << 10), tables::fadt);
}

#[test]
fn a_hardware_reduced_machine_sleeps_by_register_alone() {
    let fadt = tables::fadt(&fadt(1 << 20));
    assert_eq!(fadt.sleep, Some(Register::Memory(0xFEA0_0200)));
    assert_eq!(
        (fadt.pm1, fadt.pm_timer, fadt.enable, fadt.reset),
        ([None, None], None, None, None)
    );
}

#[test]
fn sleep_types_are_read_in_both_encodings() {
    let bytes = [
        b"junk_S5_\x08_S5_".as_slice(),
        &[0x12, 6, 4, 0x0A, 5, 1, 0, 0],
    ]
    .concat();
    assert_eq!(tables::s5(&bytes), Some([5, 1]));
    let long = [b"\x08_S5_".as_slice(), &[0x12, 0x46, 0, 4, 0, 0, 0, 0]].concat();
    assert_eq!(tables::s5(&long), Some([0, 0]));
    assert_eq!(tables::s5(b"no such name"), None);
    survives_damage(&bytes, tables::s5);
}

#[test]
fn virtio_mmio_devices_are_told_apart() {
    let device = |base: u32, gsi: u32| {
        let mut aml = b"LNRO0005\0".to_vec();
        aml.extend([0x86, 9, 0, 1]);
        aml.extend(base.to_le_bytes());
        aml.extend(0x200_u32.to_le_bytes());
        aml.extend([0x89, 6, 0, 3, 1]);
        aml.extend(gsi.to_le_bytes());
        aml
    };
    let aml = [
        device(0xFEB0_0000, 24),
        b"LNRO0005 without resources".to_vec(),
        device(0xFEB0_0200, 25),
    ]
    .concat();
    assert_eq!(
        tables::virtio_mmio(&aml),
        [
            VirtioMmio {
                base: 0xFEB0_0000,
                len: 0x200,
                gsi: 24
            },
            VirtioMmio {
                base: 0xFEB0_0200,
                len: 0x200,
                gsi: 25
            }
        ]
    );
    survives_damage(&aml, tables::virtio_mmio);
}
