//! An Intel gigabit card, register by register: what the manuals say that one does.
//!
//! It takes descriptors from the rings only between head and tail, writes back those it is asked
//! to, computes the checksums and cuts the segments that contexts describe, and loads its address
//! and its EEPROM after a reset. What a driver must not do to it is asserted here. What it does
//! wrong, if a test asks for that, is in [`Faults`].

use std::sync::{Arc, Mutex, MutexGuard};

use drivers::intel::Family;
use drivers::intel::bus::RegisterBus;
use vm_memory::{Bytes, GuestAddress, GuestMemoryMmap};

use super::bench::Model;
use super::intel_igb::{Contexts, reg};
use super::intel_tx::{Context, Frame, Sent};
use super::memory::GuestDma;

/// Offsets of registers, from the manuals.
pub(crate) mod at {
    pub(crate) const CTRL: u16 = 0x0000;
    pub(crate) const STATUS: u16 = 0x0008;
    pub(crate) const EECD: u16 = 0x0010;
    pub(crate) const EERD: u16 = 0x0014;
    pub(crate) const CTRL_EXT: u16 = 0x0018;
    pub(crate) const MDIC: u16 = 0x0020;
    pub(crate) const ICR: u16 = 0x00c0;
    pub(crate) const ICS: u16 = 0x00c8;
    pub(crate) const IMS: u16 = 0x00d0;
    pub(crate) const IMC: u16 = 0x00d8;
    pub(crate) const EIAC: u16 = 0x00dc;
    pub(crate) const IAM: u16 = 0x00e0;
    pub(crate) const IVAR: u16 = 0x00e4;
    pub(crate) const RCTL: u16 = 0x0100;
    pub(crate) const TCTL: u16 = 0x0400;
    pub(crate) const EXTCNF: u16 = 0x0f00;
    pub(crate) const PBA: u16 = 0x1000;
    pub(crate) const RDBAL: u16 = 0x2800;
    pub(crate) const RDH: u16 = 0x2810;
    pub(crate) const RDT: u16 = 0x2818;
    pub(crate) const TDBAL: u16 = 0x3800;
    pub(crate) const TDH: u16 = 0x3810;
    pub(crate) const TDT: u16 = 0x3818;
    pub(crate) const TARC: u16 = 0x3840;
    pub(crate) const RXCSUM: u16 = 0x5000;
    pub(crate) const RFCTL: u16 = 0x5008;
    pub(crate) const MTA: u16 = 0x5200;
    pub(crate) const VET: u16 = 0x0038;
    pub(crate) const ITR: u16 = 0x00c4;
    pub(crate) const EITR0: u16 = 0x00e8;
    pub(crate) const MRQC: u16 = 0x5818;
    pub(crate) const RETA: u16 = 0x5c00;
    pub(crate) const RSSRK: u16 = 0x5c80;
    /// Bytes to the registers of the next ring.
    pub(crate) const PAIR: u16 = 0x100;
    pub(crate) const VFTA: u16 = 0x5600;
    pub(crate) const RAL0: u16 = 0x5400;
    pub(crate) const RAH0: u16 = 0x5404;
    pub(crate) const MANC: u16 = 0x5820;
}

/// Bytes of registers.
const WINDOW: usize = 0x6000;
const RST: u32 = 1 << 26;
const GIO_MASTER: u32 = 1 << 2;
/// Status: link up, 1000 Mbit/s, full duplex.
const LINK: u32 = 0x83;
const RXT0: u32 = 1 << 7;
const RXO: u32 = 1 << 6;
const TXDW: u32 = 1;
const RXQ0: u32 = 1 << 20;
const TXQ0: u32 = 1 << 22;

/// Tails that are written to.
const RDT: u16 = at::RDT;
const RDT_1: u16 = at::RDT + at::PAIR;
const TDT: u16 = at::TDT;
const TDT_1: u16 = at::TDT + at::PAIR;

/// What a table has before it is written.
const LEFT_OVER: u32 = 0xdead_beef;

/// The card's address.
pub(crate) const MAC: [u8; 6] = [0x52, 0x54, 0, 0x12, 0x34, 0x56];

/// What a card does wrong.
#[derive(Clone, Copy, Default, Debug)]
pub(crate) struct Faults {
    /// It was pulled out: all bits read as ones, writes are lost.
    pub(crate) gone: bool,
    /// Never comes out of a reset.
    pub(crate) reset_hangs: bool,
    /// Its requests never end, and its EEPROM is never read, nor does it let go of the PHY.
    pub(crate) never_quiet: bool,
    /// A reset leaves all registers as they are, as one emulation's does.
    pub(crate) forgets_nothing: bool,
    /// Does not load its address itself.
    pub(crate) no_address: bool,
    /// Does not answer reads of its EEPROM either.
    pub(crate) no_eeprom: bool,
    /// Its PHY never answers: nothing comes, or an error.
    pub(crate) silent_phy: Option<bool>,
    /// Does not mask the causes of a vector that it sent.
    pub(crate) never_masks: bool,
    /// igb: this queue, by the register that opens it, never opens.
    pub(crate) shut: Option<u16>,
    /// igb: the PHY forgets in a reset what it negotiated, as one emulation's does.
    pub(crate) forgets_link: bool,
    /// igb: firmware never gives its semaphore.
    pub(crate) firmware_holds_on: bool,
}

/// What a receive descriptor is to say.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Said {
    /// Status, as in an extended descriptor: status in the low byte, errors in the high one.
    pub(crate) status: u32,
    /// Length.
    pub(crate) len: u16,
}

/// Done.
pub(crate) const DD: u32 = 1;
/// The frame ends.
pub(crate) const EOP: u32 = 2;
/// It had a tag.
const VP: u32 = 1 << 3;
/// Nothing is said of checksums.
pub(crate) const IXSM: u32 = 4;

/// One card.
pub(crate) struct IntelCard {
    pub(super) memory: &'static GuestMemoryMmap,
    pub(super) family: Family,
    msix: bool,
    /// MSI-X vectors that the driver is given.
    pub(crate) vectors: u16,
    registers: Vec<u32>,
    /// Whether there is a carrier.
    pub(crate) carrier: bool,
    /// The control register of its PHY.
    pub(crate) phy: u16,
    /// The number of its port, of several.
    pub(crate) port: u32,
    /// Whether its PHY has agreed on a link with the other end.
    pub(crate) negotiated: bool,
    /// The page of registers that its PHY shows, where it has pages.
    pub(crate) phy_page: u16,
    /// Words of its EEPROM.
    pub(crate) eeprom: [u16; 3],
    /// What it does wrong.
    pub(crate) faults: Faults,
    /// Times it was reset.
    pub(crate) resets: usize,
    /// Writes of the tails: receive, transmit.
    pub(crate) doorbells: [usize; 2],
    /// Interrupts: messages sent, or times the line rose.
    pub(crate) interrupts: usize,
    /// Messages sent, by vector.
    pub(crate) by_vector: [usize; 4],
    /// What descriptors say of tags.
    pub(crate) tag: u16,
    line: bool,
    /// Contexts, and the frame that is being gathered, of each transmit ring.
    pub(super) context: [Context; 2],
    pub(super) contexts: [Contexts; 2],
    pub(super) frame: [Frame; 2],
    /// Descriptors that ask for a report of the frames whose report the card holds back, with their
    /// rings.
    pub(super) held_back: Vec<(u16, u32)>,
}

impl IntelCard {
    /// A card as it is at power-on.
    pub(crate) fn new(dma: &'static GuestDma, family: Family, msix: bool) -> Self {
        let [a, b, c, d, e, f] = MAC;
        let pair = |low, high| u16::from_le_bytes([low, high]);
        let mut card = Self {
            memory: dma.memory(),
            family,
            msix,
            vectors: if msix {
                family.vectors(family.pairs())
            } else {
                0
            },
            registers: vec![0; WINDOW / 4],
            carrier: true,
            phy: 0x1140,
            port: 0,
            negotiated: true,
            phy_page: 3,
            eeprom: [pair(a, b), pair(c, d), pair(e, f)],
            faults: Faults::default(),
            resets: 0,
            doorbells: [0; 2],
            interrupts: 0,
            by_vector: [0; 4],
            tag: 0,
            line: false,
            context: Default::default(),
            contexts: Default::default(),
            frame: Default::default(),
            held_back: Vec::new(),
        };
        card.power_on();
        card
    }

    fn power_on(&mut self) {
        let kept = self.register(at::PBA);
        self.registers.fill(0);
        self.put(at::PBA, kept);
        self.context = Default::default();
        self.contexts = Default::default();
        self.frame = Default::default();
        self.held_back.clear();
        if !self.faults.no_address {
            let [a, b, c, d, e, f] = MAC;
            self.put(at::RAL0, u32::from_le_bytes([a, b, c, d]));
            self.put(at::RAH0, 1 << 31 | u32::from_le_bytes([e, f, 0, 0]));
        }
        // Left over from whatever ran before.
        self.put(at::MTA, LEFT_OVER);
        self.put(at::MANC, 1 << 13);
        self.put(at::EECD, 1 << 9);
        self.line = false;
        if self.family.is_igb() {
            self.power_on_igb();
        }
    }

    /// What a register holds, without the effects of a read.
    pub(crate) fn register(&self, offset: u16) -> u32 {
        self.registers[usize::from(offset) / 4]
    }

    /// Sets what a register holds, without the effects of a write.
    pub(crate) fn put(&mut self, offset: u16, value: u32) {
        self.registers[usize::from(offset) / 4] = value;
    }

    /// Whether received frames are described by extended descriptors.
    pub(crate) fn is_extended(&self) -> bool {
        self.family.is_igb() || self.register(at::RFCTL) & 1 << 15 != 0
    }

    /// Bytes of a receive buffer, as the driver told.
    pub(crate) fn buffer_size(&self) -> usize {
        if self.family.is_igb() {
            return self.buffer_size_igb();
        }
        let control = self.register(at::RCTL);
        match (control >> 25 & 1, control >> 16 & 3) {
            (0, 0) => 2048,
            (0, shift) => 2048 >> shift,
            (_, 1) => 16_384,
            (_, 2) => 8_192,
            (_, 3) => 4_096,
            _ => panic!("reserved buffer size in {control:#x}"),
        }
    }

    /// Descriptors in the ring whose registers begin at `base`.
    pub(super) fn ring_size(&self, base: u16) -> u32 {
        self.register(base + 8) / 16
    }

    pub(super) fn descriptor(&self, base: u16, n: u32) -> GuestAddress {
        let low = u64::from(self.register(base));
        GuestAddress((u64::from(self.register(base + 4)) << 32 | low) + 16 * u64::from(n))
    }

    pub(super) fn word(&self, address: GuestAddress) -> u64 {
        self.memory.read_obj(address).expect("valid")
    }

    /// Receive buffers of the first pair that the card may use.
    pub(crate) fn receive_buffers(&self) -> u32 {
        self.receive_buffers_of(0)
    }

    fn receive_buffers_of(&self, pair: u16) -> u32 {
        let of = |register| self.register(register + at::PAIR * pair);
        let size = self.ring_size(at::RDBAL + at::PAIR * pair).max(1);
        (of(at::RDT) + size - of(at::RDH)) % size
    }

    /// The next receive buffer of a pair: number of its descriptor, address.
    fn next_receive_buffer(&mut self, pair: u16) -> Option<(u32, GuestAddress)> {
        let enabled = self.register(at::RCTL) & 2 != 0;
        if !enabled || self.receive_buffers_of(pair) == 0 {
            return None;
        }
        let (base, at) = (at::RDBAL + at::PAIR * pair, at::RDH + at::PAIR * pair);
        let head = self.register(at);
        self.put(at, (head + 1) % self.ring_size(base));
        let address = self.word(self.descriptor(base, head));
        Some((head, GuestAddress(address)))
    }

    fn write_back(&mut self, pair: u16, n: u32, said: Said) {
        let high = if self.is_extended() {
            u64::from(said.status) | u64::from(said.len) << 32
        } else {
            let (status, errors) = (said.status & 0xff, said.status >> 24);
            u64::from(said.len) | u64::from(status) << 32 | u64::from(errors) << 40
        };
        let high = high | u64::from(self.tag) << 48;
        let at = self.descriptor(at::RDBAL + at::PAIR * pair, n);
        let upper = GuestAddress(at.0 + 8);
        self.memory.write_obj(high, upper).expect("valid");
        if self.is_extended() {
            self.memory.write_obj(0xabab_abab_u64, at).expect("valid"); // hash and more
        }
    }

    /// Puts a frame into as many receive buffers as it fills. `false`: there are too few.
    pub(crate) fn deliver(&mut self, frame: &[u8]) -> bool {
        self.deliver_with(frame, IXSM)
    }

    /// The same with `status` in the last descriptor besides the bits for "done" and "end".
    pub(crate) fn deliver_with(&mut self, frame: &[u8], status: u32) -> bool {
        let tagged = self.tags() && frame.get(12..14) == Some(&[0x81, 0]);
        if tagged {
            let (frame, tag) = ([&frame[..12], &frame[16..]].concat(), &frame[14..16]);
            self.tag = u16::from_be_bytes([tag[0], tag[1]]);
            let delivered = self.deliver_untagged(&frame, status | VP);
            self.tag = 0;
            return delivered;
        }
        self.deliver_untagged(frame, status)
    }

    /// Whether it takes tags off and inserts them.
    pub(super) fn tags(&self) -> bool {
        let on = self.register(at::CTRL) & 1 << 30 != 0;
        assert!(!on || self.register(at::VET) == 0x8100);
        on
    }

    fn deliver_untagged(&mut self, frame: &[u8], status: u32) -> bool {
        let (size, pair) = (self.buffer_size(), self.pair_of(frame));
        if frame.len().div_ceil(size) > self.receive_buffers_of(pair) as usize {
            self.raise(RXO, 0);
            return false;
        }
        let mut parts = frame.chunks(size).peekable();
        while let Some(part) = parts.next() {
            let last = parts.peek().is_none();
            let status = if last { DD | EOP | status } else { DD };
            let len = part.len() as u16;
            assert!(self.say_on(pair, part, Said { status, len }));
        }
        self.raise(RXT0, RXQ0 << pair);
        true
    }

    /// Writes `bytes` into the next receive buffer and says of it what a hostile card may: any
    /// status, any length. Raises nothing. `false`: there is no buffer.
    pub(crate) fn say(&mut self, bytes: &[u8], said: Said) -> bool {
        self.say_on(0, bytes, said)
    }

    /// The same for the next receive buffer of a pair.
    pub(crate) fn say_on(&mut self, pair: u16, bytes: &[u8], said: Said) -> bool {
        let Some((n, buffer)) = self.next_receive_buffer(pair) else {
            return false;
        };
        self.memory.write_slice(bytes, buffer).expect("valid");
        self.write_back(pair, n, said);
        true
    }

    /// Whether its filters let a frame for `to` through, in a virtual LAN or none (SDM 13.5).
    pub(crate) fn admits(&self, to: [u8; 6], vlan: Option<u16>) -> bool {
        let control = self.register(at::RCTL);
        let bit = |table: u16, n: u16| self.register(table + n / 32 * 4) >> (n % 32) & 1 != 0;
        if let Some(id) = vlan
            && control & 1 << 18 != 0
        {
            assert_eq!(self.register(at::VET), 0x8100);
            if !bit(at::VFTA, id) {
                return false;
            }
        }
        if to == [0xff; 6] {
            return control & 1 << 15 != 0;
        }
        let station = |n: u16| {
            let (low, high) = (at::RAL0 + 8 * n, at::RAH0 + 8 * n);
            let [e, f, _, flags] = self.register(high).to_le_bytes();
            let [a, b, c, d] = self.register(low).to_le_bytes();
            flags & 0x80 != 0 && to == [a, b, c, d, e, f]
        };
        let hash = (u16::from(to[5]) << 8 | u16::from(to[4])) >> 4;
        let group = to[0] & 1 != 0;
        (0..15).any(station)
            || if group {
                control & 1 << 4 != 0 || bit(at::MTA, hash)
            } else {
                control & 1 << 3 != 0
            }
    }

    /// Puts a part of a frame into the next receive buffer, which is the last of it or not.
    pub(crate) fn say_part(&mut self, part: &[u8], last: bool) {
        let status = if last { DD | EOP | IXSM } else { DD };
        let len = part.len() as u16;
        assert!(self.say(part, Said { status, len }), "a buffer");
    }

    /// Descriptors of sent frames that ask for a report and have none yet.
    pub(crate) fn held_back_reports(&self) -> usize {
        self.held_back.len()
    }

    /// Overwrites what lies in the descriptors of both rings.
    pub(crate) fn scribble_descriptors(&mut self, upper: u64) {
        let bases = [at::RDBAL, at::TDBAL].map(|base| [base, base + at::PAIR]);
        for base in bases.into_iter().flatten() {
            for n in 0..self.ring_size(base) {
                let at = self.descriptor(base, n);
                self.memory.write_obj(u64::MAX, at).expect("valid");
                let at = GuestAddress(at.0 + 8);
                self.memory.write_obj(upper, at).expect("valid");
            }
        }
    }

    /// A frame was sent whose descriptor asked for a report.
    pub(super) fn report(&mut self, pair: u16, n: u32) {
        let at = self.descriptor(at::TDBAL + at::PAIR * pair, n);
        let at = GuestAddress(at.0 + 8);
        let upper = self.word(at) | 1 << 32;
        self.memory.write_obj(upper, at).expect("valid");
        self.raise(TXDW, TXQ0 << pair);
    }

    /// Causes: with a line, and with MSI-X.
    fn raise(&mut self, line: u32, vector: u32) {
        let own = self.family.is_igb();
        if own && self.msix {
            self.raise_vectors(vector / RXQ0);
        }
        let causes = if self.msix && !own {
            line | vector
        } else {
            line
        };
        self.put(at::ICR, self.register(at::ICR) | causes);
        self.signal();
    }

    /// Interrupts if there is anything to interrupt for.
    fn signal(&mut self) {
        let asking = self.register(at::ICR) & self.register(at::IMS);
        if !self.msix {
            let rises = asking != 0 && !self.line;
            self.interrupts += usize::from(rises);
            self.line = asking != 0;
            return;
        }
        if self.family.is_igb() {
            return self.signal_vectors();
        }
        let route = self.register(at::IVAR);
        let causes = [RXQ0, RXQ0 << 1, TXQ0, TXQ0 << 1];
        for (cause, field) in causes.into_iter().zip([0, 4, 8, 12]) {
            let (valid, vector) = (route >> field & 8 != 0, route >> field & 7);
            if asking & cause == 0 || !valid {
                continue;
            }
            assert!(vector < self.vectors.into(), "no vector {vector}");
            self.interrupts += 1;
            self.by_vector[vector as usize] += 1;
            let clears = self.register(at::EIAC) & cause;
            self.put(at::ICR, self.register(at::ICR) & !clears);
            let masks = self.register(at::CTRL_EXT) & 1 << 24 != 0 && !self.faults.never_masks;
            if masks {
                let mask = self.register(at::IMS) & !(self.register(at::IAM) & cause);
                self.put(at::IMS, mask);
            }
        }
    }

    fn read(&mut self, offset: u16) -> u32 {
        if self.faults.gone {
            return u32::MAX;
        }
        let value = self.register(offset);
        match offset {
            at::STATUS => {
                let busy = self.register(at::CTRL) & GIO_MASTER == 0 || self.faults.never_quiet;
                let up = self.carrier && self.negotiated;
                u32::from(busy) << 19 | self.port << 2 | if up { LINK } else { 0 }
            }
            at::CTRL if self.faults.reset_hangs && self.resets > 0 => value | RST,
            at::EECD if self.faults.never_quiet => 0,
            at::EXTCNF if self.faults.never_quiet => 0,
            reg::SWSM if self.family.is_igb() => self.read_semaphore(),
            at::ICR => {
                // The 82574 keeps what nobody was interrupted for, unless all is masked.
                let clears = self.family == Family::E8254x || self.register(at::IMS) == 0;
                if clears {
                    self.put(at::ICR, 0);
                    self.signal();
                }
                value
            }
            _ => value,
        }
    }

    fn write(&mut self, offset: u16, value: u32) {
        if self.faults.gone {
            return;
        }
        if self.family.is_igb() && self.write_igb(offset, value) {
            self.signal();
            return;
        }
        match offset {
            at::CTRL if value & RST != 0 => {
                assert_eq!(self.register(at::RCTL) & 2, 0, "reset while it receives");
                assert_eq!(self.register(at::TCTL) & 2, 0, "reset while it sends");
                self.resets += 1;
                if !self.faults.forgets_nothing {
                    self.power_on();
                }
            }
            at::MDIC => self.manage_phy(value),
            at::ICS => self.put(at::ICR, self.register(at::ICR) | value),
            at::IMS => self.put(at::IMS, self.register(at::IMS) | value),
            at::IMC => self.put(at::IMS, self.register(at::IMS) & !value),
            at::ICR => self.put(at::ICR, self.register(at::ICR) & !value),
            at::EERD => {
                let (done, shift) = match self.family {
                    Family::E8254x => (1 << 4, 8),
                    _ => (1 << 1, 2),
                };
                let word = self.eeprom[(value >> shift) as usize];
                let answer = u32::from(word) << 16 | done;
                self.put(offset, if self.faults.no_eeprom { value } else { answer });
            }
            at::RCTL if value & 2 != 0 => {
                if self.register(at::RCTL) & 2 == 0 {
                    self.must_be_a_ring(at::RDBAL);
                    if self.register(at::MRQC) & 3 != 0 {
                        self.must_be_a_ring(at::RDBAL + at::PAIR);
                    }
                } else {
                    // One emulation receives nothing for a second after each.
                    assert_ne!(self.register(at::RCTL), value, "written without need");
                }
                assert_ne!(self.register(at::MTA), LEFT_OVER, "left over from before");
                if self.family.is_igb() {
                    self.must_be_plain();
                }
                self.put(offset, value);
            }
            at::TCTL if value & 2 != 0 => {
                self.must_be_a_ring(at::TDBAL);
                self.put(offset, value);
            }
            RDT | RDT_1 | TDT | TDT_1 => {
                let transmit = offset >= at::TDT;
                let base = offset - (at::RDT - at::RDBAL);
                assert!(value < self.ring_size(base), "a tail outside the ring");
                if self.family.is_igb() && value != 0 {
                    assert!(self.queue_runs(offset), "a queue that does not run");
                }
                self.doorbells[usize::from(transmit)] += 1;
                self.put(offset, value);
            }
            _ => self.put(offset, value),
        }
        if matches!(offset, at::ICS | at::IMS | at::IMC | at::ICR) {
            self.signal();
        }
    }

    /// What the manuals ask of a ring.
    fn must_be_a_ring(&self, base: u16) {
        assert_eq!(self.register(base) % 16, 0, "aligned");
        let len = self.register(base + 8);
        assert!(
            len != 0 && len.is_multiple_of(128) && len <= 65_536,
            "{len}"
        );
        assert_eq!(self.register(base + 0x10), 0, "the head of a fresh ring");
        assert_eq!(self.register(base + 0x18), 0, "the tail of a fresh ring");
    }
}

impl Model for IntelCard {
    type Sent = Sent;

    fn transmit_all(&mut self) -> Vec<Sent> {
        IntelCard::transmit_all(self)
    }

    fn frame(sent: &Sent) -> &[u8] {
        sent.frame()
    }

    fn deliver(&mut self, frame: &[u8]) -> bool {
        IntelCard::deliver(self, frame)
    }

    fn doorbells(&self) -> usize {
        self.doorbells.iter().sum()
    }
}

/// The driver's way to the card.
#[derive(Clone)]
pub(crate) struct CardBus(pub(crate) Arc<Mutex<IntelCard>>);

impl CardBus {
    fn card(&self) -> MutexGuard<'_, IntelCard> {
        self.0
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

impl RegisterBus for CardBus {
    fn read32(&self, offset: u16) -> u32 {
        self.card().read(offset)
    }

    fn write32(&self, offset: u16, value: u32) {
        self.card().write(offset, value);
    }
}
