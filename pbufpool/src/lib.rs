//! A packet buffer pool.
#![no_std]

extern crate alloc;

mod buffer;
mod buflet;
mod cache;
mod config;
pub mod drop_tap;
pub mod fault;
pub mod ledger;
mod packet;
mod platform;
mod pool;
mod queue;
pub mod region;
pub mod slab;
mod subobject;
mod sync;
#[cfg(feature = "test-utils")]
pub mod test_utils;

pub use buflet::{Buflet, SpanError};
pub use cache::CacheStats;
pub use config::{ConfigError, Layer, NAME_MAX, PacketKind, PoolConfig, PoolContext, STRIDING_SIZE};
pub use packet::{
    AppendError, AppendReason, Attachment, Buflets, CloneError, FinalizeError, Finalized, Foreign, Gso,
    GsoKind, Leaf, Lent, NoSubObjects, Notes, Offload, Packet, PacketHandle, PartialChecksum,
    Rejected, RxChecksum,
};
pub use platform::{DmaAddr, DmaMemory, Direction, MapRefused, Platform, Segment, SegmentHooks};
pub use pool::{
    AllocError, AppendBufletError, Buffer, Burst, BurstStatus, LoneBuflet, Pool, PoolStats, UPDATE_MS,
};
pub use subobject::{
    AlreadyInitialised, Completion, CompletionEvent, CompletionSink, Flow, Options, SubObjects,
};
pub use queue::{FrontMut, PacketQueue};
