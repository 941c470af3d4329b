//! Why a configuration cannot be, naming both sides of a conflict.
#![forbid(unsafe_code)]

use super::NAME_MAX;
use core::fmt;

/// Why a configuration cannot be.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ConfigError {
    /// No packets were asked for.
    NoPackets,
    /// The buffer size is 0.
    NoBufferSize,
    /// `max_frags` is 0.
    NoFrags,
    /// A chain longer than one buflet needs `on_demand`.
    ChainsNeedOnDemand {
        /// The `max_frags` given.
        max_frags: u16,
    },
    /// A quantum has exactly one buflet.
    QuantumChain {
        /// The `max_frags` given.
        max_frags: u16,
    },
    /// A quantum keeps its buffer: it cannot be on demand.
    QuantumOnDemand,
    /// A regular pool needs a buffer for each packet.
    FewerBuffersThanPackets {
        /// Buffers given.
        buffers: usize,
        /// Packets given.
        packets: usize,
    },
    /// Large buflets need `on_demand`: a regular pool has no buflets.
    LargeNeedsOnDemand,
    /// Large buffers that are not larger than the default ones.
    LargeNotLarger {
        /// The large size given.
        large: usize,
        /// The default size.
        default: usize,
    },
    /// A region's size does not fit the machine's word, or its count 32 bits.
    TooLarge {
        /// The region.
        region: &'static str,
        /// Objects asked for.
        count: usize,
    },
    /// The name is longer than [`NAME_MAX`] bytes.
    NameTooLong {
        /// Its length.
        bytes: usize,
    },
    /// The memory cannot be made uncached here.
    UncachedUnsupported,
    /// The platform says it has no core.
    NoCores,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoPackets => f.write_str("packets = 0: a pool needs at least one packet"),
            Self::NoBufferSize => f.write_str("buffer_size = 0: a buffer needs at least one byte"),
            Self::NoFrags => f.write_str("max_frags = 0: a packet needs at least one buflet"),
            Self::ChainsNeedOnDemand { max_frags } => {
                write!(
                    f,
                    "max_frags = {max_frags} without on_demand: a regular packet has one buflet"
                )
            }
            Self::QuantumChain { max_frags } => {
                write!(
                    f,
                    "max_frags = {max_frags} with quanta: a quantum has exactly one buflet"
                )
            }
            Self::QuantumOnDemand => {
                f.write_str("on_demand with quanta: a quantum keeps its buffer")
            }
            Self::FewerBuffersThanPackets { buffers, packets } => {
                write!(
                    f,
                    "buffers = {buffers} below packets = {packets} without on_demand"
                )
            }
            Self::LargeNeedsOnDemand => f.write_str(
                "large buffers without on_demand: a regular packet keeps its default buffer",
            ),
            Self::LargeNotLarger { large, default } => {
                write!(f, "large size {large} is not above buffer_size {default}")
            }
            Self::TooLarge { region, count } => {
                write!(f, "{count} objects are too many for the {region} region")
            }
            Self::NameTooLong { bytes } => {
                write!(
                    f,
                    "the name has {bytes} bytes, at most {NAME_MAX} are allowed"
                )
            }
            Self::UncachedUnsupported => f.write_str("uncached buffers are not supported"),
            Self::NoCores => f.write_str("the platform reports no cores"),
        }
    }
}

impl core::error::Error for ConfigError {}
