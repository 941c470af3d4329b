//! From wishes to a plan: checks a [`PoolConfig`], and computes the shape of every region.
//! Called once, by [`Pool::new`](crate::Pool::new).
//!
//! Invariant: a [`Checked`] can be built. Regions are large enough for what was asked for with
//! every core hoarding full magazines.
#![forbid(unsafe_code)]

use super::{
    Completions, ConfigError, Layer, NAME_MAX, PacketKind, PoolConfig, PoolContext, STRIDING_SIZE,
};
use crate::buflet::{ExtBuflet, flag};
use crate::fault::Faults;
use crate::packet::meta::Meta;
use crate::platform::{Direction, Platform, SegmentHooks};
use crate::pool::{initial_capacity, largest_capacity};
use crate::region::{CACHE_LINE, Geometry, RegionParams, SEGMENT_UNIT};
use crate::subobject::SubObjects;
use alloc::string::String;
use alloc::sync::Arc;

/// A machine with more memory than this gives transmitting pools [`TX_PACKETS`].
const TX_MEMORY: u64 = 2 << 30;
/// Least packets of a transmitting pool on a large machine.
const TX_PACKETS: usize = 4096;
/// Default bytes of a buffer segment.
const BUFFER_SEGMENT: usize = 64 * 1024;

impl PoolConfig {
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
        let params = |name, object_size, count, segment_size, monolithic, lead| {
            Geometry::of(&RegionParams {
                name,
                object_size,
                count,
                segment_size,
                monolithic,
                lead,
            })
        };
        let metas = self.packets.checked_add(hoard(size_of::<Meta>()));
        let metas = params(
            "packet",
            size_of::<Meta>(),
            metas.ok_or(too_large("packet"))?,
            SEGMENT_UNIT,
            false,
            0,
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
        let lead = (CACHE_LINE - self.header % CACHE_LINE) % CACHE_LINE;
        let buffers = params(
            "buffer",
            self.buffer_size.max(CACHE_LINE),
            count,
            segment,
            self.monolithic,
            lead,
        )?;
        let large = self.large_size.map(|size| {
            params(
                "large buffer",
                size,
                buffers.count(),
                segment,
                self.monolithic,
                lead,
            )
        });
        let large = large.transpose()?;
        let buflet = size_of::<ExtBuflet>();
        let buflet_region = |count| params("buflet", buflet, count, SEGMENT_UNIT, false, 0);
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
