//! What a client sees of a loaned packet: plain descriptors in memory that it may scribble on.
//!
//! Every word is an atomic, since the client may write at any time; the pool reads each word
//! once, into a [`PacketWords`] or [`BufletWords`], and judges only that copy.
#![forbid(unsafe_code)]

use core::sync::atomic::{AtomicU32, Ordering};

/// "No buflet", in a chain link or a buffer index.
pub const NONE: u32 = u32::MAX;

/// Flags that a client may set.
pub mod client_flag {
    /// The client gave the packet up.
    pub const DROPPED: u32 = 1 << 0;
    /// The buffers hold less than the whole payload.
    pub const TRUNCATED: u32 = 1 << 1;
    /// A checksum is to be completed: start and stuff offset count.
    pub const PARTIAL_CHECKSUM: u32 = 1 << 2;
    /// All of them.
    pub const ALL: u32 = DROPPED | TRUNCATED | PARTIAL_CHECKSUM;
}

/// Declares a descriptor of atomic words with its plain copy.
macro_rules! descriptor {
    ($(#[$doc:meta])* $name:ident => $(#[$plain_doc:meta])* $plain:ident {
        $($(#[$field_doc:meta])* $field:ident,)*
    }) => {
        $(#[$doc])*
        #[derive(Debug, Default)]
        pub struct $name { $($(#[$field_doc])* pub $field: AtomicU32,)* }

        $(#[$plain_doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        pub struct $plain { $($(#[$field_doc])* pub $field: u32,)* }

        impl $name {
            /// Reads every word once.
            pub fn read(&self) -> $plain {
                $plain { $($field: self.$field.load(Ordering::Relaxed),)* }
            }
            /// Writes every word.
            pub fn write(&self, words: &$plain) {
                $(self.$field.store(words.$field, Ordering::Relaxed);)*
            }
        }
    };
}

descriptor! {
    /// A packet as its client sees it.
    ClientPacket =>
    /// The words of a [`ClientPacket`].
    PacketWords {
        /// [`client_flag`] bits.
        flags,
        /// Buflets of the packet.
        count,
        /// Buflets it may have.
        max_frags,
        /// Bytes of data.
        length,
        /// Bytes in front of the data.
        headroom,
        /// Bytes of link-layer header.
        l2_len,
        /// Buffer of the embedded buflet, or [`NONE`].
        buffer,
        /// Its offset.
        doff,
        /// Its length.
        dlen,
        /// First external buflet, or [`NONE`].
        next,
        /// First byte of a partial checksum.
        csum_start,
        /// Where its result goes, from the first byte of the packet.
        csum_stuff,
        /// Tells a descriptor from a forgery.
        seal,
    }
}

descriptor! {
    /// An external buflet as its client sees it.
    ClientBuflet =>
    /// The words of a [`ClientBuflet`].
    BufletWords {
        /// Its buffer.
        buffer,
        /// Its offset.
        doff,
        /// Its length.
        dlen,
        /// Next buflet, or [`NONE`].
        next,
        /// Tells a descriptor from a forgery.
        seal,
    }
}

/// The seal of descriptor `index`: its place, mixed with a secret of this run.
pub(super) fn seal(secret: u64, index: u32, size: usize) -> u32 {
    let word = (u64::from(index) * size as u64 + 16) ^ (secret | 1);
    (word ^ (word >> 32)) as u32
}
