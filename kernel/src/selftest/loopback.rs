//! Frames that a NIC sends to itself come back as they were.
//!
//! One frame at a time goes out, to our own address and with an EtherType that is meant for local
//! experiments. Whatever else comes in is dropped. A frame that does not come back is sent again,
//! since a link that was just made may lose the first ones.
#![forbid(unsafe_code)]

use alloc::format;
use alloc::string::String;

use drivers::net::{Health, MacAddr, NetDevice, QueueId};
use pbufpool::{Packet, PacketQueue, Pool};

/// EtherType for local experiments (IEEE 802, 9.2.3).
const ETHERTYPE: [u8; 2] = [0x88, 0xB5];
/// Frames, from the shortest to the longest.
const FRAMES: usize = 64;
const SHORTEST: usize = 60;
const LONGEST: usize = 1514;
const HEADER: usize = 14;
pub(super) const PAIR: QueueId = QueueId(0);
/// Milliseconds until a frame is sent again.
const AGAIN: u64 = 100;
/// Milliseconds in which each frame has to come back. QEMU's 82540EM hears nothing in the first
/// second after its start.
pub(super) const PATIENCE: u64 = 3_000;

/// Sends frames and looks whether they come back. `wait` lets a moment pass and returns the time in
/// milliseconds. Returns what was seen.
///
/// # Errors
/// The frame that did not come back, or what came back in its place.
pub fn exercise(
    nic: &mut dyn NetDevice,
    pool: &Pool,
    wait: &mut dyn FnMut() -> u64,
) -> Result<String, String> {
    let mut repeated = 0;
    for n in 0..FRAMES {
        repeated += frame(nic, pool, n, wait)?;
    }
    Ok(format!(
        "{FRAMES} frames of {SHORTEST} to {LONGEST} bytes came back as they were, {repeated} on a second attempt"
    ))
}

/// Has frame `n` come back; returns how often it had to be sent again.
fn frame(
    nic: &mut dyn NetDevice,
    pool: &Pool,
    n: usize,
    wait: &mut dyn FnMut() -> u64,
) -> Result<u32, String> {
    let mac = nic.info().mac;
    let begun = wait();
    let (mut repeated, mut sent_at) = (0, begun);
    send(nic, pool, n)?;
    loop {
        if received(nic, n, mac)? {
            return Ok(repeated);
        }
        works(nic).map_err(|why| format!("frame {n}: {why}"))?;
        let now = wait();
        if now.saturating_sub(begun) > PATIENCE {
            let len = len(n);
            return Err(format!(
                "frame {n} of {len} bytes did not come back in {PATIENCE} ms"
            ));
        }
        if now.saturating_sub(sent_at) > AGAIN && nic.tx_room(PAIR) > 0 {
            send(nic, pool, n)?;
            (repeated, sent_at) = (repeated + 1, now);
        }
    }
}

/// Bytes of frame `n`.
pub(super) fn len(n: usize) -> usize {
    SHORTEST + n * (LONGEST - SHORTEST) / (FRAMES - 1)
}

/// The bytes of frame `n`, one by one.
pub(super) fn bytes(n: usize, mac: MacAddr) -> impl Iterator<Item = u8> {
    let header = mac.0.into_iter().chain(mac.0).chain(ETHERTYPE);
    let payload = (HEADER..len(n)).map(move |at| (at * 31 + n * 101 + at / 251) as u8);
    let number = [n as u8, !(n as u8)];
    header.chain(number).chain(payload.skip(number.len()))
}

/// Whether the NIC still does.
pub(super) fn works(nic: &dyn NetDevice) -> Result<(), String> {
    match nic.health() {
        Health::Broken(fault) | Health::Waiting(fault) => {
            Err(format!("the NIC is broken: {fault}"))
        }
        Health::Ok => Ok(()),
    }
}

/// A packet with the next `len` of `bytes`, behind `headroom` bytes.
pub(super) fn filled(
    pool: &Pool,
    headroom: usize,
    len: usize,
    bytes: &mut impl Iterator<Item = u8>,
) -> Result<Packet, String> {
    let mut packet = pool.alloc().map_err(|why| format!("no packet: {why}"))?;
    let room = packet.set_span(headroom, len).is_ok();
    let Some(to) = packet.data_mut().filter(|_| room) else {
        return Err(format!("{len} bytes do not fit a packet"));
    };
    for (to, byte) in to.iter_mut().zip(bytes) {
        *to = byte;
    }
    Ok(packet)
}

/// Lets the NIC do what it has to; returns what came in.
pub(super) fn attend(nic: &mut dyn NetDevice) -> PacketQueue {
    let mut arrived = PacketQueue::new();
    nic.refill(PAIR);
    nic.rx_burst(PAIR, 64, &mut arrived);
    nic.reclaim(PAIR);
    nic.flush(PAIR);
    arrived
}

fn send(nic: &mut dyn NetDevice, pool: &Pool, n: usize) -> Result<(), String> {
    let (mac, len) = (nic.info().mac, len(n));
    let packet = filled(pool, nic.tx_headroom(), len, &mut bytes(n, mac));
    let packet = packet.map_err(|why| format!("frame {n}: {why}"))?;
    let mut queue = PacketQueue::new();
    queue.push_back(packet);
    nic.tx_burst(PAIR, &mut queue);
    nic.flush(PAIR);
    if queue.is_empty() {
        Ok(())
    } else {
        Err(format!("frame {n}: the NIC does not take it"))
    }
}

/// Looks at what came. Whether frame `n` did.
fn received(nic: &mut dyn NetDevice, n: usize, mac: MacAddr) -> Result<bool, String> {
    let arrived = attend(nic);
    let number = [n as u8, !(n as u8)];
    for packet in arrived.iter() {
        let ours = packet.data().get(HEADER - 2..HEADER) == Some(&ETHERTYPE[..]);
        // Others with this type are former ones, sent twice.
        if !ours || packet.data().get(HEADER..HEADER + 2) != Some(&number[..]) {
            continue;
        }
        same(packet, n, mac)?;
        return Ok(true);
    }
    Ok(false)
}

fn same(packet: &Packet, n: usize, mac: MacAddr) -> Result<(), String> {
    let (sent, got) = (len(n), packet.len());
    if sent != got {
        return Err(format!(
            "frame {n}: {sent} bytes were sent, {got} came back"
        ));
    }
    let differs = packet.data().iter().zip(bytes(n, mac));
    match differs.into_iter().position(|(got, sent)| *got != sent) {
        None => Ok(()),
        Some(at) => Err(format!("frame {n} of {sent} bytes: byte {at} is another")),
    }
}
