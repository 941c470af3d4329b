//! The registers in use, and what they hold (SDM chapter 13, 82574 chapter 10).
//!
//! A [`Register`] is an offset with the type of its contents, so that no value of one kind is
//! written to a register of another. Those of one family only say so; what only the igb family has
//! is in [`igb`].
#![forbid(unsafe_code)]

use core::marker::PhantomData;

use bitflags::bitflags;

/// Bytes of the BAR in which all registers lie that are used here.
pub const WINDOW: u16 = 0x6000;

/// Bytes from a ring's register to that of the next pair.
const PAIR_STEP: u16 = 0x100;

/// What a register holds.
pub trait Contents: Copy {
    /// From the register's bits, unknown ones included.
    fn from_word(word: u32) -> Self;
    /// To the register's bits.
    fn to_word(self) -> u32;
}

impl Contents for u32 {
    fn from_word(word: u32) -> Self {
        word
    }

    fn to_word(self) -> u32 {
        self
    }
}

/// One register.
#[derive(Debug)]
pub struct Register<T> {
    offset: u16,
    contents: PhantomData<fn() -> T>,
}

impl<T> Clone for Register<T> {
    fn clone(&self) -> Self {
        *self
    }
}
impl<T> Copy for Register<T> {}

impl<T> Register<T> {
    pub(super) const fn at(offset: u16) -> Self {
        assert!(
            offset.is_multiple_of(4) && offset < WINDOW,
            "outside the window"
        );
        Self {
            offset,
            contents: PhantomData,
        }
    }

    /// The same register of another queue pair than the first: of those of rings, each pair has its
    /// own.
    #[inline]
    pub const fn of_pair(self, number: u16) -> Self {
        Self::at(self.offset + PAIR_STEP * number)
    }

    /// The same register with other contents.
    pub const fn cast<U>(self) -> Register<U> {
        Register::at(self.offset)
    }

    /// Its offset in the BAR.
    pub const fn offset(self) -> u16 {
        self.offset
    }
}

/// Registers of one kind, at equal distances.
#[derive(Clone, Copy, Debug)]
pub struct Array {
    first: u16,
    step: u16,
    count: u16,
}

impl Array {
    pub(super) const fn at(first: u16, step: u16, count: u16) -> Self {
        assert!(first + step * count <= WINDOW, "outside the window");
        Self { first, step, count }
    }

    /// Each register of the array.
    pub fn each(self) -> impl Iterator<Item = Register<u32>> {
        (0..self.count).map(move |n| Register::at(self.first + self.step * n))
    }
}

macro_rules! contents {
    ($(#[$($doc:tt)*] $name:ident { $(#[$($bit_doc:tt)*] $bit:ident = $value:expr,)* })*) => {$(
        bitflags! {
            #[$($doc)*]
            #[derive(Clone, Copy, PartialEq, Eq, Debug)]
            pub struct $name: u32 { $(#[$($bit_doc)*] const $bit = $value;)* }
        }

        impl Contents for $name {
            fn from_word(word: u32) -> Self {
                Self::from_bits_retain(word)
            }

            fn to_word(self) -> u32 {
                self.bits()
            }
        }
    )*};
}

pub mod igb;

contents! {
    /// Device control (SDM 13.4.1).
    Ctrl {
        /// Full duplex, where it is forced.
        FD = 1,
        /// PCI Express: issue no more requests on the bus.
        GIO_MASTER_DISABLE = 1 << 2,
        /// Link reset.
        LRST = 1 << 3,
        /// 8254x: take the speed from the PHY.
        ASDE = 1 << 5,
        /// Set link up.
        SLU = 1 << 6,
        /// Invert loss of signal.
        ILOS = 1 << 7,
        /// Speed, where it is forced: 1000 Mbit/s.
        SPEED_1000 = 1 << 9,
        /// Force the speed.
        FRCSPD = 1 << 11,
        /// Force the duplex mode.
        FRCDPLX = 1 << 12,
        /// Reset; clears itself.
        RST = 1 << 26,
        /// Receive flow control.
        RFCE = 1 << 27,
        /// Transmit flow control.
        TFCE = 1 << 28,
        /// 82574: undocumented; drivers keep it clear. I350, I210: reset of all ports.
        BIT_29 = 1 << 29,
        /// Strip and insert VLAN tags.
        VME = 1 << 30,
        /// PHY reset.
        PHY_RST = 1 << 31,
    }

    /// Device status (SDM 13.4.2).
    Status {
        /// Full duplex.
        FD = 1,
        /// Link up.
        LU = 1 << 1,
        /// Speed of the link: 00 is 10, 01 is 100, 1x is 1000 Mbit/s.
        SPEED_LOW = 1 << 6,
        /// The upper bit of the speed.
        SPEED_HIGH = 1 << 7,
        /// The port of the card, lower bit, where a card has several.
        PORT_LOW = 1 << 2,
        /// The upper bit of the port.
        PORT_HIGH = 1 << 3,
        /// PCI Express: requests on the bus are still under way.
        GIO_MASTER_ENABLE = 1 << 19,
    }

    /// EEPROM control (82574 10.2.2.3: EEC).
    Eecd {
        /// PCI Express: the configuration has been read after reset.
        AUTO_RD = 1 << 9,
    }

    /// Access to the PHY (SDM: MDIC, 82574 10.2.2.7). The lower half is the data.
    Mdic {
        /// Address of the PHY: 1 on every card.
        PHY_1 = 1 << 21,
        /// Write a register.
        WRITE = 1 << 26,
        /// Read a register.
        READ = 1 << 27,
        /// Done.
        READY = 1 << 28,
        /// The PHY did not answer.
        ERROR = 1 << 30,
    }

    /// Extended device control (SDM 13.4.6, 82574 10.2.2.5).
    CtrlExt {
        /// 82574: undocumented; drivers set it.
        BIT_22 = 1 << 22,
        /// 82574: undocumented; drivers clear it.
        BIT_23 = 1 << 23,
        /// 82574: a vector that is sent masks the causes in [`IAM`].
        EIAME = 1 << 24,
        /// 82574: reading [`ICR`] masks the causes in [`IAM`].
        IAME = 1 << 27,
        /// The driver is loaded: firmware keeps its hands off.
        DRV_LOAD = 1 << 28,
        /// 82574: a vector's pending bit falls when it is sent.
        PBA_CLR = 1 << 31,
    }

    /// Interrupt causes, in [`ICR`], [`IMS`], [`IMC`] and [`EIAC`] (SDM 13.4.17, 82574 10.2.4.1).
    Causes {
        /// A transmit descriptor was written back.
        TXDW = 1,
        /// The receive ring falls short.
        RXDMT0 = 1 << 4,
        /// Frames were lost for want of buffers.
        RXO = 1 << 6,
        /// Frames came in.
        RXT0 = 1 << 7,
        /// 82574 with MSI-X: frames came into ring 0.
        RXQ0 = 1 << 20,
        /// The same for ring 1.
        RXQ1 = 1 << 21,
        /// 82574 with MSI-X: a descriptor of transmit ring 0 was written back.
        TXQ0 = 1 << 22,
        /// The same for transmit ring 1.
        TXQ1 = 1 << 23,
    }

    /// Receive control (SDM 13.4.22).
    Rctl {
        /// Receive.
        EN = 1 << 1,
        /// All stations.
        UPE = 1 << 3,
        /// All groups.
        MPE = 1 << 4,
        /// Frames longer than 1,522 bytes.
        LPE = 1 << 5,
        /// Broadcasts.
        BAM = 1 << 15,
        /// Buffer size, lower bit.
        BSIZE_LOW = 1 << 16,
        /// Buffer size, upper bit.
        BSIZE_HIGH = 1 << 17,
        /// Tagged frames pass only if their virtual LAN is in [`VFTA`].
        VFE = 1 << 18,
        /// Sixteen times the buffer size.
        BSEX = 1 << 25,
        /// The frame check sequence is not stored.
        SECRC = 1 << 26,
    }

    /// Transmit control (SDM 13.4.33).
    Tctl {
        /// Transmit.
        EN = 1 << 1,
        /// Pad short frames.
        PSP = 1 << 3,
        /// Collisions until a frame is given up: 15.
        CT = 15 << 4,
        /// Collision distance in byte times: 64, full duplex.
        COLD = 64 << 12,
        /// Send again after a late collision.
        RTLC = 1 << 24,
        /// 82574: more than one request at a time, and the threshold that goes with it.
        MULR = 0b11 << 28,
    }

    /// When descriptors are fetched and written back (SDM 13.4.44, 13.4.30).
    Thresholds {
        /// Written back at once.
        WRITE_BACK_1 = 1 << 16,
        /// 82574: count descriptors; drivers have to set it (10.2.6.8).
        COUNT_DESC = 1 << 22,
        /// Thresholds count descriptors, not cache lines.
        GRAN = 1 << 24,
    }

    /// 82574: transmit arbitration (10.2.6.9).
    Tarc {
        /// Counts of requests, as after reset.
        COUNT_3 = 3,
        /// The ring takes part.
        ENABLE = 1 << 10,
        /// Keeps count of what a ring was given too much; for several rings.
        COMPENSATION = 1 << 7,
        /// Undocumented; drivers set them for several rings.
        BITS_23_25 = 7 << 23,
        /// Undocumented; drivers set it.
        BIT_26 = 1 << 26,
        /// Undocumented; drivers clear them.
        BITS_27_30 = 15 << 27,
    }

    /// Receive checksums (SDM 13.4.55, 82574 10.2.5.15).
    Rxcsum {
        /// IPv4 headers.
        IPOFL = 1 << 8,
        /// TCP and UDP.
        TUOFL = 1 << 9,
        /// PCI Express: a hash stands where the sum over the whole packet would; without it there is none.
        PCSD = 1 << 13,
    }

    /// PCI Express: several receive rings, and what goes into the hash for them (82574 10.2.5.17).
    Mrqc {
        /// 82574: a hash chooses.
        RSS = 1,
        /// igb: a hash chooses.
        IGB_RSS = 1 << 1,
        /// Addresses and ports of TCP over IPv4.
        TCP_V4 = 1 << 16,
        /// Addresses of IPv4.
        V4 = 1 << 17,
        /// Addresses and ports of TCP over IPv6.
        TCP_V6 = 1 << 18,
        /// Addresses of IPv6.
        V6 = 1 << 20,
        /// igb: addresses and ports of TCP over IPv6 without extension headers.
        IGB_TCP_V6 = 1 << 21,
    }

    /// 82574: receive filter control (10.2.5.16).
    Rfctl {
        /// Extended descriptors.
        EXSTEN = 1 << 15,
        /// IPv6 packets with extension headers are not looked into.
        IPV6_EX_DIS = 1 << 16,
        /// The same for the new headers.
        NEW_IPV6_EXT_DIS = 1 << 17,
    }

    /// Upper half of a receive address (SDM 13.5.3).
    Rah {
        /// The address counts.
        AV = 1 << 31,
    }

    /// Management control (SDM 13.4.63, 82574 10.2.8.5).
    Manc {
        /// Firmware answers ARP requests.
        ARP_EN = 1 << 13,
    }

    /// 82574: who has the PHY (10.2.2.9: EXTCNF_CTRL).
    Extcnf {
        /// Software has it.
        MDIO_SW_OWNERSHIP = 1 << 5,
    }

    /// 82574: PCI Express control (10.2.3.10).
    Gcr {
        /// Undocumented; drivers set it, lest the link hangs in a power state.
        BIT_22 = 1 << 22,
    }
}

impl Causes {
    /// Those that have a vector with MSI-X.
    pub const VECTORS: Self = Self::RXQ0
        .union(Self::TXQ0)
        .union(Self::RXQ1)
        .union(Self::TXQ1);
}

/// Device control.
pub const CTRL: Register<Ctrl> = Register::at(0x0000);
/// Device status.
pub const STATUS: Register<Status> = Register::at(0x0008);
/// EEPROM control.
pub const EECD: Register<Eecd> = Register::at(0x0010);
/// EEPROM read: word address, start, done and data; where they lie depends on the family.
pub const EERD: Register<u32> = Register::at(0x0014);
/// Extended device control.
pub const CTRL_EXT: Register<CtrlExt> = Register::at(0x0018);
/// Access to the PHY.
pub const MDIC: Register<Mdic> = Register::at(0x0020);
/// Address of flow control frames, lower half.
pub const FCAL: Register<u32> = Register::at(0x0028);
/// Address of flow control frames, upper half.
pub const FCAH: Register<u32> = Register::at(0x002c);
/// Type of flow control frames.
pub const FCT: Register<u32> = Register::at(0x0030);
/// EtherType of VLAN tags.
pub const VET: Register<u32> = Register::at(0x0038);
/// Causes that are pending. Reading clears them; with MSI-X, writing ones does.
pub const ICR: Register<Causes> = Register::at(0x00c0);
/// Least time between interrupts, in steps of 256 ns.
pub const ITR: Register<u32> = Register::at(0x00c4);
/// Causes: writing makes them pending, as if they had come.
pub const ICS: Register<Causes> = Register::at(0x00c8);
/// Causes to interrupt for: writing sets bits.
pub const IMS: Register<Causes> = Register::at(0x00d0);
/// The same: writing clears bits.
pub const IMC: Register<Causes> = Register::at(0x00d8);
/// 82574 with MSI-X: causes that fall when their vector is sent.
pub const EIAC: Register<Causes> = Register::at(0x00dc);
/// 82574: causes that mask themselves, as `EIAME` and `IAME` say.
pub const IAM: Register<Causes> = Register::at(0x00e0);
/// 82574 with MSI-X: the vector of each group of causes (10.2.4.9).
pub const IVAR: Register<u32> = Register::at(0x00e4);
/// 82574 with MSI-X: least time between messages of each vector, in steps of 256 ns.
pub const EITR: Array = Array::at(0x00e8, 4, 5);
/// Receive control. Written once a start: QEMU's 82540EM receives nothing for a second after.
pub const RCTL: Register<Rctl> = Register::at(0x0100);
/// Flow control: pause time.
pub const FCTTV: Register<u32> = Register::at(0x0170);
/// Transmit control.
pub const TCTL: Register<Tctl> = Register::at(0x0400);
/// Gaps between frames.
pub const TIPG: Register<u32> = Register::at(0x0410);
/// 82574: who has the PHY.
pub const EXTCNF_CTRL: Register<Extcnf> = Register::at(0x0f00);
/// KiB of the card's memory for received frames; the rest is for those to send. Outlives a reset,
/// and counts from the next one on.
pub const PBA: Register<u32> = Register::at(0x1000);
/// Flow control: receive threshold, low.
pub const FCRTL: Register<u32> = Register::at(0x2160);
/// Flow control: receive threshold, high.
pub const FCRTH: Register<u32> = Register::at(0x2168);
/// Receive ring: address.
pub const RDBAL: Register<u32> = Register::at(0x2800);
/// Receive ring: upper half of the address.
pub const RDBAH: Register<u32> = Register::at(0x2804);
/// Receive ring: bytes.
pub const RDLEN: Register<u32> = Register::at(0x2808);
/// Receive ring: next descriptor of the card.
pub const RDH: Register<u32> = Register::at(0x2810);
/// Receive ring: the descriptor behind the last one that the card may use.
pub const RDT: Register<u32> = Register::at(0x2818);
/// Receive interrupts: delay.
pub const RDTR: Register<u32> = Register::at(0x2820);
/// Receive ring: thresholds.
pub const RXDCTL: Register<Thresholds> = Register::at(0x2828);
/// Receive interrupts: longest delay.
pub const RADV: Register<u32> = Register::at(0x282c);
/// Transmit ring: address.
pub const TDBAL: Register<u32> = Register::at(0x3800);
/// Transmit ring: upper half of the address.
pub const TDBAH: Register<u32> = Register::at(0x3804);
/// Transmit ring: bytes.
pub const TDLEN: Register<u32> = Register::at(0x3808);
/// Transmit ring: next descriptor of the card.
pub const TDH: Register<u32> = Register::at(0x3810);
/// Transmit ring: the descriptor behind the last one to send.
pub const TDT: Register<u32> = Register::at(0x3818);
/// Transmit interrupts: delay.
pub const TIDV: Register<u32> = Register::at(0x3820);
/// Transmit ring: thresholds.
pub const TXDCTL: Register<Thresholds> = Register::at(0x3828);
/// Transmit interrupts: longest delay.
pub const TADV: Register<u32> = Register::at(0x382c);
/// 82574: transmit arbitration.
pub const TARC: Register<Tarc> = Register::at(0x3840);
/// Receive checksums.
pub const RXCSUM: Register<Rxcsum> = Register::at(0x5000);
/// 82574: receive filter control.
pub const RFCTL: Register<Rfctl> = Register::at(0x5008);
/// Group addresses, hashed.
pub const MTA: Array = Array::at(0x5200, 4, 128);
/// First receive address, lower half: the card's own.
pub const RAL0: Register<u32> = Register::at(0x5400);
/// First receive address, upper half.
pub const RAH0: Register<Rah> = Register::at(0x5404);
/// Other receive addresses that both families have.
pub const OTHER_STATIONS: usize = 14;
/// Lower halves of the others.
pub const OTHER_LOWER: Array = Array::at(0x5408, 8, OTHER_STATIONS as u16);
/// Upper halves of the others.
pub const OTHER_UPPER: Array = Array::at(0x540c, 8, OTHER_STATIONS as u16);
/// VLANs.
pub const VFTA: Array = Array::at(0x5600, 4, 128);
/// Wake-up control.
pub const WUC: Register<u32> = Register::at(0x5800);
/// Frames that wake.
pub const WUFC: Register<u32> = Register::at(0x5808);
/// Management control.
pub const MANC: Register<Manc> = Register::at(0x5820);
/// 82574: PCI Express control.
pub const GCR: Register<Gcr> = Register::at(0x5b00);
