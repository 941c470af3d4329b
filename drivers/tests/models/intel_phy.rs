//! The PHY of an Intel card, as far as drivers reach it: control and status of every PHY (IEEE 802.3,
//! 22.2.4), over a bus that firmware uses too.

use drivers::intel::Family;

use super::intel::{IntelCard, at};

impl IntelCard {
    /// Whether frames turn round in the PHY, at a speed that both it and the card were told.
    pub(crate) fn loops(&self) -> bool {
        self.phy & 0x7140 == 0x4140 && self.register(at::CTRL) & 0x1a41 == 0x1a41
    }

    /// Reads or writes a register of PHY 1 (SDM: MDIC): control, status, or the choice of a page.
    pub(super) fn manage_phy(&mut self, command: u32) {
        assert_eq!(command >> 21 & 0x1f, 1, "PHY 1");
        match self.family {
            Family::E8254x => {}
            Family::E82574 => assert_ne!(self.register(at::EXTCNF) & 1 << 5, 0, "firmware has it"),
            _ => assert!(self.phy_is_owned() || self.faults.firmware_holds_on),
        }
        let paged = self.family == Family::I210;
        let register = command >> 16 & 0x1f;
        assert!(!paged || self.phy_page == 0 || register == 22, "wrong page");
        let data = command as u16;
        let answer = match (self.faults.silent_phy, command >> 26 & 3, register) {
            (Some(error), ..) => u32::from(error) << 30,
            (None, 1, 0) => {
                self.phy = data & !0x8200;
                self.negotiated |= data & 0x1200 == 0x1200;
                1 << 28 | u32::from(data)
            }
            (None, 2, 0) => 1 << 28 | u32::from(self.phy),
            (None, 2, 1) if self.family.is_igb() => {
                1 << 28
                    | if self.carrier && self.negotiated {
                        0x24
                    } else {
                        0
                    }
            }
            (None, 1, 22) if paged => {
                self.phy_page = data;
                1 << 28
            }
            (None, other, register) => panic!("operation {other} on register {register}"),
        };
        self.put(at::MDIC, command & !0xffff | answer);
    }
}
