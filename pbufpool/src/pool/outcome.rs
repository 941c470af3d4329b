//! What an allocation comes to.
#![forbid(unsafe_code)]

use core::fmt;

/// Why there is no packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AllocError {
    /// No packet metadata (in a regular pool: no packet with its buffer).
    NoPackets,
    /// No buflet with a buffer.
    NoBuffers,
    /// The pool has no large buffers.
    NoLargeRegion,
    /// A chain this long is not allowed.
    TooManyBuflets {
        /// Buflets asked for.
        asked: usize,
        /// The pool's `max_frags`.
        max: u16,
    },
    /// A regular pool's packets have exactly `max_frags` buflets.
    WrongBufletCount {
        /// Buflets asked for.
        asked: u16,
        /// The only number allowed.
        only: u16,
    },
    /// No buffer, or chain of buffers, holds that much.
    TooLarge {
        /// Bytes asked for.
        bytes: usize,
        /// Bytes that can be had.
        max: usize,
    },
    /// The pool cannot do this: buffers alone need an on-demand pool.
    NotSupported,
    /// A place for nothing was given.
    Empty,
    /// The processor may not write this pool's buffers.
    ReadOnly,
    /// No memory came free in time.
    TimedOut,
}

impl fmt::Display for AllocError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoPackets => f.write_str("no packet is free"),
            Self::NoBuffers => f.write_str("no buffer is free"),
            Self::NoLargeRegion => f.write_str("the pool has no large buffers"),
            Self::TooManyBuflets { asked, max } => {
                write!(f, "{asked} buflets asked, max_frags is {max}")
            }
            Self::WrongBufletCount { asked, only } => {
                write!(
                    f,
                    "{asked} buflets asked of a regular pool, which gives {only}"
                )
            }
            Self::TooLarge { bytes, max } => write!(f, "{bytes} bytes asked, at most {max} fit"),
            Self::NotSupported => f.write_str("not supported by this kind of pool"),
            Self::Empty => f.write_str("nothing was asked for"),
            Self::ReadOnly => f.write_str("the pool's buffers are read-only"),
            Self::TimedOut => f.write_str("no memory came free in time"),
        }
    }
}

impl core::error::Error for AllocError {}

/// What a burst came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "a burst may be short"]
pub struct Burst {
    /// Packets delivered.
    pub count: usize,
    /// Why there are not more; `None` if all were delivered.
    pub shortfall: Option<AllocError>,
}

/// A burst in one word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BurstStatus {
    /// All were delivered.
    Complete,
    /// Some were (EAGAIN).
    Partial,
    /// None was (ENOMEM, or the request was invalid).
    Nothing,
}

impl Burst {
    /// Whether all, some or none were delivered.
    pub fn status(&self) -> BurstStatus {
        match (self.shortfall, self.count) {
            (None, _) => BurstStatus::Complete,
            (Some(_), 0) => BurstStatus::Nothing,
            (Some(_), _) => BurstStatus::Partial,
        }
    }
    /// Whether all were delivered.
    pub fn is_complete(&self) -> bool {
        self.shortfall.is_none()
    }
    pub(super) fn refused(error: AllocError) -> Self {
        Self {
            count: 0,
            shortfall: Some(error),
        }
    }
}
