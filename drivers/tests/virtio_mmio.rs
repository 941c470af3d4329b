//! Virtio over MMIO: what a window says, and how a queue is set up in it.

mod models;

/// Split rings, unless a test says otherwise.
#[allow(dead_code, reason = "for the models")]
const PACKED: bool = false;

use drivers::DriverError;
use drivers::virtio::TYPE_NET;
use drivers::virtio::transport::Transport;
use drivers::virtio::transport::mmio::Mmio;
use models::registers::*;

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
    assert!(matches!(
        mmio(VIRT, 1, TYPE_NET),
        Err(DriverError::Legacy(_))
    ));
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
    device.notify(1);
    assert_eq!(read(0x50), 1);
    assert_eq!(
        device.enable_queue(1, 64, addresses()),
        Err(DriverError::QueueRefused { queue: 1 })
    );
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
