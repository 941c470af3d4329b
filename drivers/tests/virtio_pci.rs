//! Virtio over PCI: structures named by capabilities, in their BARs or outside.

mod models;

/// Split rings, unless a test says otherwise.
#[allow(dead_code, reason = "for the models")]
const PACKED: bool = false;

/// Their interface: the modern one.
#[allow(dead_code, reason = "for the models")]
const LEGACY: bool = false;

/// Their devices complete in any order.
#[allow(dead_code, reason = "for the models")]
const IN_ORDER: bool = false;

use drivers::DriverError;
use drivers::host::MsiMessage;
use drivers::net::InterruptMode;
use drivers::pci::capability::{MSI_X, VENDOR_SPECIFIC};
use drivers::pci::fake::{FakeFunction, FakeSpace};
use drivers::pci::{CommandRegister, ConfigAccess, PciAddress, PciError, PciFunction};
use drivers::virtio::TYPE_NET;
use drivers::virtio::transport::pci::{PciModern, device_type};
use drivers::virtio::transport::{Doorbell, Transport};
use drivers::virtio::{Features, Status};
use models::registers::*;

const COMMON: u8 = 1;
const NOTIFY: u8 = 2;
const ISR: u8 = 3;
const DEVICE: u8 = 4;

fn address() -> PciAddress {
    PciAddress::new(0, 0, 2, 0)
}

fn card() -> FakeFunction {
    FakeFunction::endpoint(address(), 0x1af4, 0x1041).memory32(4, BAR, BAR_LEN as u32)
}

/// A virtio structure's capability: kind, BAR, offset in the BAR, length.
fn structure(f: FakeFunction, at: u8, kind: u8, bar: u32, offset: u32, len: u32) -> FakeFunction {
    let bytes = if kind == NOTIFY { 20 } else { 16 };
    let words = [bar, offset, len, 4];
    let words = &words[..if kind == NOTIFY { 4 } else { 3 }];
    f.capability(at, VENDOR_SPECIFIC, u16::from(kind) << 8 | bytes, words)
}

/// The structures as QEMU lays them out.
fn complete() -> FakeFunction {
    let f = structure(card(), 0x40, COMMON, 4, 0, 0x1000);
    let f = structure(f, 0x50, ISR, 4, 0x1000, 0x1000);
    let f = structure(f, 0x60, DEVICE, 4, 0x2000, 0x1000);
    structure(f, 0x70, NOTIFY, 4, 0x3000, 0x1000)
}

fn probe_with(f: FakeFunction, host: &BarHost) -> (FakeSpace, Result<PciModern, DriverError>) {
    let space = FakeSpace::new([f]);
    let function = PciFunction::read(&space, address()).expect("it answers");
    let result = PciModern::probe(&space, &function, host);
    (space, result)
}

fn probe(f: FakeFunction) -> Result<PciModern, DriverError> {
    probe_with(f, &BarHost::new(None)).1
}

#[track_caller]
fn refused(f: FakeFunction) -> DriverError {
    probe(f).expect_err("refused")
}

#[test]
fn a_complete_device_is_found_stopped_and_then_enabled() {
    let host = BarHost::new(None);
    host.bar()
        .write(0x14, 0x0f_u8)
        .expect("the status that firmware left");
    let (space, result) = probe_with(complete(), &host);
    let device = result.expect("complete");
    assert_eq!(device.status(), Status::empty());
    assert_eq!(
        (device.location(), device.interrupts()),
        ("pci 0000:00:02.0".into(), InterruptMode::Line)
    );
    let command = CommandRegister::from_bits_retain(space.read16(address(), 4));
    assert_eq!(
        command,
        CommandRegister::MEMORY_ENABLE | CommandRegister::BUS_MASTER_ENABLE
    );
}

#[test]
fn missing_structures_are_named() {
    let missing = |kind| {
        let kinds = [(0x40, COMMON), (0x50, ISR), (0x70, NOTIFY)];
        let f = kinds
            .into_iter()
            .filter(|(_, k)| *k != kind)
            .fold(card(), |f, (at, kind)| structure(f, at, kind, 4, 0, 0x1000));
        refused(f)
    };
    assert_eq!(
        missing(COMMON),
        DriverError::Missing("common configuration structure")
    );
    assert_eq!(
        missing(NOTIFY),
        DriverError::Missing("notification structure")
    );
    assert_eq!(missing(ISR), DriverError::Missing("ISR structure"));
}

#[test]
fn structures_outside_their_bar_are_refused() {
    for (offset, len) in [(0, 0x4001), (0x3fff, 2), (0x4000, 1), (u32::MAX, u32::MAX)] {
        let f = structure(complete_but_isr(), 0x50, ISR, 4, offset, len);
        let (offset, len) = (offset.into(), len.into());
        let outside = PciError::OutsideBar {
            index: 4,
            offset,
            len,
            size: BAR_LEN as u64,
        };
        assert_eq!(refused(f), DriverError::Pci(outside));
    }
}

fn complete_but_isr() -> FakeFunction {
    let f = structure(card(), 0x40, COMMON, 4, 0, 0x1000);
    structure(f, 0x70, NOTIFY, 4, 0x3000, 0x1000)
}

#[test]
fn structures_in_bars_that_cannot_be_used_are_passed_over() {
    // A BAR that is not there, reserved ones, and one in port space.
    for bar in [3, 6, 255, 0] {
        let f = structure(complete_but_isr().io(0, 0xc000, 64), 0x50, ISR, bar, 0, 1);
        assert_eq!(
            refused(f),
            DriverError::Missing("ISR structure"),
            "BAR {bar}"
        );
    }
    let f = structure(complete_but_isr().io(0, 0xc000, 64), 0x50, ISR, 0, 0, 1);
    assert!(
        probe(structure(f, 0x60, ISR, 4, 0x1000, 1)).is_ok(),
        "the next one counts"
    );
}

#[test]
fn the_first_of_two_structures_counts() {
    let host = BarHost::new(None);
    host.bar().write(0x2000, 0xaa_u8).expect("inside");
    let f = structure(complete(), 0x90, DEVICE, 4, 0x2800, 0x100);
    let device = probe_with(f, &host).1.expect("complete");
    let mut byte = [0];
    device.read_config(0, &mut byte);
    assert_eq!(byte, [0xaa]);
}

#[test]
fn a_common_structure_that_is_too_short_is_refused() {
    let f = structure(card(), 0x40, COMMON, 4, 0, 55);
    let f = structure(f, 0x50, ISR, 4, 0x1000, 1);
    let f = structure(f, 0x70, NOTIFY, 4, 0x3000, 0x1000);
    assert!(matches!(refused(f), DriverError::Mmio(_)));
}

#[test]
fn a_misaligned_common_structure_is_refused() {
    let f = structure(card(), 0x40, COMMON, 4, 2, 0x1000);
    let f = structure(f, 0x50, ISR, 4, 0x1000, 1);
    let f = structure(f, 0x70, NOTIFY, 4, 0x3000, 0x1000);
    assert!(matches!(refused(f), DriverError::Mmio(_)));
}

#[test]
fn capabilities_shorter_than_their_kind_are_refused() {
    let short = |at, kind: u8, len: u8| {
        let head = u16::from(kind) << 8 | u16::from(len);
        let f = complete_but_isr().capability(at, VENDOR_SPECIFIC, head, &[]);
        assert_eq!(
            refused(f),
            PciError::CapabilityTooShort { offset: at, len }.into()
        );
    };
    short(0x50, ISR, 15);
    short(0x50, NOTIFY, 19);
    short(0xf4, ISR, 16); // its length leads past the end of the space
    short(0xfc, COMMON, 255);
}

#[test]
fn other_vendor_capabilities_are_passed_over() {
    let f = complete().capability(0xfc, VENDOR_SPECIFIC, 5 << 8 | 4, &[]);
    assert!(probe(f).is_ok());
}

#[test]
fn a_list_of_capabilities_that_loops_is_refused() {
    let looped = PciError::CapabilityLoop { offset: 0x40 };
    assert_eq!(refused(complete().point_to(0x40)), looped.into());
}

#[test]
fn a_bar_without_an_address_is_refused() {
    let unassigned = PciError::BarUnassigned { index: 4 };
    assert_eq!(
        refused(complete().memory32(4, 0, BAR_LEN as u32)),
        unassigned.into()
    );
}

fn with_msix(f: FakeFunction) -> FakeFunction {
    f.memory32(1, BAR + 0x2800, 0x100)
        .capability(0x90, MSI_X, 2, &[1, 0])
        .writable(0x90, 0xc000_0000)
}

#[test]
fn msix_is_enabled_with_the_kernel_s_message() {
    let host = BarHost::new(Some(MsiMessage {
        address: 0xfee0_0000,
        data: 0x41,
    }));
    let (space, result) = probe_with(with_msix(complete()), &host);
    assert_eq!(
        result.expect("complete").interrupts(),
        InterruptMode::MsiX(1)
    );
    assert_eq!(space.read16(address(), 0x92), 0x8002);
    let entry = |n: usize| [0, 4, 8, 12].map(|field| host.word(0x2800 + n * 16 + field));
    assert_eq!(entry(0), [0xfee0_0000, 0, 0x41, 0]);
    assert_eq!(
        (entry(1)[3], entry(2)[3]),
        (1, 1),
        "vectors that nobody uses stay masked"
    );
}

#[test]
fn without_a_message_msix_is_off_and_the_pin_is_used() {
    let on = with_msix(complete()).word(0x90, 0x8002_0011);
    let (space, result) = probe_with(on, &BarHost::new(None));
    assert_eq!(result.expect("complete").interrupts(), InterruptMode::Line);
    assert_eq!(
        space.read16(address(), 0x92),
        2,
        "as firmware left it, the pin would be silent"
    );
}

#[test]
fn a_queue_is_described_in_full_before_it_is_enabled() {
    let host = BarHost::new(None);
    host.bar().write(0x12, 2_u16).expect("num_queues");
    host.bar().write(0x18, 256_u16).expect("queue_size");
    host.bar().write(0x1e, 3_u16).expect("queue_notify_off");
    let mut device = probe_with(complete(), &host).1.expect("complete");
    assert_eq!((device.queue_max(1), device.queue_max(2)), (256, 0));
    device.enable_queue(1, 64, addresses()).expect("enabled");
    let words: Vec<u32> = (0x20..0x38).step_by(4).map(|at| host.word(at)).collect();
    assert_eq!(words, [0x2345_6000, 1, 0x3456_7000, 2, 0x4567_8000, 3]);
    assert_eq!(host.word(0x1c) as u16, 1, "queue_enable");
    device.notify(Doorbell { queue: 1, next: 7 });
    assert_eq!(
        host.word(0x3000 + 3 * 4),
        1,
        "the doorbell at notify_off times the multiplier"
    );
    let again = device.enable_queue(1, 64, addresses());
    assert_eq!(again, Err(DriverError::QueueRefused { queue: 1 }));
}

#[test]
fn a_doorbell_with_data_is_a_word_of_32_bits() {
    let host = BarHost::new(None);
    host.bar().write(0x1e, 3_u16).expect("queue_notify_off");
    let mut device = probe_with(complete(), &host).1.expect("complete");
    let features = Features::VERSION_1 | Features::NOTIFICATION_DATA;
    device.set_driver_features(features.bits());
    device.enable_queue(1, 64, addresses()).expect("enabled");
    for next in [7, 0x8000, 0xffff] {
        device.notify(Doorbell { queue: 1, next });
        assert_eq!(host.word(0x3000 + 3 * 4), u32::from(next) << 16 | 1);
    }
    // Another word is no part of the structure.
    host.bar().write(0x1c, 0_u16).expect("queue_enable");
    host.bar().write(0x1e, 0x400_u16).expect("queue_notify_off");
    let outside = device.enable_queue(0, 16, addresses());
    assert!(matches!(
        outside,
        Err(DriverError::BadStructure { len: 4, .. })
    ));
}

#[test]
fn a_doorbell_outside_its_structure_is_refused() {
    let host = BarHost::new(None);
    let mut device = probe_with(complete(), &host).1.expect("complete");
    for (notify_off, fits) in [(0x3ff, true), (0x400, false), (0xffff, false)] {
        host.bar()
            .write(0x1e, notify_off as u16)
            .expect("queue_notify_off");
        host.bar().write(0x1c, 0_u16).expect("queue_enable");
        assert_eq!(
            device.enable_queue(0, 16, addresses()).is_ok(),
            fits,
            "{notify_off:#x}"
        );
        assert_eq!(host.word(0x1c) as u16, u16::from(fits));
    }
}

#[test]
fn configuration_that_is_not_there_reads_as_zero() {
    let host = BarHost::new(None);
    host.bar().write(0x2000, 0x1122_3344_u32).expect("inside");
    let device = probe_with(complete(), &host).1.expect("complete");
    let read = |offset| {
        let mut bytes = [0xff; 2];
        device.read_config(offset, &mut bytes);
        u16::from_le_bytes(bytes)
    };
    assert_eq!(
        (read(0), read(2), read(0xfff), read(0x1000)),
        (0x3344, 0x1122, 0, 0)
    );
    let f = structure(complete_but_isr(), 0x50, ISR, 4, 0x1000, 1);
    let mut bytes = [0xff; 6];
    probe(f)
        .expect("a device may have no configuration")
        .read_config(0, &mut bytes);
    assert_eq!(bytes, [0; 6]);
}

#[test]
fn device_types_come_from_the_ids() {
    let kind = |vendor, device, subsystem: u32| {
        let f = FakeFunction::endpoint(address(), vendor, device).word(0x2c, subsystem << 16);
        let space = FakeSpace::new([f]);
        device_type(&PciFunction::read(&space, address()).expect("it answers"))
    };
    assert_eq!(kind(0x1af4, 0x1041, 0), Some(TYPE_NET));
    assert_eq!(kind(0x1af4, 0x1000, 1), Some(TYPE_NET), "transitional");
    assert_eq!(kind(0x1af4, 0x1042, 0), Some(2));
    assert_eq!(kind(0x1af4, 0x1040, 0), None);
    assert_eq!(kind(0x1af4, 0x1080, 0), None);
    assert_eq!(kind(0x1af4, 0x0fff, 1), None);
    assert_eq!(kind(0x8086, 0x1041, 1), None);
}
