//! The ports of a card from before virtio 1.0: how the real transport uses them, and what it refuses.

use std::sync::{Arc, Mutex};

use drivers::DriverError;
use drivers::bus::port::{PortIo, PortRegion, Width};
use drivers::host::{HostError, MsiMessage};
use drivers::net::InterruptMode;
use drivers::pci::capability::{MSI_X, VENDOR_SPECIFIC};
use drivers::pci::fake::{FakeFunction, FakeSpace};
use drivers::pci::{PciError, PciFunction};
use drivers::virtio::Status;
use drivers::virtio::transport::pci::{self, PciLegacy};
use drivers::virtio::transport::{Doorbell, Interface, QueueAddresses, Transport};
use pbufpool::DmaAddr;

use crate::models::memory::{GuestDma, TestHost, keep};
use crate::models::ports::{self, CardPorts, function};
use crate::models::registers::{BAR, BarHost};
use crate::models::{Card, QUEUES};

/// Ports of a card that runs no driver, and the transport on them.
fn bare(msix: bool) -> (&'static CardPorts, PciLegacy) {
    let dma = GuestDma::leaked(1 << 20);
    let host = TestHost::leaked(dma);
    let ports = keep(CardPorts::new(Arc::new(Mutex::new(Card::new(dma))), msix));
    assert!(host.ports.set(ports).is_ok());
    let device = ports::probe(function(), host).expect("a legacy card");
    (ports, device)
}

#[test]
fn an_address_that_no_page_number_names_is_refused() {
    let (ports, mut device) = bare(false);
    let parts = |base: u64, used: u64| QueueAddresses {
        descriptors: DmaAddr::new(base),
        driver: DmaAddr::new(base.wrapping_add(16 * 256)),
        device: DmaAddr::new(base.wrapping_add(used)),
    };
    // 16 * 256 + 2 * (3 + 256) bytes are two pages.
    for (base, used) in [
        (0x1000_0200, 0x2000),
        (0x1000_0000, 0x1208),
        (0x1000_0000, 0x3000),
        (1 << 44, 0x2000),
        (u64::MAX - 0xfff, 0x2000),
        (0, 0x2000),
    ] {
        let unreachable = DriverError::QueueUnreachable {
            queue: 0,
            address: base,
        };
        let answer = device.enable_queue(0, 256, parts(base, used));
        assert_eq!(answer, Err(unreachable), "{base:#x}");
    }
    let refused = Err(DriverError::QueueRefused { queue: 0 });
    let other_size = QueueAddresses {
        descriptors: DmaAddr::new(0x1000_0000),
        driver: DmaAddr::new(0x1000_0000 + 16 * 128),
        device: DmaAddr::new(0x1000_1000),
    };
    assert_eq!(device.enable_queue(0, 128, other_size), refused);
    assert_eq!(ports.registers().pages, [0; QUEUES]);
    ports.registers().pages[0] = 5;
    let twice = device.enable_queue(0, 256, parts(0x1000_0000, 0x2000));
    assert_eq!(twice, refused, "in use already");
}

#[test]
fn configuration_is_read_until_it_is_the_same_twice() {
    let (ports, device) = bare(false);
    ports.registers().restless = 14;
    let mut mac = [0; 6];
    device.read_config(0, &mut mac);
    assert_eq!(mac, [0x52, 0x54, 0, 0x12, 0x34, 0x56]);
    // One that never settles is given up on.
    ports.registers().restless = 255;
    device.read_config(0, &mut mac);
    assert!(ports.registers().restless > 100);
}

#[test]
fn what_is_not_among_the_ports_reads_as_zero() {
    let (_, device) = bare(false);
    let mut bytes = [0xff; 4];
    device.read_config(usize::from(ports::COUNT) - 22, &mut bytes);
    assert_eq!(bytes, [0; 4]);
    bytes.fill(0xff);
    device.read_config(usize::MAX - 30, &mut bytes);
    assert_eq!(bytes, [0; 4]);
}

fn with_msix(function: FakeFunction) -> FakeFunction {
    function
        .memory32(1, BAR + 0x2800, 0x100)
        .capability(0x90, MSI_X, 2, &[1, 0])
        .writable(0x90, 0xc000_0000)
}

/// With MSI-X two more registers push the configuration along.
#[test]
fn msix_moves_the_configuration_and_gives_every_queue_the_one_vector() {
    let dma = GuestDma::leaked(1 << 20);
    let ports = keep(CardPorts::new(Arc::new(Mutex::new(Card::new(dma))), true));
    let host = BarHost::new(Some(MsiMessage {
        address: 0xfee0_0000,
        data: 0x41,
    }));
    let host = host.with_ports(ports);
    let mut device = ports::probe(with_msix(function()), &host).expect("a legacy card");
    assert_eq!(device.interrupts(), InterruptMode::MsiX(1));
    assert_eq!(host.word(0x2800), 0xfee0_0000);
    assert!(device.acknowledge(), "the register says nothing now");
    let mut mac = [0; 6];
    device.read_config(0, &mut mac);
    assert_eq!(mac, [0x52, 0x54, 0, 0x12, 0x34, 0x56]);
    let at = |address: u64| DmaAddr::new(0x3_0000_0000 + address);
    let addresses = QueueAddresses {
        descriptors: at(0),
        driver: at(0x1000),
        device: at(0x2000),
    };
    device.enable_queue(1, 256, addresses).expect("it takes it");
    assert_eq!(ports.registers().vectors[..3], [0, 0xffff, 0]);
    assert_eq!(ports.registers().pages[..2], [0, 0x30_0000]);
    device.notify(Doorbell { queue: 1, next: 7 });
    assert_eq!(ports.registers().notified, [1]);
    device.set_status(Status::empty());
    ports.registers().refuses_vectors = true;
    let refused = Err(DriverError::VectorRefused { vector: 0 });
    assert_eq!(device.enable_queue(1, 256, addresses), refused);
    assert_eq!(ports.registers().pages, [0; QUEUES]);
}

#[test]
fn ports_that_are_too_few_or_not_there_are_refused() {
    let dma = GuestDma::leaked(1 << 20);
    let host = TestHost::leaked(dma);
    let ports = CardPorts::new(Arc::new(Mutex::new(Card::new(dma))), false);
    let _ = host.ports.set(keep(ports));
    let endpoint = || FakeFunction::endpoint(ports::address(), 0x1af4, 0x1000);
    let why = |function| ports::probe(function, host).expect_err("refused");
    let pci = DriverError::Pci;
    let index = 0;
    assert_eq!(why(endpoint()), pci(PciError::NoPortBar { index }));
    let memory = endpoint().memory32(0, 0xfe00_0000, 4096);
    assert_eq!(why(memory), pci(PciError::NoPortBar { index }));
    let unassigned = endpoint().io(0, 0, 64);
    assert_eq!(why(unassigned), pci(PciError::BarUnassigned { index }));
    let short = DriverError::BadStructure {
        what: "legacy registers",
        offset: 0,
        len: 24,
        available: 16,
    };
    assert_eq!(why(endpoint().io(0, ports::FIRST, 16)), short);
    let without_ports = TestHost::leaked(dma);
    let why = ports::probe(function(), without_ports).expect_err("refused");
    let (first, len) = (ports::FIRST, ports::COUNT);
    assert_eq!(why, DriverError::Host(HostError::NoPorts { first, len }));
}

/// Ports are for devices that have nothing else.
#[test]
fn which_interface_a_device_has_is_found_out() {
    let dma = GuestDma::leaked(1 << 20);
    let interface = |function: FakeFunction| {
        let host = TestHost::leaked(dma);
        let ports = CardPorts::new(Arc::new(Mutex::new(Card::new(dma))), false);
        let _ = host.ports.set(keep(ports));
        let space = FakeSpace::new([function]);
        let function = PciFunction::read(&space, ports::address()).expect("it answers");
        pci::probe(&space, &function, host).map(|device| device.interface())
    };
    assert_eq!(interface(function()).ok(), Some(Interface::Legacy));
    // With a common structure it is a modern one, whatever else is there or not.
    let both = function().memory32(4, 0xfe00_0000, 0x4000).capability(
        0x40,
        VENDOR_SPECIFIC,
        0x0110,
        &[4, 0, 0x1000],
    );
    let cannot_map = HostError::CannotMap {
        phys: 0xfe00_0000,
        len: 0x1000,
    };
    assert_eq!(interface(both).err(), Some(DriverError::Host(cannot_map)));
    let modern = FakeFunction::endpoint(ports::address(), 0x1af4, 0x1041).io(0, ports::FIRST, 64);
    let missing = DriverError::Missing("common configuration structure");
    assert_eq!(interface(modern).err(), Some(missing));
}

/// Ports that note what is read and written.
#[derive(Default)]
struct Noting(Mutex<Vec<(u16, Width, Option<u32>)>>);

impl PortIo for Noting {
    unsafe fn read(&self, port: u16, width: Width) -> u32 {
        self.0
            .lock()
            .expect("no panic inside")
            .push((port, width, None));
        0x8765_4321
    }

    unsafe fn write(&self, port: u16, width: Width, value: u32) {
        let mut noted = self.0.lock().expect("no panic inside");
        noted.push((port, width, Some(value)));
    }
}

#[test]
fn no_access_leaves_a_window_of_ports() {
    let io = keep(Noting::default());
    // SAFETY: nothing happens at these ports.
    let window = unsafe { PortRegion::from_raw(io, 0xfff0, 12) };
    assert_eq!((window.len(), window.read(11)), (12, Some(0x21_u8)));
    assert_eq!(window.read(10), Some(0x4321_u16));
    assert_eq!(window.read(8), Some(0x8765_4321_u32));
    assert_eq!(window.write(4, 0xabcd_u16), Some(()));
    let inside = [
        (0xfffb, Width::Byte, None),
        (0xfffa, Width::Word, None),
        (0xfff8, Width::Double, None),
        (0xfff4, Width::Word, Some(0xabcd)),
    ];
    assert_eq!(*io.0.lock().expect("no panic inside"), inside);
    for offset in [12, 13, 15, 16, 0xffff, 0x1_0000, usize::MAX] {
        assert_eq!(window.read::<u8>(offset), None, "{offset:#x}");
        assert_eq!(window.write(offset, 1_u8), None);
    }
    assert_eq!(
        (window.read::<u16>(11), window.read::<u32>(9)),
        (None, None)
    );
    let misaligned = (window.read::<u16>(3), window.read::<u32>(2));
    assert_eq!(misaligned, (None, None));
    assert_eq!(*io.0.lock().expect("no panic inside"), inside);
}
