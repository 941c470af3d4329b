//! How large rings and pools are, for the memory there is and what the command line asks for; and
//! the pools themselves.
//!
//! [`bring_up`](super::bring_up) chooses once and makes pools for the NIC that it found: what a NIC
//! cannot use is not made.
#![forbid(unsafe_code)]

use drivers::host::Host;
use drivers::intel;
use drivers::virtio::Features;
use drivers::virtio::net::{HEADER_LEN, MOST_FRAME, MOST_RECEIVED, Options, RSS_KEY};
use kernel::config::{Config, PACKETS_BESIDES_RINGS};
use kernel::net::Pools;
use pbufpool::region::SEGMENT_UNIT;
use pbufpool::{Direction, Pool, PoolConfig};

use super::{MACHINE, NicError};
use crate::arch::cpu;
use crate::mem;

/// Bytes of a buffer: a frame of the usual MTU, and more.
const BUFFER: usize = 2048;

/// Bytes of a receive buffer where frames may be merged: each buffer of a frame has to be posted, taken
/// and linked, so half as many cost half as much.
const MERGED_BUFFER: usize = 4096;

/// Smallest ring; `ring.rx` and `ring.tx` take none smaller.
const LEAST_RING: usize = 16;

/// Bytes of a large buffer: the longest frame to send behind its headroom, and the longest one
/// received.
const LARGE_BUFFER: usize = {
    let (sent, received) = (HEADER_LEN + MOST_FRAME, MOST_RECEIVED);
    let most = if sent > received { sent } else { received };
    most.next_multiple_of(64)
};

/// Large buffers, where there is memory for them.
const LARGE_PACKETS: usize = 32;

/// Free bytes from which on there are large buffers.
const ROOM_FOR_LARGE: usize = 32 << 20;

/// Ethernet header.
const ETHERNET: usize = 14;

/// What a NIC could use.
pub(super) struct Wishes {
    /// Frames of 64 KiB over several receive buffers.
    pub(super) merged: bool,
    /// Frames over this many receive buffers at most, since the MTU asks for them.
    pub(super) jumbo: Option<u16>,
    /// Frames of 64 KiB to be cut.
    pub(super) cut: bool,
    /// Bytes of the header that the device has in front of each frame.
    pub(super) header: usize,
}

/// Sizes of rings and pools.
pub(super) struct Sizes {
    rx: usize,
    tx: usize,
    /// Packets of the receive and the transmit pool together.
    packets: usize,
    /// Bytes of their buffers.
    buffer: usize,
    /// Neither `pool.packets` nor `pool.buffer` was asked for.
    free_choice: bool,
    /// Bytes of the longest IP packet.
    mtu: usize,
    large: bool,
    without: Features,
    /// Queue pairs, each with both rings.
    pairs: usize,
    /// Mixed into the hash of a NIC that steers by one.
    rss_key: [u8; RSS_KEY],
}

/// KiB that the pools leave for the stack, its sockets and a few connections.
const STACK_KB: usize = 512;

impl Sizes {
    /// What was asked for, or what suits `free` bytes: rings of 256 from 32 MiB on, and pools
    /// that fill both and leave as much again. Rings that were not asked for fit the pool that
    /// was.
    pub(super) fn choose(config: &Config, free: usize) -> Self {
        let asked = &config.pool;
        let by_memory = match free >> 20 {
            0..8 => 64,
            8..32 => 128,
            _ => 256,
        };
        let pairs = config.queues;
        let by_pool = asked.packets.map_or(usize::MAX, |packets| {
            let given = asked.rx_ring.or(asked.tx_ring).unwrap_or(0);
            let share =
                (packets.saturating_sub(PACKETS_BESIDES_RINGS) / pairs).saturating_sub(given);
            let share = if given == 0 { share / 2 } else { share };
            1 << share.max(LEAST_RING).ilog2()
        });
        let ring = by_memory.min(by_pool);
        let rx = asked.rx_ring.unwrap_or(ring);
        let tx = asked.tx_ring.unwrap_or(ring);
        let rings = pairs * (rx + tx);
        let least = rings + PACKETS_BESIDES_RINGS;
        let roomy = if free < ROOM_FOR_LARGE {
            least
        } else {
            2 * rings.max(512)
        };
        Self {
            rx,
            tx,
            packets: asked.packets.unwrap_or(roomy),
            buffer: asked.buffer.unwrap_or(BUFFER),
            free_choice: asked.buffer.is_none() && asked.packets.is_none(),
            mtu: config.mtu.unwrap_or(intel::Options::default().mtu),
            large: free >= ROOM_FOR_LARGE,
            without: config.virtio_without,
            pairs,
            rss_key: core::array::from_fn(|_| cpu::random_u64() as u8),
        }
    }

    /// Refuses what there is not enough memory for.
    pub(super) fn check(&self) -> Result<(), NicError> {
        let Self {
            packets, buffer, ..
        } = *self;
        let (_, tx) = self.shares();
        // Which NIC there is, is not known yet: one that merges frames has the larger pool.
        let rx = [true, false].map(|merging| {
            let (packets, buffer) = self.receive(self.merges(merging));
            packets * (buffer + 256)
        });
        // Each has a segment of its own.
        let large = if self.large {
            LARGE_PACKETS * LARGE_BUFFER.next_multiple_of(SEGMENT_UNIT)
        } else {
            0
        };
        let bytes = rx[0].max(rx[1]) + tx * (self.tx_buffer() + 256) + large;
        let needed_kb = bytes / 1024;
        let available_kb = mem::stats().available_kb as usize;
        let most_kb = (available_kb * 3 / 4).min(available_kb.saturating_sub(STACK_KB));
        if needed_kb <= most_kb {
            return Ok(());
        }
        let mtu = match self.tx_buffer() {
            plain if plain == buffer => alloc::string::String::new(),
            _ => alloc::format!(" and nic.mtu={}", self.mtu),
        };
        Err(NicError::Config(alloc::format!(
            "pool.packets={packets} with pool.buffer={buffer}{mtu}: needs {needed_kb} KiB, but at most {most_kb} of {available_kb} KiB may be used; give the machine more memory or the pool less",
        )))
    }

    /// Packets of the receive and of the transmit pool. What is neither ring's is shared out evenly.
    fn shares(&self) -> (usize, usize) {
        let (rings_rx, rings_tx) = (self.pairs * self.rx, self.pairs * self.tx);
        let besides = self.packets - rings_rx - rings_tx;
        (rings_rx + besides / 2, rings_tx + besides.div_ceil(2))
    }

    /// Whether the receive pool is for merged frames, on a NIC that can merge or not: a ring that
    /// cannot hold the longest frame gets none.
    fn merges(&self, can: bool) -> bool {
        let buffer = if self.free_choice {
            MERGED_BUFFER
        } else {
            self.buffer
        };
        can && self.large && self.rx * buffer >= MOST_RECEIVED
    }

    /// Packets of the receive pool, and bytes of their buffers.
    fn receive(&self, merged: bool) -> (usize, usize) {
        let (packets, _) = self.shares();
        if !(merged && self.free_choice) {
            return (packets, self.buffer);
        }
        // Of twice the size, half as many beside the ring are as much.
        let beside = packets - self.pairs * self.rx;
        (packets - beside / 2, MERGED_BUFFER)
    }

    /// Bytes of a transmit buffer: smoltcp writes a frame in one piece.
    fn tx_buffer(&self) -> usize {
        let frame = (self.mtu + ETHERNET).next_multiple_of(64);
        self.buffer.max(if self.mtu > 1500 { frame } else { 0 })
    }

    /// Receive buffers of an Intel card that the longest frame fills, if it needs several.
    pub(super) fn jumbo(&self) -> Option<u16> {
        let buffer = intel::bring_up::buffer_size(self.buffer)?;
        let parts = (self.mtu + ETHERNET).div_ceil(buffer.into());
        (parts > 1).then_some(parts as u16)
    }

    /// What the driver of Intel's cards is told.
    pub(super) fn intel_options(&self) -> intel::Options {
        intel::Options {
            rx_ring: self.rx as u16,
            tx_ring: self.tx as u16,
            pairs: self.pairs as u16,
            rss_key: self.rss_key,
            mtu: self.mtu,
        }
    }

    /// What the driver of virtio cards is told.
    pub(super) fn options(&self) -> Options {
        Options {
            rx_ring: self.rx as u16,
            tx_ring: self.tx as u16,
            without: self.without,
            pairs: self.pairs as u16,
            rss_key: self.rss_key,
        }
    }

    /// The pools for a NIC.
    pub(super) fn pools(&self, wishes: &Wishes) -> Result<Pools, NicError> {
        let (_, tx) = self.shares();
        let merged = self.merges(wishes.merged);
        let (rx, rx_buffer) = self.receive(merged);
        let config = |name, packets, buffer| config(name, packets, buffer).header(wishes.header);
        let receive = config("net.rx", rx, rx_buffer).direction(Direction::In);
        let merged_parts = merged.then(|| MOST_RECEIVED.div_ceil(rx_buffer) as u16);
        let rx = match merged_parts.or(wishes.jumbo) {
            // In one segment all neighbours are back to back.
            Some(parts) => make(receive.on_demand(true).max_frags(parts).monolithic(true))?,
            None => make(receive)?,
        };
        let tx = make(config("net.tx", tx, self.tx_buffer()).direction(Direction::Out))?;
        let large = (merged || wishes.cut) && self.large;
        let large = large.then(|| make(config("net.large", LARGE_PACKETS, LARGE_BUFFER)));
        Ok(Pools {
            rx,
            tx,
            large: large.transpose()?,
        })
    }
}

fn config(name: &str, packets: usize, buffer: usize) -> PoolConfig {
    // A magazine holds two bursts; in a small pool less, so that it is not all hoard.
    let magazine = (packets / 8).clamp(8, 128);
    PoolConfig::new(name)
        .packets(packets)
        .buffer_size(buffer)
        .magazine_capacity(magazine)
}

fn make(config: PoolConfig) -> Result<Pool, NicError> {
    Pool::new(config, MACHINE.dma(), &MACHINE)
        .map_err(|why| NicError::Config(alloc::format!("pool: {why}")))
}
