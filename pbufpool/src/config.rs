//! What a user wants of a pool: [`PoolConfig`], a builder. [`Checked`] is made of it, and the
//! pool of that; impossible combinations are an error that names both sides.
#![forbid(unsafe_code)]

mod checked;
mod error;

pub(crate) use checked::Checked;
pub use error::ConfigError;

use crate::platform::{Direction, SegmentHooks};
use crate::subobject::{CompletionSink, SubObjects};
use alloc::string::String;
use alloc::sync::Arc;

/// Longest name, in bytes.
pub const NAME_MAX: usize = 64;
/// Buffers this large have magazines of their own: they are taken apart from buflets.
pub const STRIDING_SIZE: usize = 256 * 1024;

/// What a packet carries besides its buflets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum PacketKind {
    /// Minimal metadata, exactly one buflet.
    Quantum,
    /// Full metadata and a chain.
    #[default]
    Packet,
}

/// Where a packet's data starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Layer {
    /// At the payload.
    Payload,
    /// At the link-layer header.
    #[default]
    Raw,
}

/// A pool as its user wants it. Start with [`PoolConfig::new`], set what differs, pass it to
/// [`Pool::new`](crate::Pool::new).
#[derive(Clone)]
pub struct PoolConfig {
    name: String,
    kind: PacketKind,
    layer: Layer,
    packets: usize,
    max_frags: u16,
    buffer_size: usize,
    buffers: usize,
    large_size: Option<usize>,
    segment_size: usize,
    header: usize,
    on_demand: bool,
    direction: Direction,
    magazines: bool,
    magazine_capacity: Option<usize>,
    dynamic: bool,
    buffer_magazines: bool,
    spare_segments: bool,
    cpu_read_only: bool,
    monolithic: bool,
    uncached: bool,
    kernel_only: bool,
    may_truncate: bool,
    memory_size: u64,
    hooks: Option<Arc<dyn SegmentHooks>>,
    context: Option<Arc<dyn PoolContext>>,
    sub_objects: Option<SubObjects>,
    completions: Completions,
    #[cfg(feature = "fault")]
    fault_plan: Option<Arc<crate::fault::FaultPlan>>,
}

/// The sink of each callback bit.
type Completions = [Option<Arc<dyn CompletionSink>>; 8];

/// A client's state that must outlive the pool's memory: retained when the pool is made,
/// released after the last segment is unmapped.
pub trait PoolContext: Send + Sync {}

impl PoolConfig {
    /// 256 packets of one 2 KiB buffer each, regular, magazines on.
    pub fn new(name: &str) -> Self {
        Self {
            name: name.into(),
            kind: PacketKind::default(),
            layer: Layer::default(),
            packets: 256,
            max_frags: 1,
            buffer_size: 2048,
            buffers: 0,
            large_size: None,
            segment_size: 0,
            header: 0,
            on_demand: false,
            direction: Direction::Both,
            magazines: true,
            magazine_capacity: None,
            dynamic: true,
            buffer_magazines: false,
            spare_segments: false,
            cpu_read_only: false,
            monolithic: false,
            uncached: false,
            kernel_only: false,
            may_truncate: false,
            memory_size: 0,
            hooks: None,
            context: None,
            sub_objects: None,
            completions: Completions::default(),
            #[cfg(feature = "fault")]
            fault_plan: None,
        }
    }
    /// Quanta instead of packets.
    pub fn kind(mut self, kind: PacketKind) -> Self {
        self.kind = kind;
        self
    }
    /// Where data starts: at the link layer or at the payload.
    pub fn layer(mut self, layer: Layer) -> Self {
        self.layer = layer;
        self
    }
    /// Packets that must be obtainable at once, on top of what magazines may hoard.
    pub fn packets(mut self, packets: usize) -> Self {
        self.packets = packets;
        self
    }
    /// Longest chain, in buflets; more than 1 needs [`PoolConfig::on_demand`].
    pub fn max_frags(mut self, max_frags: u16) -> Self {
        self.max_frags = max_frags;
        self
    }
    /// Bytes of a default buffer; rounded up to whole cache lines.
    pub fn buffer_size(mut self, bytes: usize) -> Self {
        self.buffer_size = bytes;
        self
    }
    /// Default buffers; 0 = as many as packets.
    pub fn buffers(mut self, buffers: usize) -> Self {
        self.buffers = buffers;
        self
    }
    /// Adds large buffers of `bytes` each, as many as default ones; needs on demand.
    pub fn large(mut self, bytes: usize) -> Self {
        self.large_size = Some(bytes);
        self
    }
    /// Bytes of a buffer segment; 0 = 64 KiB, plus 16 KiB in every other boot.
    pub fn segment_size(mut self, bytes: usize) -> Self {
        self.segment_size = bytes;
        self
    }
    /// Has what lies behind a device's header of `bytes` bytes, at the front of a buffer, begin a cache
    /// line. A header and a frame that share one take it to and fro between two cores for each
    /// packet, though most headers are alike; apart, it stays where it is.
    pub fn header(mut self, bytes: usize) -> Self {
        self.header = bytes;
        self
    }
    /// Packets get buflets with buffers when they are allocated, 0 to `max_frags`.
    pub fn on_demand(mut self, on: bool) -> Self {
        self.on_demand = on;
        self
    }
    /// What the device does with the buffers; passed to the segment hooks.
    pub fn direction(mut self, direction: Direction) -> Self {
        self.direction = direction;
        self
    }
    /// Per-core magazines on metadata and buflets.
    pub fn magazines(mut self, on: bool) -> Self {
        self.magazines = on;
        self
    }
    /// Magazines of just this capacity, never resized; 0 turns them off.
    ///
    /// A region grows by two magazines per core, so small pools want small ones. Bursts are
    /// cheapest when a magazine holds several of them: then they never reach the depot.
    pub fn magazine_capacity(mut self, capacity: usize) -> Self {
        self.magazine_capacity = Some(capacity);
        self
    }
    /// Lets magazines grow under contention.
    pub fn dynamic(mut self, on: bool) -> Self {
        self.dynamic = on;
        self
    }
    /// Magazines for default buffers of any size. Packets and buflets already hold theirs in
    /// magazines, so this is for users of lone buffers ([`BufferBatch`](crate::BufferBatch)).
    pub fn buffer_magazines(mut self, on: bool) -> Self {
        self.buffer_magazines = on;
        self
    }
    /// Keeps one segment per region that nothing is outstanding of, instead of giving it back
    /// at once. For pools that empty between bursts without magazines to hold what comes back:
    /// each burst would get a segment, have it zeroed and mapped, and give it back. Purging,
    /// reaping, memory pressure and the end of the pool release the spare.
    pub fn spare_segments(mut self, on: bool) -> Self {
        self.spare_segments = on;
        self
    }
    /// The processor may only read the buffers.
    pub fn cpu_read_only(mut self, on: bool) -> Self {
        self.cpu_read_only = on;
        self
    }
    /// All default buffers in one segment.
    pub fn monolithic(mut self, on: bool) -> Self {
        self.monolithic = on;
        self
    }
    /// Uncached buffers: refused, page attributes are not the pool's to change.
    pub fn uncached(mut self, on: bool) -> Self {
        self.uncached = on;
        self
    }
    /// No client ever sees the packets: no ledger.
    pub fn kernel_only(mut self, on: bool) -> Self {
        self.kernel_only = on;
        self
    }
    /// Notes that buffers may not hold a whole payload; see [`Pool::may_truncate`](crate::Pool::may_truncate).
    pub fn may_truncate(mut self, on: bool) -> Self {
        self.may_truncate = on;
        self
    }
    /// Memory of the machine, in bytes. Above 2 GiB a pool that transmits gets at least 4096
    /// packets, unless it is monolithic, read-only or of quanta.
    pub fn memory_size(mut self, bytes: u64) -> Self {
        self.memory_size = bytes;
        self
    }
    /// Told of every buffer segment that comes and goes.
    pub fn hooks(mut self, hooks: Arc<dyn SegmentHooks>) -> Self {
        self.hooks = Some(hooks);
        self
    }
    /// Kept alive until the pool's last segment is unmapped.
    pub fn context(mut self, context: Arc<dyn PoolContext>) -> Self {
        self.context = Some(context);
        self
    }
    /// Gives every packet options, a flow record and a completion record.
    pub fn sub_objects(mut self, sub_objects: &SubObjects) -> Self {
        self.sub_objects = Some(sub_objects.clone());
        self
    }
    /// Where completions of callback `bit` go; bits above 7 do not exist and are ignored.
    pub fn completion(mut self, bit: usize, sink: Arc<dyn CompletionSink>) -> Self {
        if let Some(place) = self.completions.get_mut(bit) {
            *place = Some(sink);
        }
        self
    }
    /// Follows a fault plan.
    #[cfg(feature = "fault")]
    pub fn faults(mut self, plan: Arc<crate::fault::FaultPlan>) -> Self {
        self.fault_plan = Some(plan);
        self
    }
}
