//! # A pool of packet buffers
//!
//! Memory that network devices read and write directly, handed out as packets: constructed once,
//! recycled for ever. `no_std`; it knows a source of contiguous memory ([`DmaMemory`]) and the
//! running core ([`Platform`]), and nothing of devices, drivers or kernels.
//!
//! ## Big theory
//!
//! **1. Why.** A receive ring needs millions of fresh buffers a second and a transmit ring gives
//! as many back, often on another core. A heap would lock, search, and hand out memory that is
//! neither contiguous nor known to the device. Here an allocation is a pop from an array that
//! only this core touches, plus one 16-byte store that makes the packet fresh.
//!
//! **2. Layers.**
//!
//! ```text
//!            Packet ── owns ──▶ Buflet ▶ Buflet ▶ Buflet      (a chain; one is embedded)
//!              │                  │        │        │
//!              │               buffer   buffer   buffer       (each with an address for the device)
//!   alloc_burst│▲drop
//!  ┌───────────▼│──────────────────────────────────────────┐
//!  │ core 0: loaded, previous   core 1: loaded, previous   │  magazines: no lock, no locked
//!  └───────────┬▲─────────────────────────┬▲───────────────┘  instruction        (cache/core_slot)
//!              ▼│ whole magazines         ▼│
//!  ┌────────────────────────────────────────────┐
//!  │ depot: full magazines, empty magazines     │             one lock                (cache/depot)
//!  └───────────┬▲───────────────────────────────┘
//!     construct▼│destruct
//!  ┌────────────────────────────────────────────┐
//!  │ slabs: one segment each, free list, bitmap │             one lock                       (slab)
//!  └───────────┬▲───────────────────────────────┘
//!        map   ▼│ unmap
//!     DmaMemory: physically contiguous segments                                    (region, platform)
//! ```
//!
//! A pool has up to five such towers: metadata, default and large buflets, default and large
//! buffers. In a *regular* pool a packet is constructed with its one buffer and keeps it; in an
//! *on-demand* pool metadata is bare, and buflets, constructed with their buffers, are linked to
//! it at allocation, 0 to `max_frags` of them.
//!
//! **3. States.** An object is *raw* in a slab, *constructed* in a magazine, or *with a client*;
//! a packet with a client is open ([`Packet`]), checked ([`Finalized`]), lent to a device
//! ([`Lent`]), or on loan to an untrusted client ([`ledger`]). Each is a type; moving between
//! them moves the value, so a packet is in one place, and `Drop` is the only free.
//!
//! **4. Invariants.**
//! - A buffer's use count is the number of buflets that refer to it; data is writable at 1 only.
//! - A buflet whose buffer is shared never enters a magazine.
//! - Index in region = segment × objects per segment + index in segment; device addresses follow
//!   by arithmetic.
//! - Every object out of the slabs counts one reference on its pool. The hot path never touches
//!   that count; a pool goes when its last handle *and* its last packet are gone.
//! - No code of others (completions, foreign data, taps) runs inside a core's section or under a
//!   lock. Segment hooks do run under the region's lock and must not call the pool.
//! - Nothing allocates or frees in interrupt context (see [`Platform`]).
//!
//! **5. Cross-core.** A packet freed on another core goes to *that* core's magazine; full
//! magazines flow through the depot to where they are needed. A core's magazines can be taken
//! from outside (purge, resize, the end of the pool) without the owner paying for it: see
//! `cache/core_slot`.
//!
//! **6. Layout.** What allocation, free and queues touch is the first cache line of metadata,
//! and one line per external buflet; everything else in metadata lies behind and counts only
//! while a flag in the first line says so, which is how one store forgets a packet's past. Each
//! core's slot has two lines of its own (adjacent lines are fetched in pairs). There is no
//! software prefetch: magazines are last in, first out, so what comes out is warm. A packet that
//! is freed on another core takes one line there and back, its metadata's: a packet's only buflet
//! goes into the magazine unseen. Whole magazines cross the depot, so its lock is taken once for
//! as many packets as one holds.
//!
//! **7. Cost.** Instructions per packet, x86-64, bursts of 32, magazines of 128
//! (`examples/instructions.rs`, alloc and free together): 21 in a regular pool; on demand 50 with
//! one buflet and 87 with a chain of three; 94 for a light clone of one buffer in a burst
//! ([`Pool::clone_light_vec`]) and 132 alone, one locked instruction among them. Bursts in a `Vec`
//! ([`Pool::alloc_vec`]) cost a few more, but none waits for the one before: no packet is found
//! through another. A lone packet costs 93, a lone buffer in a [`BufferBatch`] 6.2 with
//! [`PoolConfig::buffer_magazines`]. Without magazines each object pays for its slab's lock.
//!
//! **8. Observing.** [`Pool::stats`] counts at every layer; [`drop_tap`] tells why packets die;
//! the `fault` feature makes any step fail, the `audit` feature names who holds each packet
//! (`Pool::holders`).
//!
//! ## Use
//!
//! ```
//! # use pbufpool::test_utils::{HeapDma, Threads};
//! use pbufpool::{PacketQueue, Pool, PoolConfig};
//!
//! let config = PoolConfig::new("nic0").packets(512).buffer_size(2048);
//! let pool = Pool::new(config, HeapDma::leaked(), Threads::leaked(2))?;
//!
//! let mut packet = pool.alloc()?;
//! packet.set_span(64, 5)?; // 64 bytes of headroom for headers
//! packet.data_mut().expect("not shared").copy_from_slice(b"hello");
//! packet.push_front(14)?.fill(0); // a link-layer header
//! assert_eq!((packet.len(), packet.headroom()), (19, 50));
//!
//! let lent = packet.lend(); // to a device: addresses, no data
//! for (addr, len) in lent.spans() {
//!     println!("descriptor: {addr:?} + {len}");
//! }
//! // SAFETY: there is no device here that could still use the buffer.
//! let packet = unsafe { lent.reclaim() };
//! drop(packet); // back to this core's magazine
//!
//! let mut burst = PacketQueue::new();
//! assert!(pool.alloc_burst(32, &mut burst).is_complete());
//! pool.free_queue(&mut burst);
//! assert_eq!(pool.stats().packets_in_use, 0);
//! # Ok::<(), Box<dyn core::error::Error>>(())
//! ```
//!
//! Segment hooks come as a pair; one alone does not compile:
//!
//! ```compile_fail
//! struct MapOnly;
//! impl pbufpool::SegmentHooks for MapOnly {
//!     fn map(
//!         &self,
//!         segment: &pbufpool::Segment,
//!         _: usize,
//!         _: pbufpool::Direction,
//!     ) -> Result<pbufpool::DmaAddr, pbufpool::MapRefused> {
//!         Ok(segment.dma())
//!     }
//! }
//! ```
//!
//! ## Departures
//!
//! - Foreign data is freed packet by packet, not collected and freed in one batch: each piece
//!   is a value with a `Drop` of its own.
//! - A waiting allocation that finds nothing in time returns [`AllocError::TimedOut`] instead
//!   of stopping the machine.
//! - Two that a configuration chooses and that are off by default:
//!   [`PoolConfig::spare_segments`] keeps one wholly free segment per region instead of giving
//!   it back at once; [`PoolConfig::buffer_magazines`] gives default buffers below 256 KiB
//!   magazines of their own.
//!
//! ## Left out, and why
//!
//! The behaviour follows a kernel's packet pool built for many address spaces. In one address
//! space these have no equivalent: pageable and purgeable memory (all memory is wired), mapping
//! into tasks and guard pages, redirection of a dead client's mappings, hardware memory tags
//! (the bitmap finds double frees), parity with other systems' buffer flags, and process names
//! in taps. Thread-safe mapping objects are `Send + Sync` bounds. A client's read-only view is
//! the loan without a writable descriptor, and uncached buffers are refused, as page attributes
//! are not the pool's to change. The client's mirror regions became the ledger's descriptor
//! tables, made when a ledger is asked for, and the loan tables are indexed directly instead of
//! hashed: numbers are small and dense.

#![no_std]

extern crate alloc;

mod buffer;
mod buflet;
mod cache;
mod config;
pub mod drop_tap;
pub mod fault;
pub mod ledger;
#[cfg(all(test, loom))]
mod loom_tests;
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
pub use config::{
    ConfigError, Layer, NAME_MAX, PacketKind, PoolConfig, PoolContext, STRIDING_SIZE,
};
pub use packet::{
    AppendError, AppendReason, Attachment, BufletMut, Buflets, CloneError, FinalizeError,
    Finalized, Foreign, Gather, Gso, GsoKind, Leaf, Lent, NoSubObjects, Notes, Offload, Packet,
    PacketHandle, PartialChecksum, Rejected, RxChecksum,
};
pub use platform::{Direction, DmaAddr, DmaMemory, MapRefused, Platform, Segment, SegmentHooks};
#[cfg(feature = "audit")]
pub use pool::Holder;
pub use pool::{
    AllocError, AppendBufletError, Buffer, BufferBatch, Burst, BurstStatus, CloneBurst, LoneBuflet,
    Pool, PoolStats, UPDATE_MS,
};
pub use queue::{FrontMut, PacketQueue};
pub use subobject::{
    AlreadyInitialised, Completion, CompletionEvent, CompletionSink, Flow, Options, SubObjects,
};
