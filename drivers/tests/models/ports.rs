//! The card as a legacy PCI device (virtio 1.2, 4.1.4.10): its registers in ports, its queues where
//! a page number says.
//!
//! Strict: an access at another offset, or of another width, than the specification gives is a
//! mistake of the driver, and so is any word of virtio 1.0.

use std::sync::{Arc, Mutex, MutexGuard};

use drivers::DriverError;
use drivers::bus::port::{PortIo, Width};
use drivers::host::Host;
use drivers::pci::fake::{FakeFunction, FakeSpace};
use drivers::pci::{PciAddress, PciFunction};
use drivers::virtio::Status;
use drivers::virtio::transport::pci::PciLegacy;
use drivers::virtio::transport::{Doorbell, QueueAddresses, Transport};
use pbufpool::DmaAddr;

use super::card::{Card, CardTransport, QUEUES};
use super::memory::{TestHost, keep};

/// The first of the card's ports.
pub(crate) const FIRST: u16 = 0xc040;
/// How many there are.
pub(crate) const COUNT: u16 = 64;
/// Where it is.
pub(crate) fn address() -> PciAddress {
    PciAddress::new(0, 0, 3, 0)
}

/// Configuration space of a legacy card without MSI-X.
pub(crate) fn function() -> FakeFunction {
    FakeFunction::endpoint(address(), 0x1af4, 0x1000)
        .word(0x2c, 1 << 16)
        .io(0, FIRST, COUNT)
}

/// The real transport, on `card`.
pub(crate) fn transport(
    card: &Arc<Mutex<Card>>,
    host: &'static TestHost,
) -> Result<PciLegacy, DriverError> {
    let ports = keep(CardPorts::new(card.clone(), false));
    assert!(host.ports.set(ports).is_ok(), "one card for each host");
    probe(function(), host)
}

/// Probes `function` alone on its bus.
pub(crate) fn probe(function: FakeFunction, host: &dyn Host) -> Result<PciLegacy, DriverError> {
    let space = FakeSpace::new([function]);
    let function = PciFunction::read(&space, address()).expect("it answers");
    PciLegacy::probe(&space, &function, host)
}

/// A card behind ports.
pub(crate) struct CardPorts {
    card: Arc<Mutex<Card>>,
    registers: Mutex<Registers>,
}

/// What the card's ports keep that the card does not.
#[derive(Clone, Default, Debug)]
pub(crate) struct Registers {
    pub(crate) select: u16,
    pub(crate) pages: [u32; QUEUES],
    /// Whether MSI-X is on, and the vectors of configuration and queues.
    pub(crate) msix: bool,
    pub(crate) vectors: [u16; 1 + QUEUES],
    pub(crate) notified: Vec<u16>,
    /// Has no room for vectors.
    pub(crate) refuses_vectors: bool,
    /// Configuration changes with each byte read, this many times more.
    pub(crate) restless: u8,
}

impl CardPorts {
    pub(crate) fn new(card: Arc<Mutex<Card>>, msix: bool) -> Self {
        let registers = Registers {
            msix,
            vectors: [0xffff; 1 + QUEUES],
            ..Registers::default()
        };
        Self {
            card,
            registers: Mutex::new(registers),
        }
    }

    pub(crate) fn registers(&self) -> MutexGuard<'_, Registers> {
        self.registers.lock().expect("no panic inside")
    }

    fn card(&self) -> MutexGuard<'_, Card> {
        self.card.lock().expect("no panic inside")
    }

    /// The queue begins on `page`: the parts follow each other, the used ring on a page of its own
    /// (2.7.2, written out here once more).
    fn enable(&self, queue: u16, page: u32) -> bool {
        let mut device = CardTransport(self.card.clone());
        let size = device.queue_max(queue);
        let base = u64::from(page) << 12;
        let n = u64::from(size);
        let used = (16 * n + 2 * (3 + n)).div_ceil(4096) * 4096;
        let at = |offset| DmaAddr::new(base + offset);
        let addresses = QueueAddresses {
            descriptors: at(0),
            driver: at(16 * n),
            device: at(used),
        };
        device.enable_queue(queue, size, addresses).is_ok()
    }
}

impl PortIo for CardPorts {
    unsafe fn read(&self, port: u16, width: Width) -> u32 {
        let mut registers = self.registers();
        let queue = usize::from(registers.select);
        let gone = self.card().faults.gone;
        let config = if registers.msix { 24 } else { 20 };
        let value = match (port - FIRST, width) {
            (0, Width::Double) => self.card().offered as u32,
            (4, Width::Double) => self.card().accepted as u32,
            (8, Width::Double) => registers.pages.get(queue).copied().unwrap_or(0),
            (12, Width::Word) => {
                let mut device = CardTransport(self.card.clone());
                device.queue_max(registers.select).into()
            }
            (14, Width::Word) => registers.select.into(),
            (18, Width::Byte) => {
                let status = CardTransport(self.card.clone()).status();
                status.bits().into()
            }
            (19, Width::Byte) => core::mem::take(&mut self.card().pending).into(),
            (20, Width::Word) if registers.msix => registers.vectors[0].into(),
            (22, Width::Word) if registers.msix => registers.vectors[1 + queue].into(),
            (at, Width::Byte) if at >= config => {
                let restless = registers.restless;
                registers.restless = restless.saturating_sub(1);
                let byte = self.card().config.get(usize::from(at - config)).copied();
                u32::from(byte.unwrap_or(0).wrapping_add(restless))
            }
            (at, width) => panic!("no {width:?} to read at {at}"),
        };
        match width {
            _ if !gone => value,
            Width::Byte => 0xff,
            Width::Word => 0xffff,
            Width::Double => u32::MAX,
        }
    }

    unsafe fn write(&self, port: u16, width: Width, value: u32) {
        let mut registers = self.registers();
        let queue = registers.select;
        let vector = if registers.refuses_vectors {
            0xffff
        } else {
            value as u16
        };
        match (port - FIRST, width) {
            (4, Width::Double) => self.card().accepted = value.into(),
            (8, Width::Double) => {
                assert_ne!(value, 0, "a running queue is taken away by a reset");
                assert_eq!(registers.pages[usize::from(queue)], 0);
                if self.enable(queue, value) {
                    registers.pages[usize::from(queue)] = value;
                }
            }
            (14, Width::Word) => registers.select = value as u16,
            (16, Width::Word) => {
                registers.notified.push(value as u16);
                let queue = value as u16;
                CardTransport(self.card.clone()).notify(Doorbell { queue, next: 0 });
            }
            (18, Width::Byte) => {
                let status = Status::from_bits_retain(value as u8);
                assert!(
                    !status.contains(Status::FEATURES_OK),
                    "a word of later times"
                );
                CardTransport(self.card.clone()).set_status(status);
                if self.card().status == 0 {
                    registers.pages = [0; QUEUES];
                    registers.vectors = [0xffff; 1 + QUEUES];
                }
            }
            (20, Width::Word) if registers.msix => registers.vectors[0] = vector,
            (22, Width::Word) if registers.msix => {
                registers.vectors[1 + usize::from(queue)] = vector;
            }
            (at, width) => panic!("no {width:?} to write at {at}"),
        }
    }
}
