//! The packet pool: every packet can be had, each has bytes of its own, and all go back.
#![forbid(unsafe_code)]

use alloc::format;
use alloc::string::String;
use core::ops::RangeInclusive;

use pbufpool::{Packet, PacketQueue, Pool};

/// Takes all packets of `pool` out, fills each with bytes of its own, looks whether they are still
/// there once all are full, and gives the packets back. Returns what was seen.
///
/// # Errors
/// What is wrong with the pool.
pub fn exercise(pool: &Pool) -> Result<String, String> {
    let before = pool.stats();
    let mut held = PacketQueue::new();
    while let Ok(mut packet) = pool.alloc() {
        let (mark, size) = (held.len(), pool.buffer_size());
        packet
            .set_span(0, size)
            .map_err(|why| format!("packet {mark}: {size} bytes do not fit: {why}"))?;
        let bytes = packet.data_mut();
        let bytes = bytes.ok_or_else(|| format!("packet {mark}: its buffer is shared"))?;
        bytes.chunks_mut(8).for_each(|chunk| fill(chunk, mark));
        held.push_back(packet);
    }
    let (taken, there) = (held.len(), before.packets - before.packets_in_use);
    if taken != there {
        return Err(format!("{there} packets were free, {taken} could be had"));
    }
    let intact = |(mark, packet): (usize, &Packet)| {
        let mut chunks = packet.data().chunks(8);
        chunks.all(|chunk| chunk == &mark_bytes(mark)[..chunk.len()])
    };
    if let Some(mark) = held.iter().enumerate().position(|pair| !intact(pair)) {
        return Err(format!("packet {mark} was overwritten by another"));
    }
    let addresses = device_addresses(&held);
    held.clear();
    let left = pool.stats().packets_in_use;
    if left != before.packets_in_use {
        return Err(format!("{left} packets did not come back"));
    }
    let size = pool.buffer_size();
    let (low, high) = (addresses.start(), addresses.end());
    Ok(format!(
        "{taken} packets of {size} bytes from {low:#x} to {high:#x}, each taken, filled, read, given back"
    ))
}

fn mark_bytes(mark: usize) -> [u8; 8] {
    (mark as u64)
        .wrapping_mul(0x9E37_79B9_7F4A_7C15)
        .to_le_bytes()
}

fn fill(chunk: &mut [u8], mark: usize) {
    chunk.copy_from_slice(&mark_bytes(mark)[..chunk.len()]);
}

/// From the lowest to the highest address that a device is told.
fn device_addresses(held: &PacketQueue) -> RangeInclusive<u64> {
    let address = |packet: &Packet| packet.first().map(|buflet| buflet.dma_addr().as_u64());
    let all = || held.iter().filter_map(address);
    all().min().unwrap_or(0)..=all().max().unwrap_or(0)
}
