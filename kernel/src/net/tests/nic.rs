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
use pbufpool::{Offload, Packet, PacketQueue, Pool, PoolConfig};

use super::card;

/// The wire's side of a [`TestNic`].
#[derive(Clone, Default)]
pub(crate) struct Wire(Arc<Mutex<Cables>>);

#[derive(Default)]
struct Cables {
    to_stack: VecDeque<Vec<u8>>,
    from_stack: VecDeque<Vec<u8>>,
    /// Frames that asked something of the NIC.
    asked: Vec<Asked>,
    /// Bytes of the longest frame that the NIC was given.
    longest: usize,
    /// Frames that the NIC still takes before its transmit ring is full.
    tx_room: usize,
    posted: usize,
}

/// A frame of which the NIC was asked something.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Asked {
    pub(crate) len: usize,
    pub(crate) offload: Offload,
}

impl Wire {
    pub(crate) fn send(&self, frame: Vec<u8>) {
        self.0.lock().unwrap().to_stack.push_back(frame);
    }

    pub(crate) fn receive(&self) -> Option<Vec<u8>> {
        self.0.lock().unwrap().from_stack.pop_front()
    }

    /// What was asked of the NIC since this was last called.
    pub(crate) fn asked(&self) -> Vec<Asked> {
        core::mem::take(&mut self.0.lock().unwrap().asked)
    }

    /// Bytes of the longest frame that the NIC was given.
    pub(crate) fn longest(&self) -> usize {
        self.0.lock().unwrap().longest
    }

    pub(crate) fn set_tx_room(&self, frames: usize) {
        self.0.lock().unwrap().tx_room = frames;
    }
}

/// A NIC whose receive "ring" is a count of buffers taken from the pool at the last moment.
struct TestNic {
    info: DeviceInfo,
    capabilities: Capabilities,
    wire: Wire,
    pool: Pool,
    stats: NicStats,
}

/// Packets in the test pool.
pub(crate) const PACKETS: usize = 256;
/// Bytes of a buffer.
const BUFFER: usize = 2048;

/// A pool on this host.
pub(crate) fn make(config: PoolConfig) -> Pool {
    Pool::new(config, HeapDma::leaked(), Threads::leaked(1)).expect("a sound configuration")
}

/// A NIC, its pool and the other end of its cable.
pub(crate) fn cabled() -> (Box<dyn NetDevice>, Pool, Wire) {
    with_mtu(1500)
}

/// The same for a NIC that can do this.
pub(crate) fn with_offloads(capabilities: Capabilities) -> (Box<dyn NetDevice>, Pool, Wire) {
    with(1500, capabilities)
}

/// The same for IP packets of up to `mtu` bytes, received in chains where a buffer is too short.
pub(crate) fn with_mtu(mtu: usize) -> (Box<dyn NetDevice>, Pool, Wire) {
    let none = Capabilities {
        max_burst: 64,
        ..Capabilities::default()
    };
    with(mtu, none)
}

fn with(mtu: usize, capabilities: Capabilities) -> (Box<dyn NetDevice>, Pool, Wire) {
    let parts = (12 + mtu + 14).div_ceil(BUFFER) as u16;
    let config = PoolConfig::new("test")
        .packets(PACKETS)
        .buffer_size(BUFFER)
        .max_frags(parts)
        .on_demand(parts > 1)
        .monolithic(parts > 1)
        .magazine_capacity(8);
    let pool = make(config);
    let wire = Wire::default();
    wire.set_tx_room(usize::MAX);
    let info = DeviceInfo {
        model: "test",
        location: String::from("nowhere"),
        mac: crate::net::test_frames::OUR_MAC,
        mtu,
        queue_pairs: 1,
        rx_ring: 64,
        tx_ring: 64,
        interrupts: InterruptMode::Line,
        features: String::new(),
    };
    let nic = TestNic {
        info,
        capabilities,
        wire: wire.clone(),
        pool: pool.clone(),
        stats: NicStats::default(),
    };
    (Box::new(nic), pool, wire)
}

impl TestNic {
    /// A packet with `frame`, of as many buffers as it fills.
    fn received(&self, frame: &[u8]) -> Option<Packet> {
        let (first, rest) = frame.split_at(frame.len().min(BUFFER - 12));
        let part = |headroom, bytes: &[u8]| {
            let mut packet = self.pool.alloc().ok()?;
            packet.set_span(headroom, bytes.len()).expect("it fits");
            packet.data_mut().expect("unshared").copy_from_slice(bytes);
            Some(packet)
        };
        let mut packet = part(12, first)?;
        for bytes in rest.chunks(BUFFER) {
            packet.append(part(0, bytes)?).expect("a pool for chains");
        }
        Some(packet)
    }
}

impl NetDevice for TestNic {
    fn info(&self) -> &DeviceInfo {
        &self.info
    }

    fn capabilities(&self) -> Capabilities {
        self.capabilities
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
            let Some(packet) = self.received(&frame) else {
                self.stats.rx_no_buffer += 1;
                cables.to_stack.push_front(frame);
                return taken;
            };
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
            let frame: Vec<u8> = packet
                .buflets()
                .flat_map(|buflet| buflet.data())
                .copied()
                .collect();
            let offload = *packet.offload();
            cables.longest = cables.longest.max(frame.len());
            if offload.tx_checksum.is_some() || offload.gso.is_some() {
                let len = frame.len();
                cables.asked.push(Asked { len, offload });
            }
            cables.from_stack.extend(card::leave(&frame, &offload));
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
