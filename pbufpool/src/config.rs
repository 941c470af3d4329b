//! From wishes to a checked plan: [`PoolConfig`] is what a user writes, [`Checked`] what the
//! pool is built from. Impossible combinations are an error that names both sides.
#![forbid(unsafe_code)]

mod error;

pub use error::ConfigError;

use crate::buflet::{ExtBuflet, flag};
use crate::fault::Faults;
use crate::packet::meta::Meta;
use crate::platform::{Direction, Platform, SegmentHooks};
use crate::pool::{initial_capacity, largest_capacity};
use crate::region::{CACHE_LINE, Geometry, RegionParams, SEGMENT_UNIT};
use crate::subobject::{CompletionSink, SubObjects};
use alloc::string::String;
use alloc::sync::Arc;

/// Longest name, in bytes.
pub const NAME_MAX: usize = 64;
/// Buffers this large have magazines of their own: they are taken apart from buflets.
pub const STRIDING_SIZE: usize = 256 * 1024;
/// A machine with more memory than this gives transmitting pools [`TX_PACKETS`].
const TX_MEMORY: u64 = 2 << 30;
/// Least packets of a transmitting pool on a large machine.
const TX_PACKETS: usize = 4096;
/// Default bytes of a buffer segment.
const BUFFER_SEGMENT: usize = 64 * 1024;

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

    /// Checks everything and computes the shape of every region.
    pub(crate) fn check(mut self, platform: &dyn Platform) -> Result<Checked, ConfigError> {
        self.check_numbers(platform)?;
        if self.is_large_transmitter() {
            self.packets = self.packets.max(TX_PACKETS);
        }
        let fixed = self.magazine_capacity;
        let magazines = self.magazines && fixed != Some(0);
        let hoard = |size: usize| match (magazines, fixed) {
            (false, _) => 0,
            (true, Some(n)) => platform.cores() * n * 2,
            (true, None) if self.dynamic => platform.cores() * largest_capacity(size) * 2,
            (true, None) => platform.cores() * initial_capacity(size) * 2,
        };
        let too_large = |region| ConfigError::TooLarge {
            region,
            count: self.packets,
        };
        let params = |name, object_size, count, segment_size, monolithic| {
            Geometry::of(&RegionParams {
                name,
                object_size,
                count,
                segment_size,
                monolithic,
            })
        };
        let metas = self.packets.checked_add(hoard(size_of::<Meta>()));
        let metas = params(
            "packet",
            size_of::<Meta>(),
            metas.ok_or(too_large("packet"))?,
            SEGMENT_UNIT,
            false,
        )?;
        // A packet that a buflet magazine hoards its buffer from must still find one.
        let hidden = if self.on_demand {
            hoard(size_of::<ExtBuflet>())
        } else {
            0
        };
        let size = self.buffer_size.max(CACHE_LINE);
        let hidden = match self.buffer_magazines {
            true => hidden.saturating_add(hoard(size)),
            false => hidden,
        };
        let count = match (self.on_demand, self.buffers) {
            (true, 0) => self
                .packets
                .checked_add(hidden)
                .map(|n| n.max(metas.count())),
            (true, n) => n.checked_add(hidden),
            (false, n) => Some(n),
        };
        let count =
            count
                .ok_or(too_large("buffer"))?
                .max(if self.on_demand { 1 } else { metas.count() });
        // Unless it is given, the size varies by one unit from boot to boot.
        let colour = (platform.boot_secret() & 1) as usize * SEGMENT_UNIT;
        let segment = match self.segment_size {
            0 => BUFFER_SEGMENT + colour,
            size => size,
        };
        let buffers = params(
            "buffer",
            self.buffer_size.max(CACHE_LINE),
            count,
            segment,
            self.monolithic,
        )?;
        let large = self.large_size.map(|size| {
            params(
                "large buffer",
                size,
                buffers.count(),
                segment,
                self.monolithic,
            )
        });
        let large = large.transpose()?;
        let buflet_region =
            |count| params("buflet", size_of::<ExtBuflet>(), count, SEGMENT_UNIT, false);
        let buflets = self
            .on_demand
            .then(|| buflet_region(buffers.count()))
            .transpose()?;
        let large_buflets = large.map(|l| buflet_region(l.count())).transpose()?;
        Ok(Checked {
            buffer_size: buffers.object_size,
            large_size: large.map(|l| l.object_size),
            striding: magazines && (self.buffer_magazines || buffers.object_size >= STRIDING_SIZE),
            geometry: Regions {
                metas,
                buflets,
                large_buflets,
                buffers,
                large,
            },
            magazines,
            magazine_capacity: fixed,
            dynamic: self.dynamic && fixed.is_none(),
            spare_segments: self.spare_segments,
            full_name: ::alloc::format!("pp.{}", self.name).into(),
            name: self.name,
            kind: self.kind,
            layer: self.layer,
            max_frags: self.max_frags,
            on_demand: self.on_demand,
            direction: self.direction,
            cpu_read_only: self.cpu_read_only,
            kernel_only: self.kernel_only,
            may_truncate: self.may_truncate,
            hooks: self.hooks,
            sub_objects: self.sub_objects,
            completions: self.completions,
            #[cfg(feature = "fault")]
            fault_plan: self.fault_plan,
            context: self.context,
        })
    }

    fn is_large_transmitter(&self) -> bool {
        let plain = self.kind == PacketKind::Packet && !self.monolithic && !self.cpu_read_only;
        plain && self.direction != Direction::In && self.memory_size > TX_MEMORY
    }

    fn check_numbers(&self, platform: &dyn Platform) -> Result<(), ConfigError> {
        let max_frags = self.max_frags;
        let quantum = self.kind == PacketKind::Quantum;
        let large = self.large_size;
        let checks = [
            (platform.cores() == 0, ConfigError::NoCores),
            (self.packets == 0, ConfigError::NoPackets),
            (self.buffer_size == 0, ConfigError::NoBufferSize),
            (max_frags == 0, ConfigError::NoFrags),
            (
                quantum && max_frags != 1,
                ConfigError::QuantumChain { max_frags },
            ),
            (quantum && self.on_demand, ConfigError::QuantumOnDemand),
            (
                max_frags > 1 && !self.on_demand,
                ConfigError::ChainsNeedOnDemand { max_frags },
            ),
            (
                !self.on_demand && self.buffers != 0 && self.buffers < self.packets,
                ConfigError::FewerBuffersThanPackets {
                    buffers: self.buffers,
                    packets: self.packets,
                },
            ),
            (
                large.is_some() && !self.on_demand,
                ConfigError::LargeNeedsOnDemand,
            ),
            (
                large.is_some_and(|l| l <= self.buffer_size),
                ConfigError::LargeNotLarger {
                    large: large.unwrap_or(0),
                    default: self.buffer_size,
                },
            ),
            (
                self.name.len() > NAME_MAX,
                ConfigError::NameTooLong {
                    bytes: self.name.len(),
                },
            ),
            (self.uncached, ConfigError::UncachedUnsupported),
            (
                self.buffer_size.max(large.unwrap_or(0)) > u32::MAX as usize / 2,
                ConfigError::TooLarge {
                    region: "buffer",
                    count: self.packets,
                },
            ),
        ];
        checks
            .into_iter()
            .find(|(wrong, _)| *wrong)
            .map_or(Ok(()), |(_, error)| Err(error))
    }
}

/// The shape of every region.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Regions {
    pub(crate) metas: Geometry,
    pub(crate) buflets: Option<Geometry>,
    pub(crate) large_buflets: Option<Geometry>,
    pub(crate) buffers: Geometry,
    pub(crate) large: Option<Geometry>,
}

/// A configuration that can be built.
pub(crate) struct Checked {
    pub(crate) name: String,
    /// `pp.<name>`; shared, so that a snapshot allocates nothing.
    pub(crate) full_name: Arc<str>,
    pub(crate) kind: PacketKind,
    pub(crate) layer: Layer,
    pub(crate) max_frags: u16,
    pub(crate) buffer_size: usize,
    pub(crate) large_size: Option<usize>,
    pub(crate) geometry: Regions,
    pub(crate) on_demand: bool,
    pub(crate) direction: Direction,
    pub(crate) magazines: bool,
    magazine_capacity: Option<usize>,
    pub(crate) dynamic: bool,
    pub(crate) spare_segments: bool,
    /// Default buffers have magazines of their own: they are that large, or it was asked for.
    pub(crate) striding: bool,
    pub(crate) cpu_read_only: bool,
    pub(crate) kernel_only: bool,
    pub(crate) may_truncate: bool,
    pub(crate) hooks: Option<Arc<dyn SegmentHooks>>,
    pub(crate) sub_objects: Option<SubObjects>,
    pub(crate) completions: Completions,
    #[cfg(feature = "fault")]
    fault_plan: Option<Arc<crate::fault::FaultPlan>>,
    /// Released last.
    pub(crate) context: Option<Arc<dyn PoolContext>>,
}

impl Checked {
    /// First magazine capacity of a cache of objects of `size` bytes.
    pub(crate) fn capacity(&self, magazines: bool, size: usize) -> usize {
        match (magazines, self.magazine_capacity) {
            (false, _) => 0,
            (true, Some(fixed)) => fixed,
            (true, None) => initial_capacity(size),
        }
    }

    /// Flags that every buflet of the pool has.
    pub(crate) fn buflet_flags(&self) -> u16 {
        if self.cpu_read_only {
            flag::READ_ONLY
        } else {
            0
        }
    }

    #[cfg(feature = "fault")]
    pub(crate) fn faults(&self, platform: &'static dyn Platform) -> Faults {
        Faults::new(self.fault_plan.clone(), platform)
    }

    #[cfg(not(feature = "fault"))]
    pub(crate) fn faults(&self, _: &'static dyn Platform) -> Faults {
        Faults::default()
    }
}
