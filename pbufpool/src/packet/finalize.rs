//! Closing a packet: every span is checked once, and what passed is a [`Finalized`] packet,
//! whose metadata holds still; what failed is [`Rejected`]: marked dropped, of length 0.
#![forbid(unsafe_code)]

use super::Packet;
use crate::config::Layer;
use core::fmt;

/// A packet whose spans were checked and do not change.
#[derive(Debug)]
pub struct Finalized {
    packet: Packet,
    len: usize,
    headroom: u8,
}

/// A packet that failed a check.
#[derive(Debug)]
pub struct Rejected {
    /// What is wrong.
    pub reason: FinalizeError,
    /// The packet, marked dropped.
    pub packet: Packet,
}

/// What is wrong with a packet's spans.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FinalizeError {
    /// There is no buflet.
    NoBuflet,
    /// A buflet's span leaves its window, or the window its buffer.
    Span {
        /// Number of the buflet in the chain.
        buflet: usize,
    },
    /// The data starts further back than 255 bytes: a header's place is lost.
    Headroom {
        /// Bytes in front of the data.
        bytes: usize,
    },
    /// Headroom and link-layer header exceed the first buflet.
    LinkHeader {
        /// The link header's length.
        l2_len: u8,
    },
    /// A payload packet has headroom or a link-layer header.
    PayloadHeader,
}

impl fmt::Display for FinalizeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoBuflet => f.write_str("the packet has no buflet"),
            Self::Span { buflet } => write!(f, "buflet {buflet} leaves its buffer"),
            Self::Headroom { bytes } => write!(f, "headroom of {bytes} bytes, at most 255 allowed"),
            Self::LinkHeader { l2_len } => {
                write!(
                    f,
                    "headroom and {l2_len} bytes of link header exceed the first buflet"
                )
            }
            Self::PayloadHeader => f.write_str("a payload packet with headroom or link header"),
        }
    }
}

impl core::error::Error for FinalizeError {}

impl Packet {
    /// Checks all spans and fixes length and headroom.
    ///
    /// # Errors
    /// [`Rejected`] holds the packet, marked dropped.
    pub fn finalize(mut self) -> Result<Finalized, Rejected> {
        match self.check() {
            Ok((len, headroom)) => Ok(Finalized {
                packet: self,
                len,
                headroom,
            }),
            Err(reason) => {
                self.meta_mut().mark_dropped();
                Err(Rejected {
                    reason,
                    packet: self,
                })
            }
        }
    }

    fn check(&self) -> Result<(usize, u8), FinalizeError> {
        let first = self.first().ok_or(FinalizeError::NoBuflet)?;
        let mut len = 0;
        for (buflet, b) in self.buflets().enumerate() {
            if !b.is_inside_buffer() {
                return Err(FinalizeError::Span { buflet });
            }
            len += b.len();
        }
        let l2_len = self.notes().l2_len;
        let bytes = first.offset();
        match self.meta().inner().config.layer {
            Layer::Payload if bytes != 0 || l2_len != 0 => Err(FinalizeError::PayloadHeader),
            Layer::Raw if bytes + usize::from(l2_len) >= first.limit() => {
                Err(FinalizeError::LinkHeader { l2_len })
            }
            _ => Ok((
                len,
                u8::try_from(bytes).map_err(|_| FinalizeError::Headroom { bytes })?,
            )),
        }
    }
}

impl Finalized {
    /// Bytes of data.
    pub fn len(&self) -> usize {
        self.len
    }
    /// Whether there is no data.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }
    /// Bytes in front of the data in the first buflet.
    pub fn headroom(&self) -> u8 {
        self.headroom
    }
    /// The packet, for reading.
    pub fn packet(&self) -> &Packet {
        &self.packet
    }
    /// Opens it again.
    pub fn reopen(self) -> Packet {
        self.packet
    }
}
