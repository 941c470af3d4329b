//! Reflecting: no stack on the NIC, datagrams turn round behind the driver.
//!
//! `main` ends here in an image built with the feature `reflector` (`scripts/build-kernel.sh
//! --reflector`), which the benchmarks take for the ceiling of all that serves. Driver, pools and the
//! way into sleep are those that are shipped.
#![forbid(unsafe_code)]

use alloc::boxed::Box;

use drivers::net::{Armed, Health, NetDevice, QueueId};
use kernel::config::{Config, Ipv4Config};
use kernel::net::{BURST, Pools, Rest, Turn};
use kernel::reflector::Reflector;
use pbufpool::PacketQueue;
use smoltcp::time::Instant;

use crate::arch::power::{self, Exit};
use crate::nic::Nic;
use crate::turns::{self, Station};

/// The only queue pair that is looked at.
const PAIR: QueueId = QueueId(0);

/// A NIC whose frames turn round.
struct Mirror {
    nic: Box<dyn NetDevice>,
    pools: Pools,
    reflector: Reflector,
    received: PacketQueue,
    /// Answers that the NIC has not taken yet.
    to_send: PacketQueue,
}

impl Mirror {
    /// Frames that the NIC has room for besides those that wait already.
    fn room(&self) -> usize {
        let room = self.nic.tx_room(PAIR);
        room.saturating_sub(self.to_send.len())
    }
}

impl Station for Mirror {
    fn on_interrupt(&mut self) {
        self.nic.on_interrupt();
    }

    fn turn(&mut self, _: Instant) -> Turn {
        if let Health::Broken(fault) = self.nic.health() {
            log::error!("nic: {fault}");
            power::stop(Exit::NoDevice);
        }
        let mut moved = self.nic.reclaim(PAIR);
        let budget = self.room().min(BURST);
        moved += self.nic.rx_burst(PAIR, budget, &mut self.received);
        while let Some(packet) = self.received.pop_front() {
            if let Some(answer) = self.reflector.answer(packet) {
                self.to_send.push_back(answer);
            }
        }
        let most = self.room().min(BURST);
        moved += self.reflector.send(&self.pools.tx, most, &mut self.to_send);
        moved += self.nic.tx_burst(PAIR, &mut self.to_send);
        self.nic.refill(PAIR);
        self.nic.flush(PAIR);
        if moved == 0 { Turn::Idle } else { Turn::Worked }
    }

    fn rest(&mut self) -> Rest {
        match self.nic.arm(PAIR) {
            Armed::Work => Rest::No,
            Armed::Sleep => Rest::Until(None),
        }
    }
}

/// Reflects until the power goes.
pub fn forever(config: &Config, mut nic: Nic) -> ! {
    nic.introduce();
    let Ipv4Config::Static { address, .. } = config.ipv4 else {
        log::error!("millrace: a reflector needs ip=ADDRESS/PREFIX");
        power::stop(Exit::BadConfig);
    };
    let Nic {
        device,
        pools,
        polled,
    } = nic;
    let (mac, headroom) = (device.info().mac, device.tx_headroom());
    let mut mirror = Mirror {
        reflector: Reflector::new(mac, address.address(), headroom),
        nic: device,
        pools,
        received: PacketQueue::new(),
        to_send: PacketQueue::new(),
    };
    turns::forever(&mut mirror, config.idle_poll, polled)
}
