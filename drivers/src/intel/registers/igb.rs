//! Registers that only the igb family has (I210 chapter 8, 82576 chapter 8).
//!
//! Those of queue 0 are at the places where the older families have the only ring, which these
//! cards keep as a second name; so [`super::RDBAL`] and its like serve all families.
#![forbid(unsafe_code)]

use bitflags::bitflags;

use super::{Array, Contents, Register};

contents! {
    /// How the card interrupts (I210 8.8.17).
    Gpie {
        /// Each vector has its own causes, and a mask in [`EIMS`].
        MULTIPLE_MSIX = 1 << 4,
        /// A vector that is sent masks the vectors in [`EIAM`].
        EIAME = 1 << 30,
        /// A vector's pending bit falls when it is sent.
        PBA = 1 << 31,
    }

    /// Vectors, in [`EICR`] and its like (I210 8.8.3).
    Vectors {
        /// The first.
        VECTOR_0 = 1,
        /// The second.
        VECTOR_1 = 1 << 1,
        /// The third.
        VECTOR_2 = 1 << 2,
        /// The fourth.
        VECTOR_3 = 1 << 3,
    }

    /// Receive buffers of a queue (I210 8.10). The lowest bits are their size in KiB.
    Srrctl {
        /// Advanced descriptors, header and payload in one buffer.
        ONE_BUFFER = 1 << 25,
        /// Frames are dropped when there is no buffer, lest other queues wait.
        DROP = 1 << 31,
    }

    /// A queue, and when its descriptors are fetched and written back (I210 8.10, 8.12).
    Queue {
        /// Fetch when fewer than this many are at hand: 8.
        PREFETCH_8 = 8,
        /// Fetch if at least this many are there: 1.
        HOST_1 = 1 << 8,
        /// Write back at once.
        WRITE_BACK_1 = 1 << 16,
        /// The queue runs. It reads as set once it does.
        ENABLE = 1 << 25,
    }

    /// Power of the PHY: I350, I210.
    Phpm {
        /// The link is to be down.
        GO_LINK_DISCONNECT = 1 << 5,
    }

    /// What Energy-Efficient Ethernet is negotiated for: I350, I210.
    Ipcnfg {
        /// 100 Mbit/s.
        EEE_100 = 1 << 2,
        /// 1000 Mbit/s.
        EEE_1000 = 1 << 3,
    }

    /// Low power idle: I350, I210.
    Eeer {
        /// The transmitter may rest.
        TX_LPI = 1 << 16,
        /// The receiver may rest.
        RX_LPI = 1 << 17,
        /// The receiver's rest counts for flow control.
        LPI_FC = 1 << 18,
    }

    /// Semaphores of software (I210 8.16).
    Swsm {
        /// Reads as clear once, and is set then: one driver holds it.
        SMBI = 1,
        /// Stays set if firmware does not hold it.
        SWESMBI = 1 << 1,
    }

    /// What software and firmware use in turn; firmware's bits are sixteen above (I210 8.16).
    SwFwSync {
        /// PHY of port 0.
        PHY_0 = 1 << 1,
        /// PHY of port 1.
        PHY_1 = 1 << 2,
        /// PHY of port 2.
        PHY_2 = 1 << 5,
        /// PHY of port 3.
        PHY_3 = 1 << 6,
    }

    /// Receive filter control (I210 8.10).
    Rfctl {
        /// IPv6 packets with extension headers are not looked into.
        IPV6_EX_DIS = 1 << 16,
    }
}

/// Power of the PHY: I350, I210.
pub const PHPM: Register<Phpm> = Register::at(0x0e14);
/// Low power idle: I350, I210.
pub const EEER: Register<Eeer> = Register::at(0x0e30);
/// What Energy-Efficient Ethernet is negotiated for: I350, I210.
pub const IPCNFG: Register<Ipcnfg> = Register::at(0x0e38);
/// How the card interrupts.
pub const GPIE: Register<Gpie> = Register::at(0x1514);
/// Vectors: writing makes them pending, as if their causes had come.
pub const EICS: Register<Vectors> = Register::at(0x1520);
/// Vectors that may be sent: writing sets bits.
pub const EIMS: Register<Vectors> = Register::at(0x1524);
/// The same: writing clears bits.
pub const EIMC: Register<Vectors> = Register::at(0x1528);
/// Vectors whose pending bits fall when they are sent.
pub const EIAC: Register<Vectors> = Register::at(0x152c);
/// Vectors that mask themselves.
pub const EIAM: Register<Vectors> = Register::at(0x1530);
/// Vectors that are pending.
pub const EICR: Register<Vectors> = Register::at(0x1580);
/// Least time between messages of the vectors in use.
pub const EITR: Array = Array::at(0x1680, 4, 4);
/// Vectors of the queues. 82576: queue by queue, receive in the lowest byte, transmit in the next.
/// Others: the same for queue 1 in the upper half of the first (I210 8.8.15).
pub const IVAR: Array = Array::at(0x1700, 4, 2);
/// DMA coalescing: I350, I210.
pub const DMACR: Register<u32> = Register::at(0x2508);
/// Receive buffers of queue 0.
pub const SRRCTL0: Register<Srrctl> = Register::at(0x280c);
/// Receive queue 0.
pub const RXDCTL0: Register<Queue> = Register::at(0x2828);
/// Transmit queue 0.
pub const TXDCTL0: Register<Queue> = Register::at(0x3828);
/// Where the head of transmit queue 0 is written to, if bit 0 is set.
pub const TDWBAL0: Register<u32> = Register::at(0x3838);
/// The upper half of the address.
pub const TDWBAH0: Register<u32> = Register::at(0x383c);
/// Longest frame with [`LPE`](super::Rctl::LPE), with its check sequence.
pub const RLPML: Register<u32> = Register::at(0x5004);
/// Receive filter control.
pub const RFCTL: Register<Rfctl> = Register::at(0x5008);
/// Semaphores of software.
pub const SWSM: Register<Swsm> = Register::at(0x5b50);
/// What software and firmware use in turn.
pub const SW_FW_SYNC: Register<SwFwSync> = Register::at(0x5b5c);
