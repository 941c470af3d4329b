//! Virtio over MMIO: what a window says, and how a queue is set up in it.

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
use drivers::virtio::transport::mmio::Mmio;
use drivers::virtio::transport::{Doorbell, Interface, QueueAddresses, Transport};
use drivers::virtio::{Features, TYPE_NET};
use models::registers::*;
use pbufpool::DmaAddr;

/// An MMIO window with these magic, version and device type.
fn mmio(magic: u32, version: u32, kind: u32) -> Result<Mmio, DriverError> {
    let region = BarHost::new(None).bar().sub(0, 0x200).expect("inside");
    for (offset, value) in [(0, magic), (4, version), (8, kind)] {
        region.write(offset, value).expect("inside");
    }
    Mmio::probe(region, 0xfeb0_0000, TYPE_NET)
}

const VIRT: u32 = 0x7472_6976;

#[test]
fn an_mmio_window_says_what_is_behind_it() {
    let device = mmio(VIRT, 2, TYPE_NET).expect("a card");
    assert_eq!(device.location(), "mmio 0xfeb00000");
    assert_eq!(mmio(0, 2, TYPE_NET).err(), Some(DriverError::NoDevice));
    assert_eq!(
        mmio(VIRT, 2, 0).err(),
        Some(DriverError::NoDevice),
        "an empty slot"
    );
    assert_eq!(mmio(VIRT, 3, TYPE_NET).err(), Some(DriverError::NoDevice));
    let legacy = mmio(VIRT, 1, TYPE_NET).expect("a card");
    assert_eq!(
        (legacy.interface(), device.interface()),
        (Interface::Legacy, Interface::Modern)
    );
    let wrong = DriverError::WrongType {
        found: 2,
        wanted: TYPE_NET,
    };
    assert_eq!(mmio(VIRT, 2, 2).err(), Some(wrong));
}

#[test]
fn an_mmio_window_that_is_too_short_is_refused() {
    let region = BarHost::new(None).bar().sub(0, 0xff).expect("inside");
    assert!(matches!(
        Mmio::probe(region, 0, TYPE_NET),
        Err(DriverError::Mmio(_))
    ));
}

#[test]
fn an_mmio_queue_is_described_before_it_is_ready() {
    let region = BarHost::new(None).bar().sub(0, 0x200).expect("inside");
    region.write(0, [VIRT, 2, TYPE_NET]).expect("inside");
    region.write(0x34, 0x2_0000_u32).expect("queue_num_max");
    let mut device = Mmio::probe(region.clone(), 0, TYPE_NET).expect("a card");
    assert_eq!(device.queue_max(0), 1 << 15, "an absurd size is cut");
    device.enable_queue(1, 64, addresses()).expect("enabled");
    let read = |offset| region.read::<u32>(offset).expect("inside");
    assert_eq!((read(0x30), read(0x38), read(0x44)), (1, 64, 1));
    let words = [0x80, 0x84, 0x90, 0x94, 0xa0, 0xa4].map(read);
    assert_eq!(words, [0x2345_6000, 1, 0x3456_7000, 2, 0x4567_8000, 3]);
    device.notify(Doorbell { queue: 1, next: 7 });
    assert_eq!(read(0x50), 1);
    assert_eq!(
        device.enable_queue(1, 64, addresses()),
        Err(DriverError::QueueRefused { queue: 1 })
    );
}

#[test]
fn an_mmio_doorbell_carries_its_data_if_that_was_negotiated() {
    let region = BarHost::new(None).bar().sub(0, 0x200).expect("inside");
    region.write(0, [VIRT, 2, TYPE_NET]).expect("inside");
    let mut device = Mmio::probe(region.clone(), 0, TYPE_NET).expect("a card");
    let doorbell = Doorbell {
        queue: 3,
        next: 0x8012,
    };
    for (features, written) in [
        (Features::VERSION_1, 3),
        (Features::NOTIFICATION_DATA, 0x8012_0003),
        (Features::VERSION_1, 3),
    ] {
        device.set_driver_features(features.bits());
        device.notify(doorbell);
        assert_eq!(region.read::<u32>(0x50), Ok(written));
    }
}

#[test]
fn an_mmio_interrupt_is_acknowledged_with_its_cause() {
    let region = BarHost::new(None).bar().sub(0, 0x200).expect("inside");
    region.write(0, [VIRT, 2, TYPE_NET]).expect("inside");
    let mut device = Mmio::probe(region.clone(), 0, TYPE_NET).expect("a card");
    assert!(!device.acknowledge());
    region.write(0x60, 3_u32).expect("InterruptStatus");
    assert!(device.acknowledge());
    assert_eq!(region.read::<u32>(0x64), Ok(3));
}

#[test]
fn a_legacy_mmio_queue_is_named_by_its_page() {
    let region = BarHost::new(None).bar().sub(0, 0x200).expect("inside");
    region.write(0, [VIRT, 1, TYPE_NET]).expect("inside");
    let mut device = Mmio::probe(region.clone(), 0, TYPE_NET).expect("a card");
    for (max, size) in [(0, 0), (3, 2), (1024, 1024), (0x2_0000, 1 << 15)] {
        region.write(0x34, max).expect("queue_num_max");
        assert_eq!(device.queue_max(1), size);
    }
    let at = |address: u64| DmaAddr::new(0x3_0000_0000 + address);
    let queue = QueueAddresses {
        descriptors: at(0),
        driver: at(16 * 64),
        device: at(0x1000),
    };
    device.enable_queue(1, 64, queue).expect("enabled");
    let read = |offset| region.read::<u32>(offset).expect("inside");
    assert_eq!((read(0x28), read(0x3c)), (4096, 4096), "page and alignment");
    assert_eq!((read(0x30), read(0x38), read(0x40)), (1, 64, 0x30_0000));
    assert_eq!(read(0x44), 0, "QueueReady came with version 2");
    let again = device.enable_queue(1, 64, queue);
    assert_eq!(again, Err(DriverError::QueueRefused { queue: 1 }));
    let elsewhere = device.enable_queue(1, 64, addresses());
    assert!(matches!(
        elsewhere,
        Err(DriverError::QueueUnreachable { queue: 1, .. })
    ));
}

#[test]
fn a_legacy_mmio_device_has_32_features_and_no_generation() {
    let region = BarHost::new(None).bar().sub(0, 0x200).expect("inside");
    region.write(0, [VIRT, 1, TYPE_NET]).expect("inside");
    region.write(0x10, u32::MAX).expect("HostFeatures");
    region.write(0x100, 0x5634_1200_u32).expect("inside");
    let mut device = Mmio::probe(region.clone(), 0, TYPE_NET).expect("a card");
    assert_eq!(device.device_features(), u64::from(u32::MAX));
    device.set_driver_features(0x21);
    let written = [0x20, 0x24].map(|at| region.read::<u32>(at));
    assert_eq!(written, [Ok(0x21), Ok(0)]);
    let mut bytes = [0xff; 2];
    device.read_config(1, &mut bytes);
    assert_eq!(bytes, [0x12, 0x34]);
    device.read_config(0xff, &mut bytes);
    assert_eq!(bytes, [0, 0], "there is only one byte");
}
