//! A NIC made of two queues, for turning a whole stack on a host.
#![forbid(unsafe_code)]

use std::boxed::Box;
use std::collections::VecDeque;
use std::string::String;
use std::sync::{Arc, Mutex};
use std::vec::Vec;

use drivers::DriverError;
use drivers::net::*;
use pbufpool::test_utils::{HeapDma, Threads};
use pbufpool::{PacketQueue, Pool, PoolConfig};

/// The wire's side of a [`TestNic`].
#[derive(Clone, Default)]
pub(crate) struct Wire(Arc<Mutex<Cables>>);

#[derive(Default)]
struct Cables {
    to_stack: VecDeque<Vec<u8>>,
    from_stack: VecDeque<Vec<u8>>,
    /// Frames that the NIC still takes before its transmit ring is full.
    tx_room: usize,
    posted: usize,
}

impl Wire {
    pub(crate) fn send(&self, frame: Vec<u8>) {
        self.0.lock().unwrap().to_stack.push_back(frame);
    }

    pub(crate) fn receive(&self) -> Option<Vec<u8>> {
        self.0.lock().unwrap().from_stack.pop_front()
    }

    pub(crate) fn set_tx_room(&self, frames: usize) {
        self.0.lock().unwrap().tx_room = frames;
    }
}

/// A NIC whose receive "ring" is a count of buffers taken from the pool at the last moment.
struct TestNic {
    info: DeviceInfo,
    wire: Wire,
    pool: Pool,
    stats: NicStats,
}

/// Packets in the test pool.
pub(crate) const PACKETS: usize = 256;

/// A NIC, its pool and the other end of its cable.
pub(crate) fn cabled() -> (Box<dyn NetDevice>, Pool, Wire) {
    let config = PoolConfig::new("test")
        .packets(PACKETS)
        .buffer_size(2048)
        .magazine_capacity(8);
    let threads = Threads::leaked(1);
    let pool = Pool::new(config, HeapDma::leaked(), threads).expect("a sound configuration");
    let wire = Wire::default();
    wire.set_tx_room(usize::MAX);
    let info = DeviceInfo {
        model: "test",
        location: String::from("nowhere"),
        mac: crate::net::test_frames::OUR_MAC,
        mtu: 1500,
        queue_pairs: 1,
        rx_ring: 64,
        tx_ring: 64,
        interrupts: InterruptMode::Line,
        features: String::new(),
    };
    let nic = TestNic {
        info,
        wire: wire.clone(),
        pool: pool.clone(),
        stats: NicStats::default(),
    };
    (Box::new(nic), pool, wire)
}

impl NetDevice for TestNic {
    fn info(&self) -> &DeviceInfo {
        &self.info
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities {
            max_burst: 64,
            ..Capabilities::default()
        }
    }

    fn link(&mut self) -> LinkState {
        LinkState::Up { mbps: None }
    }

    fn stats(&self) -> NicStats {
        self.stats
    }

    fn lent(&self, _: QueueId) -> LentCounts {
        LentCounts::default()
    }

    fn tx_headroom(&self) -> usize {
        12
    }

    fn refill(&mut self, _: QueueId) -> usize {
        self.wire.0.lock().unwrap().posted = 64;
        0
    }

    fn rx_burst(&mut self, _: QueueId, budget: usize, into: &mut PacketQueue) -> usize {
        let mut cables = self.wire.0.lock().unwrap();
        for taken in 0..budget {
            let Some(frame) = cables.to_stack.pop_front() else {
                return taken;
            };
            let Ok(mut packet) = self.pool.alloc() else {
                self.stats.rx_no_buffer += 1;
                cables.to_stack.push_front(frame);
                return taken;
            };
            packet
                .set_span(12, frame.len())
                .expect("a frame fits a buffer");
            packet.data_mut().expect("unshared").copy_from_slice(&frame);
            self.stats.rx_packets += 1;
            into.push_back(packet);
        }
        budget
    }

    fn tx_room(&self, _: QueueId) -> usize {
        self.wire.0.lock().unwrap().tx_room
    }

    fn tx_burst(&mut self, _: QueueId, from: &mut PacketQueue) -> usize {
        let mut cables = self.wire.0.lock().unwrap();
        let mut sent = 0;
        while cables.tx_room > 0
            && let Some(packet) = from.pop_front()
        {
            assert!(
                packet.headroom() >= 12,
                "the device header fits before the frame"
            );
            cables.from_stack.push_back(packet.data().to_vec());
            cables.tx_room -= 1;
            sent += 1;
        }
        self.stats.tx_packets += sent as u64;
        sent
    }

    fn reclaim(&mut self, _: QueueId) -> usize {
        0
    }

    fn flush(&mut self, _: QueueId) {}

    fn arm(&mut self, _: QueueId) -> Armed {
        if self.wire.0.lock().unwrap().to_stack.is_empty() {
            Armed::Sleep
        } else {
            Armed::Work
        }
    }

    fn on_interrupt(&mut self) {}

    fn health(&self) -> Health {
        Health::Ok
    }

    fn reset(&mut self) -> Result<(), DriverError> {
        Ok(())
    }
}
