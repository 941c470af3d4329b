//! IPv4 reassembly (RFC 791, 3.2), in front of smoltcp.
//!
//! The stack sends every IPv4 fragment here and gets a whole datagram back when the last hole is
//! filled. It is done here, not in smoltcp, so that the datagram can then take the same way as
//! any frame: classified, checksum verified, given to the one socket that it concerns.
//!
//! Bounds: [`SLOTS`] datagrams at once, each at most 65,535 bytes, each for [`TIMEOUT`]; the
//! oldest gives way. A fragment that overlaps another ends its datagram (RFC 5722's rule for
//! IPv6, and the only safe answer). Every fragment is copied once, and counted.
#![forbid(unsafe_code)]

use alloc::vec::Vec;

use smoltcp::storage::Assembler;
use smoltcp::time::{Duration, Instant};
use smoltcp::wire::{ETHERNET_HEADER_LEN, EthernetFrame, IPV4_HEADER_LEN, Ipv4FragKey, Ipv4Packet};

use super::counters::Refusal;

/// Datagrams under reassembly at once.
pub(super) const SLOTS: usize = 4;

/// How long a datagram waits for its missing parts (RFC 791 suggests 15 s).
pub(super) const TIMEOUT: Duration = Duration::from_secs(15);

/// Ethernet and IPv4 header in front of the reassembled payload.
const HEADERS: usize = ETHERNET_HEADER_LEN + IPV4_HEADER_LEN;

/// Longest payload: the total length field has 16 bits and counts the header.
const MAX_PAYLOAD: usize = 65_535 - IPV4_HEADER_LEN;

#[derive(Debug)]
struct Slot {
    key: Option<Ipv4FragKey>,
    expires: Instant,
    /// Which parts are there.
    parts: Assembler,
    /// Known once the last fragment has come.
    payload_len: Option<usize>,
    /// The frame being built: Ethernet header, IPv4 header, payload. Its memory is kept.
    frame: Vec<u8>,
}

impl Slot {
    fn begin(&mut self, key: Ipv4FragKey, now: Instant) {
        self.key = Some(key);
        self.expires = now + TIMEOUT;
        self.parts = Assembler::new();
        self.payload_len = None;
        self.frame.clear();
    }
}

/// The datagrams under reassembly.
#[derive(Debug)]
pub(super) struct Reassembly {
    slots: [Slot; SLOTS],
}

impl Default for Reassembly {
    fn default() -> Self {
        let empty = || Slot {
            key: None,
            expires: Instant::ZERO,
            parts: Assembler::new(),
            payload_len: None,
            frame: Vec::new(),
        };
        Self {
            slots: core::array::from_fn(|_| empty()),
        }
    }
}

impl Reassembly {
    /// Adds a fragment (a frame that the classifier found to be one). Returns the whole
    /// datagram as one Ethernet frame when this part was the last one missing.
    ///
    /// # Errors
    /// [`Refusal::BadFragment`] if it overlaps, overflows, contradicts an earlier one, or if
    /// there is no memory for it.
    pub(super) fn add(&mut self, frame: &[u8], now: Instant) -> Result<Option<&[u8]>, Refusal> {
        let ethernet = EthernetFrame::new_checked(frame).map_err(|_| Refusal::BadFragment)?;
        let packet =
            Ipv4Packet::new_checked(ethernet.payload()).map_err(|_| Refusal::BadFragment)?;
        let index = self.slot_for(packet.get_key(), now);
        let slot = &mut self.slots[index];
        match slot.place(&ethernet, &packet) {
            Ok(false) => Ok(None),
            Ok(true) => {
                slot.key = None;
                Ok(Some(&slot.frame))
            }
            Err(refusal) => {
                slot.key = None;
                Err(refusal)
            }
        }
    }

    /// The slot of this datagram; else a free or expired one; else the oldest.
    fn slot_for(&mut self, key: Ipv4FragKey, now: Instant) -> usize {
        let alive = |slot: &Slot| slot.key.is_some() && slot.expires > now;
        if let Some(found) = self
            .slots
            .iter()
            .position(|s| alive(s) && s.key == Some(key))
        {
            return found;
        }
        let age = |slot: &Slot| {
            if alive(slot) {
                slot.expires
            } else {
                Instant::ZERO
            }
        };
        let oldest = (0..SLOTS).min_by_key(|i| age(&self.slots[*i])).unwrap_or(0);
        self.slots[oldest].begin(key, now);
        oldest
    }
}

impl Slot {
    /// Copies one fragment into place; `true` when the datagram is whole.
    fn place(
        &mut self,
        ethernet: &EthernetFrame<&[u8]>,
        packet: &Ipv4Packet<&[u8]>,
    ) -> Result<bool, Refusal> {
        let start = usize::from(packet.frag_offset());
        let payload = packet.payload();
        let end = start + payload.len();
        let last = !packet.more_frags();
        let misaligned = !last && !payload.len().is_multiple_of(8);
        let past_end = self
            .payload_len
            .is_some_and(|len| end > len || (last && end != len));
        let short_last = last && self.frame.len() > HEADERS + end;
        if payload.is_empty() || end > MAX_PAYLOAD || misaligned || past_end || short_last {
            return Err(Refusal::BadFragment);
        }
        let before = self.covered();
        self.parts
            .add(start, payload.len())
            .map_err(|_| Refusal::BadFragment)?;
        if self.covered() != before + payload.len() {
            return Err(Refusal::BadFragment); // it overlapped
        }
        self.make_room(HEADERS + end)?;
        self.frame[HEADERS + start..HEADERS + end].copy_from_slice(payload);
        if last {
            self.payload_len = Some(end);
        }
        match self.payload_len {
            Some(len) if self.parts.peek_front() == len => {
                self.write_headers(ethernet, packet, len);
                Ok(true)
            }
            _ => Ok(false),
        }
    }

    /// Bytes present, all parts together.
    fn covered(&self) -> usize {
        self.parts.iter_data().map(|(from, to)| to - from).sum()
    }

    fn make_room(&mut self, len: usize) -> Result<(), Refusal> {
        if self.frame.len() < len {
            let more = len - self.frame.len();
            self.frame
                .try_reserve(more)
                .map_err(|_| Refusal::BadFragment)?;
            self.frame.resize(len, 0);
        }
        Ok(())
    }

    /// Headers of an unfragmented packet: no options, so that only what was checked remains.
    fn write_headers(
        &mut self,
        ethernet: &EthernetFrame<&[u8]>,
        from: &Ipv4Packet<&[u8]>,
        len: usize,
    ) {
        let mut frame = EthernetFrame::new_unchecked(&mut self.frame[..]);
        frame.set_dst_addr(ethernet.dst_addr());
        frame.set_src_addr(ethernet.src_addr());
        frame.set_ethertype(ethernet.ethertype());
        let mut packet = Ipv4Packet::new_unchecked(frame.payload_mut());
        packet.set_version(4);
        packet.set_header_len(IPV4_HEADER_LEN as u8);
        packet.set_dscp(0);
        packet.set_ecn(0);
        packet.set_total_len((IPV4_HEADER_LEN + len) as u16);
        packet.set_ident(from.ident());
        packet.clear_flags();
        packet.set_frag_offset(0);
        packet.set_hop_limit(from.hop_limit());
        packet.set_next_header(from.next_header());
        packet.set_src_addr(from.src_addr());
        packet.set_dst_addr(from.dst_addr());
        packet.fill_checksum();
    }
}

#[cfg(test)]
mod tests;
