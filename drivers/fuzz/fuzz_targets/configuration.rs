//! Configuration space, capability lists, BARs and registers with any contents: a driver that looks
//! at them says what is wrong, and reaches nothing outside the BARs.
#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "../../tests/models/registers.rs"]
#[allow(dead_code, reason = "the tests use all of it")]
mod registers;

use std::sync::{Mutex, OnceLock};

use drivers::bus::port::{PortIo, Width};
use drivers::host::Host;
use drivers::pci::fake::{FakeFunction, FakeSpace};
use drivers::pci::{PciAddress, PciFunction, scan};
use drivers::virtio::Status;
use drivers::virtio::transport::{Doorbell, Transport};
use drivers::virtio::transport::mmio::Mmio;
use drivers::virtio::transport::pci::{self, device_type};
use registers::{BAR, BAR_LEN, BarHost, addresses};

static HOST: OnceLock<BarHost> = OnceLock::new();
static PORTS: Ports = Ports(Mutex::new([0; 64]));

/// Ports of a device that answers anything, and keeps what is written to it.
struct Ports(Mutex<[u8; 64]>);

/// The first of them.
const FIRST: u16 = 0xc000;

fn bytes_of(width: Width) -> usize {
    match width {
        Width::Byte => 1,
        Width::Word => 2,
        Width::Double => 4,
    }
}

/// Where a port is among ours. A BAR may name others, where nobody answers.
fn place(port: u16, width: Width) -> Option<std::ops::Range<usize>> {
    let len = bytes_of(width);
    let at = usize::from(port.checked_sub(FIRST)?);
    (at + len <= 64).then_some(at..at + len)
}

impl PortIo for Ports {
    unsafe fn read(&self, port: u16, width: Width) -> u32 {
        let mut value = [0; 4];
        match place(port, width) {
            Some(range) => {
                let bytes = self.0.lock().expect("no panic inside");
                value[..range.len()].copy_from_slice(&bytes[range]);
            }
            None => value[..bytes_of(width)].fill(0xff),
        }
        u32::from_le_bytes(value)
    }

    unsafe fn write(&self, port: u16, width: Width, value: u32) {
        if let Some(range) = place(port, width) {
            let len = range.len();
            let mut bytes = self.0.lock().expect("no panic inside");
            bytes[range].copy_from_slice(&value.to_le_bytes()[..len]);
        }
    }
}

fuzz_target!(
    |input: (Vec<(u8, u32)>, Vec<(u16, u32)>, bool, bool, u16)| {
        let (words, registers, virtio, modern, queue) = input;
        let host = HOST.get_or_init(|| BarHost::new(None).with_ports(&PORTS));
        let window = host.bar();
        for at in (0..BAR_LEN).step_by(4) {
            window.write(at, 0_u32).expect("inside");
        }
        for (at, value) in registers {
            let at = usize::from(at) % BAR_LEN / 4 * 4;
            window.write(at, value).expect("inside");
            let [byte, ..] = value.to_le_bytes();
            PORTS.0.lock().expect("no panic inside")[at / 4 % 64] = byte;
        }
        let address = PciAddress::new(0, 0, 2, 0);
        let device = if modern { 0x1041 } else { 0x1000 };
        let mut function = FakeFunction::endpoint(address, 0x1af4, device)
            .io(0, FIRST, 64)
            .memory32(4, BAR, BAR_LEN as u32)
            .point_to(0x40);
        // Half the time it is a card by its ids, or nothing gets far.
        let first = if virtio { 0x10 } else { 0 };
        for (at, value) in words {
            let at = u16::from(at) & 0xfc;
            if at >= first {
                function = function.word(at, value);
            }
        }
        let space = FakeSpace::new([function]);
        scan(&space, |found| _ = device_type(found));
        if let Some(function) = PciFunction::read(&space, address) {
            if let Ok(device) = pci::probe(&space, &function, host) {
                use_it(device, queue);
            }
        }
        if let Ok(device) = Mmio::probe(host.map_mmio(BAR.into(), BAR_LEN).expect("it"), 0, 1) {
            use_it(device, queue);
        }
    }
);

/// Every verb of a transport.
fn use_it(mut device: impl Transport, queue: u16) {
    let _ = (device.location(), device.interrupts(), device.acknowledge());
    device.set_status(Status::empty());
    device.set_status(Status::ACKNOWLEDGE);
    let features = device.device_features();
    device.set_driver_features(features);
    let size = device.queue_max(queue);
    let _ = device.enable_queue(queue, size, addresses());
    device.notify(Doorbell { queue, next: 0 });
    for (at, len) in [(0, 6), (6, 2), (10, 2), (0xfff, 8), (usize::from(queue), 3)] {
        device.read_config(at, &mut vec![0; len]);
    }
    let _ = device.status();
}
