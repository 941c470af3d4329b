//! How an Intel card sends: descriptors to frames, checksums and segments as contexts ask (SDM 3.3
//! to 3.5), written from the card's side.

use drivers::intel::Family;
use vm_memory::{Bytes, GuestAddress};

use super::intel::{IntelCard, at};

const DATA: u64 = 1 << 20;
const EOP: u64 = 1 << 24;
const IFCS: u64 = 1 << 25;
const TSE: u64 = 1 << 26;
const RS: u64 = 1 << 27;
const DEXT: u64 = 1 << 29;
const VLE: u64 = 1 << 30;

/// What context descriptors said: one for frames that are cut, one for others.
#[derive(Clone, Copy, Default, Debug)]
pub(crate) struct Context {
    plain: [u64; 2],
    cut: [u64; 2],
}

/// The frame that is being gathered.
#[derive(Clone, Default, Debug)]
pub(crate) struct Frame {
    bytes: Vec<u8>,
    descriptors: Vec<usize>,
    flags: u64,
}

/// A frame that the driver posted, as it is on the wire.
#[derive(Debug)]
pub(crate) struct Sent {
    /// What goes onto the wire: one frame, or its segments.
    pub(crate) wire: Vec<Vec<u8>>,
    /// Bytes of each data descriptor.
    pub(crate) descriptors: Vec<usize>,
}

impl Sent {
    /// The frame, which was not cut.
    #[track_caller]
    pub(crate) fn frame(&self) -> &[u8] {
        assert_eq!(self.wire.len(), 1, "cut");
        &self.wire[0]
    }
}

impl IntelCard {
    /// Sends the next frame, if the driver told of one, and holds back the reports it asked for.
    pub(crate) fn fetch(&mut self) -> Option<Sent> {
        self.fetch_from(0).or_else(|| self.fetch_from(1))
    }

    /// The same of one pair.
    fn fetch_from(&mut self, pair: u16) -> Option<Sent> {
        let [base, head, tail] = [at::TDBAL, at::TDH, at::TDT].map(|of| of + at::PAIR * pair);
        let size = self.ring_size(base);
        if self.register(at::TCTL) & 2 == 0 {
            return None;
        }
        if self.register(head) != self.register(tail) && self.family == Family::E82574 {
            let arbitration = self.register(at::TARC + at::PAIR * pair);
            assert_ne!(arbitration & 1 << 10, 0, "the ring takes no part");
        }
        let queue = usize::from(pair);
        while self.register(head) != self.register(tail) {
            let n = self.register(head);
            self.put(head, (n + 1) % size);
            let address = self.descriptor(base, n);
            let (low, high) = (self.word(address), self.word(GuestAddress(address.0 + 8)));
            assert_ne!(high & DEXT, 0, "legacy descriptors are not mixed in");
            if high & RS != 0 {
                self.held_back.push((pair, n));
            }
            if high & DATA == 0 && self.family.is_igb() {
                self.contexts[queue].load(low, high);
                continue;
            }
            if high & DATA == 0 {
                let context = if high & TSE != 0 {
                    &mut self.context[queue].cut
                } else {
                    &mut self.context[queue].plain
                };
                *context = [low, high];
                continue;
            }
            // The upper bits are of another number on cards of the igb family.
            let most = if self.family.is_igb() {
                0xffff
            } else {
                0xf_ffff
            };
            let len = (high & most) as usize;
            assert!(len > 0, "an empty descriptor");
            let frame = &mut self.frame[queue];
            let start = frame.bytes.len();
            if start == 0 {
                frame.flags = high;
            }
            let same = |bits: u64| frame.flags & bits == high & bits;
            assert!(same(VLE | 0xffff << 48), "one tag a frame");
            frame.bytes.resize(start + len, 0);
            let part = &mut frame.bytes[start..];
            self.memory
                .read_slice(part, GuestAddress(low))
                .expect("valid");
            frame.descriptors.push(len);
            if high & EOP != 0 {
                assert_ne!(high & IFCS, 0, "without its check sequence");
                let Frame {
                    bytes,
                    descriptors,
                    flags,
                } = std::mem::take(frame);
                let igb = self.family.is_igb();
                let mut wire = if igb {
                    self.contexts[queue].apply(bytes, flags)
                } else {
                    self.context[queue].apply(bytes, flags)
                };
                if high & VLE != 0 {
                    assert!(self.tags(), "tags are off");
                    let tag = if igb {
                        self.contexts[queue].tag(high)
                    } else {
                        (high >> 48) as u16
                    };
                    let tag = tag.to_be_bytes();
                    let tag = [0x81, 0, tag[0], tag[1]];
                    let insert = |bytes: &mut Vec<u8>| drop(bytes.splice(12..12, tag));
                    wire.iter_mut().for_each(insert);
                }
                return Some(Sent { wire, descriptors });
            }
        }
        None
    }

    /// Reports what it held back.
    pub(crate) fn report_all(&mut self) {
        for (pair, n) in std::mem::take(&mut self.held_back) {
            self.report(pair, n);
        }
    }

    /// Sends and reports every frame of one pair.
    pub(crate) fn transmit_pair(&mut self, pair: u16) -> Vec<Sent> {
        let sent = std::iter::from_fn(|| self.fetch_from(pair)).collect();
        self.report_all();
        sent
    }

    /// Sends and reports every frame.
    pub(crate) fn transmit_all(&mut self) -> Vec<Sent> {
        let sent = std::iter::from_fn(|| self.fetch()).collect();
        self.report_all();
        sent
    }
}

impl Context {
    fn apply(&self, mut frame: Vec<u8>, flags: u64) -> Vec<Vec<u8>> {
        let (ip_sum, sum) = (flags & 1 << 40 != 0, flags & 1 << 41 != 0);
        if flags & TSE != 0 {
            let how = Cut::told(&frame, self.cut);
            return cut(&frame, &how, ip_sum, sum);
        }
        if sum {
            let [low, _] = self.plain;
            insert(&mut frame, byte(low, 32), byte(low, 40), 0);
        }
        Vec::from([frame])
    }
}

fn byte(word: u64, shift: u32) -> usize {
    (word >> shift) as usize & 0xff
}

/// Sums from `start` to the end (or through `end`, if it is none) and puts the result at `field`.
pub(super) fn insert(frame: &mut [u8], start: usize, field: usize, end: usize) {
    let end = if end == 0 { frame.len() } else { end + 1 };
    let sum = !ones_complement(&frame[start..end]);
    frame[field..field + 2].copy_from_slice(&sum.to_be_bytes());
}

/// The one's complement sum of 16-bit words (RFC 1071).
pub(crate) fn ones_complement(bytes: &[u8]) -> u16 {
    let pairs = bytes.chunks(2).map(|pair| {
        let low = pair.get(1).copied().unwrap_or(0);
        u32::from(u16::from_be_bytes([pair[0], low]))
    });
    let mut sum = pairs.sum::<u32>();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    sum as u16
}

/// How a TCP frame is cut: where its headers and their fields are.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cut {
    pub(super) v4: bool,
    pub(super) ip: usize,
    pub(super) ip_field: usize,
    pub(super) ip_end: usize,
    pub(super) tcp: usize,
    pub(super) field: usize,
    pub(super) header_len: usize,
    pub(super) mss: usize,
}

impl Cut {
    /// What a context descriptor says (SDM 3.3.6).
    fn told(frame: &[u8], [low, high]: [u64; 2]) -> Self {
        let header_len = byte(high, 40);
        assert_eq!(high & 1 << 24, 1 << 24, "TCP");
        let payload = (high & 0xf_ffff) as usize;
        assert_eq!(payload, frame.len() - header_len, "PAYLEN");
        Self {
            v4: high & 1 << 25 != 0,
            ip: byte(low, 0),
            ip_field: byte(low, 8),
            ip_end: byte(low, 16),
            tcp: byte(low, 32),
            field: byte(low, 40),
            header_len,
            mss: (high >> 48) as usize,
        }
    }
}

/// Cuts a TCP frame (SDM 3.5): the header of each segment is the first one, with its own lengths,
/// identification, sequence number and flags.
pub(super) fn cut(frame: &[u8], how: &Cut, ip_sum: bool, sum: bool) -> Vec<Vec<u8>> {
    let Cut {
        v4,
        ip,
        ip_field,
        ip_end,
        tcp,
        field,
        header_len,
        mss,
    } = *how;
    let (header, payload) = frame.split_at(header_len);
    let last = payload.len().div_ceil(mss) - 1;
    payload
        .chunks(mss)
        .enumerate()
        .map(|(n, part)| {
            let mut segment = [header, part].concat();
            let be = |value: usize| (value as u16).to_be_bytes();
            let len = segment.len();
            if v4 {
                segment[ip + 2..ip + 4].copy_from_slice(&be(len - ip));
                let id = u16::from_be_bytes([header[ip + 4], header[ip + 5]]);
                segment[ip + 4..ip + 6].copy_from_slice(&id.wrapping_add(n as u16).to_be_bytes());
            } else {
                segment[ip + 4..ip + 6].copy_from_slice(&be(len - ip - 40));
            }
            let number: [u8; 4] = header[tcp + 4..tcp + 8].try_into().expect("four bytes");
            let number = u32::from_be_bytes(number).wrapping_add((n * mss) as u32);
            segment[tcp + 4..tcp + 8].copy_from_slice(&number.to_be_bytes());
            if n != last {
                segment[tcp + 13] &= !0x09; // FIN and PSH are the last one's
            }
            if sum {
                // The driver left the length out of the pseudo-header.
                let with_len = [&header[field..field + 2], &be(len - tcp)[..]].concat();
                let start = ones_complement(&with_len);
                segment[field..field + 2].copy_from_slice(&start.to_be_bytes());
                insert(&mut segment, tcp, field, 0);
            }
            if ip_sum {
                insert(&mut segment, ip, ip_field, ip_end);
            }
            segment
        })
        .collect()
}
