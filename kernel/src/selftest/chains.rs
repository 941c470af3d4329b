//! Frames that lie in several buffers leave the NIC.
//!
//! The image itself sends frames in one piece; a driver takes chains all the same. The frames are those of
//! the [`loopback`](super::loopback), cut into pieces. Here it is seen that the NIC takes and completes them;
//! what is on the wire, only somebody at its other end can tell.
#![forbid(unsafe_code)]

use alloc::format;
use alloc::string::String;
use core::ops::RangeInclusive;

use drivers::net::{MacAddr, NetDevice};
use pbufpool::{Packet, PacketQueue, Pool};

use super::loopback::{PAIR, PATIENCE, attend, bytes, filled, len, works};

/// Buffers of a frame: one frame of each number.
const BUFFERS: RangeInclusive<usize> = 2..=MOST_BUFFERS;
/// Buffers of the longest frame: the chains that the pool has to allow.
pub const MOST_BUFFERS: usize = 8;

/// Sends a frame in each number of buffers, taken from `pool`. `wait` lets a moment pass and returns the time in
/// milliseconds. Returns what was seen.
///
/// # Errors
/// The frame that the NIC did not take or did not send.
pub fn exercise(
    nic: &mut dyn NetDevice,
    pool: &Pool,
    wait: &mut dyn FnMut() -> u64,
) -> Result<String, String> {
    let mut room = 0;
    for buffers in BUFFERS {
        room = frame(nic, pool, buffers, wait).map_err(|why| {
            let len = len(number(buffers));
            format!("a frame of {len} bytes in {buffers} buffers: {why}")
        })?;
    }
    let (least, most) = BUFFERS.into_inner();
    Ok(format!(
        "frames in {least} to {most} buffers were sent, the last in the place of {room} in one"
    ))
}

/// Which of the loopback's frames is sent in so many buffers: the last of them in the most.
fn number(buffers: usize) -> usize {
    8 * buffers - 1
}

/// Has one frame sent; returns how many frames in one buffer it took the place of.
fn frame(
    nic: &mut dyn NetDevice,
    pool: &Pool,
    buffers: usize,
    wait: &mut dyn FnMut() -> u64,
) -> Result<usize, String> {
    let mut queue = PacketQueue::new();
    queue.push_back(chain(nic.info().mac, nic.tx_headroom(), pool, buffers)?);
    let (before, sent) = (nic.tx_room(PAIR), nic.stats().tx_packets);
    nic.tx_burst(PAIR, &mut queue);
    let room = before.saturating_sub(nic.tx_room(PAIR));
    if !queue.is_empty() {
        return Err("the NIC does not take it".into());
    }
    if nic.stats().tx_packets == sent {
        return Err("the NIC drops it".into());
    }
    let begun = wait();
    while nic.lent(PAIR).tx > 0 {
        // A NIC that hears itself is not to run out of buffers meanwhile.
        drop(attend(nic));
        works(nic)?;
        if wait().saturating_sub(begun) > PATIENCE {
            return Err(format!("not sent in {PATIENCE} ms"));
        }
    }
    Ok(room)
}

/// The frame in pieces, with room in front of the first.
fn chain(mac: MacAddr, headroom: usize, pool: &Pool, buffers: usize) -> Result<Packet, String> {
    let n = number(buffers);
    let mut frame = bytes(n, mac);
    let mut piece = |part: usize| {
        let cut = |part: usize| len(n) * part / buffers;
        let at = if part == 0 { headroom } else { 0 };
        filled(pool, at, cut(part + 1) - cut(part), &mut frame)
    };
    let mut whole = piece(0)?;
    for part in 1..buffers {
        let added = whole.append(piece(part)?);
        added.map_err(|_| String::from("the pool allows no such chain"))?;
    }
    Ok(whole)
}
