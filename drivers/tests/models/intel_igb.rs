//! What a card of the igb family has of its own: vectors, queues that open one by one, a PHY that is
//! shared, and advanced descriptors (82576 and I210, chapters 7 and 8), from the card's side.

use drivers::intel::Family;

use super::intel::{IntelCard, at};
use super::intel_tx::{Cut, cut, insert};

/// Offsets of its registers, from the manuals.
pub(crate) mod reg {
    pub(crate) const PHPM: u16 = 0x0e14;
    pub(crate) const EEER: u16 = 0x0e30;
    pub(crate) const IPCNFG: u16 = 0x0e38;
    pub(crate) const GPIE: u16 = 0x1514;
    pub(crate) const EICS: u16 = 0x1520;
    pub(crate) const EIMS: u16 = 0x1524;
    pub(crate) const EIMC: u16 = 0x1528;
    pub(crate) const EIAC: u16 = 0x152c;
    pub(crate) const EIAM: u16 = 0x1530;
    pub(crate) const EICR: u16 = 0x1580;
    pub(crate) const EITR0: u16 = 0x1680;
    pub(crate) const EITR1: u16 = 0x1684;
    pub(crate) const IVAR: u16 = 0x1700;
    pub(crate) const SRRCTL0: u16 = 0x280c;
    pub(crate) const RXDCTL0: u16 = 0x2828;
    pub(crate) const TXDCTL0: u16 = 0x3828;
    pub(crate) const TDWBAL0: u16 = 0x3838;
    pub(crate) const RLPML: u16 = 0x5004;
    pub(crate) const SWSM: u16 = 0x5b50;
    pub(crate) const SW_FW_SYNC: u16 = 0x5b5c;
}

/// Bit of a queue that runs.
const ENABLE: u32 = 1 << 25;
/// One vector for each ring.
const MULTIPLE_MSIX: u32 = 1 << 4;
/// A vector that is sent masks itself.
const EIAME: u32 = 1 << 30;

impl IntelCard {
    /// What its registers hold besides those of all cards when it is switched on.
    pub(super) fn power_on_igb(&mut self) {
        self.put(reg::TXDCTL0, ENABLE);
        self.put(reg::RXDCTL0, ENABLE);
        // Left over from whatever ran before.
        self.put(reg::PHPM, 1 << 5);
        self.put(reg::EEER, 7 << 16);
        self.put(reg::IPCNFG, 3 << 2);
        self.put(at::MRQC, 2);
        self.put(reg::TDWBAL0, 1);
        if self.faults.forgets_link {
            self.negotiated = false;
        }
    }

    /// Whether the queue with the tail at `tail` runs.
    pub(super) fn queue_runs(&self, tail: u16) -> bool {
        let (queue, all) = if tail >= at::TDT {
            (reg::TXDCTL0 + tail - at::TDT, at::TCTL)
        } else {
            (reg::RXDCTL0 + tail - at::RDT, at::RCTL)
        };
        self.register(queue) & ENABLE != 0 && self.register(all) & 2 != 0
    }

    /// What was left over that would delay or spread frames must be gone.
    pub(super) fn must_be_plain(&self) {
        assert!(
            [0, 2].contains(&(self.register(at::MRQC) & 7)),
            "one queue or a hash"
        );
        let others = [reg::PHPM, reg::EEER, reg::IPCNFG];
        if self.family != Family::E82576 {
            assert!(others.iter().all(|&offset| self.register(offset) == 0));
        }
    }

    /// Bytes of a receive buffer.
    pub(super) fn buffer_size_igb(&self) -> usize {
        assert_eq!(self.register(at::RCTL) & 0x0203_0000, 0, "sizes of queues");
        let control = self.register(reg::SRRCTL0);
        assert_eq!(control >> 25 & 7, 1, "advanced, one buffer");
        (control & 0x7f) as usize * 1024
    }

    /// Events of the rings become vectors: bits 0 and 1 are of received frames, 2 and 3 of sent ones.
    pub(super) fn raise_vectors(&mut self, events: u32) {
        for event in (0..4_u16).filter(|event| events >> event & 1 != 0) {
            let (pair, sent) = (event & 1, event >> 1);
            // The 82576 has a register for each pair, the others one for two pairs.
            let (register, byte) = if self.family == Family::E82576 {
                (reg::IVAR + 4 * pair, sent)
            } else {
                (reg::IVAR, 2 * pair + sent)
            };
            let entry = self.register(register) >> (8 * byte);
            if entry & 0x80 != 0 {
                let bit = 1 << (entry & 0x1f);
                self.put(reg::EICR, self.register(reg::EICR) | bit);
            }
        }
    }

    /// Sends the vectors that are pending and not masked.
    pub(super) fn signal_vectors(&mut self) {
        let mode = self.register(reg::GPIE);
        let asking = self.register(reg::EICR) & self.register(reg::EIMS);
        if mode & MULTIPLE_MSIX == 0 {
            return;
        }
        self.interrupts += asking.count_ones() as usize;
        for vector in (0..32_u16).filter(|vector| asking >> vector & 1 != 0) {
            assert!(vector < self.vectors, "no vector {vector}");
            self.by_vector[usize::from(vector)] += 1;
        }
        let clears = asking & self.register(reg::EIAC);
        self.put(reg::EICR, self.register(reg::EICR) & !clears);
        if mode & EIAME != 0 && !self.faults.never_masks {
            let masks = asking & self.register(reg::EIAM);
            self.put(reg::EIMS, self.register(reg::EIMS) & !masks);
        }
    }

    /// The first read of the semaphore after it was given back gets it.
    pub(super) fn read_semaphore(&mut self) -> u32 {
        let held = self.register(reg::SWSM);
        self.put(reg::SWSM, held | 1);
        held
    }

    /// Whether the driver may be at the PHY: it said so, and firmware did not.
    pub(super) fn phy_is_owned(&self) -> bool {
        self.register(reg::SW_FW_SYNC) & 0x0002_0002 == 2
    }

    /// Writes that mean something else than "keep this". Returns whether this was one.
    pub(super) fn write_igb(&mut self, offset: u16, value: u32) -> bool {
        match offset {
            reg::EICS => self.put(reg::EICR, self.register(reg::EICR) | value),
            reg::EICR => self.put(reg::EICR, self.register(reg::EICR) & !value),
            reg::EIMS => self.put(reg::EIMS, self.register(reg::EIMS) | value),
            reg::EIMC => self.put(reg::EIMS, self.register(reg::EIMS) & !value),
            reg::TXDCTL0 | reg::RXDCTL0 if self.faults.shut == Some(offset) => {
                self.put(offset, value & !ENABLE);
            }
            reg::SWSM if self.faults.firmware_holds_on => self.put(offset, value & !2),
            reg::SW_FW_SYNC => {
                assert_eq!(self.register(reg::SWSM) & 1, 1, "without the semaphore");
                self.put(offset, value);
            }
            _ => return false,
        }
        true
    }
}

/// The context numbers of one queue.
#[derive(Clone, Copy, Default, Debug)]
pub(crate) struct Contexts([[u64; 2]; 2]);

impl Contexts {
    /// A context descriptor came.
    pub(super) fn load(&mut self, low: u64, high: u64) {
        assert_eq!(high >> 20 & 15, 2, "type");
        self.0[index(high)] = [low, high];
    }

    /// The VLAN tag of a frame whose data descriptors say `command`.
    pub(super) fn tag(&self, command: u64) -> u16 {
        let [low, _] = self.0[index(command)];
        (low >> 16) as u16
    }

    /// What becomes of a frame whose data descriptors say `command`.
    pub(super) fn apply(&self, mut frame: Vec<u8>, command: u64) -> Vec<Vec<u8>> {
        assert_eq!(command >> 20 & 15, 3, "type");
        let payload = (command >> 46) as usize;
        let (ip_sum, sum) = (command >> 40 & 1 != 0, command >> 41 & 1 != 0);
        let [low, high] = self.0[index(command)];
        let ip = (low >> 9 & 0x7f) as usize;
        let start = ip + (low & 0x1ff) as usize;
        let protocol = high >> 11 & 3;
        if command >> 31 & 1 != 0 {
            assert_eq!(protocol, 1, "TCP");
            let header_len = start + (high >> 40 & 0xff) as usize;
            assert_eq!(payload, frame.len() - header_len, "PAYLEN");
            let how = Cut {
                v4: high >> 10 & 1 != 0,
                ip,
                ip_field: ip + 10,
                ip_end: start - 1,
                tcp: start,
                field: start + 16,
                header_len,
                mss: (high >> 48) as usize,
            };
            return cut(&frame, &how, ip_sum, sum);
        }
        assert_eq!(payload, frame.len(), "PAYLEN");
        if sum {
            let field = [6, 16][protocol as usize];
            insert(&mut frame, start, start + field, 0);
        }
        Vec::from([frame])
    }
}

fn index(high: u64) -> usize {
    (high >> 36 & 7) as usize
}
