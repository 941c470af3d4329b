//! Fault injection, behind the `fault` feature: at each [`FaultPoint`] the layers ask whether to
//! pretend failure. Without the feature every question compiles to "no".
//!
//! A `FaultPlan` is scripted (fail the n-th question at a point, fail always) or MTBF-style
//! (fail when the uptime in milliseconds is a multiple of the setting).
#![forbid(unsafe_code)]

#[cfg(feature = "fault")]
use alloc::sync::Arc;

/// Where a failure can be injected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FaultPoint {
    /// Constructing packet metadata.
    Metadata,
    /// Constructing an external buflet.
    Buflet,
    /// Taking a buffer (it is taken and given back).
    Buffer,
    /// Creating a segment.
    Segment,
    /// Allocating an empty magazine.
    Magazine,
    /// Allocating a packet's sub-objects.
    SubObject,
}

impl FaultPoint {
    /// Every point, for sweeps.
    pub const ALL: [Self; 6] = [
        Self::Metadata,
        Self::Buflet,
        Self::Buffer,
        Self::Segment,
        Self::Magazine,
        Self::SubObject,
    ];
}

/// Greatest MTBF setting, in milliseconds.
pub const MTBF_MAX: u64 = 3_021_377;

#[cfg(feature = "fault")]
pub use plan::FaultPlan;

#[cfg(feature = "fault")]
mod plan {
    use super::{FaultPoint, MTBF_MAX};
    use crate::sync::{AtomicU64, Ordering};

    /// What to fail, shared between a test and the pools it is given to.
    #[derive(Debug, Default)]
    pub struct FaultPlan {
        /// Per point: questions left until one fails; 0 = never.
        countdown: [AtomicU64; 6],
        /// Per point: nonzero = fail every time.
        always: [AtomicU64; 6],
        /// Per point: questions asked so far.
        asked: [AtomicU64; 6],
        injected: AtomicU64,
        mtbf: AtomicU64,
        last_hit: AtomicU64,
    }

    impl FaultPlan {
        /// A plan under which nothing fails.
        pub fn new() -> Self {
            Self::default()
        }
        /// Fails the `n`-th question from now (1 = the next) at `point`, once.
        pub fn fail_nth(&self, point: FaultPoint, n: u64) {
            self.countdown[point as usize].store(n, Ordering::Relaxed);
        }
        /// Fails every question at `point` while `on`.
        pub fn fail_always(&self, point: FaultPoint, on: bool) {
            self.always[point as usize].store(u64::from(on), Ordering::Relaxed);
        }
        /// Questions asked at `point` so far.
        pub fn asked(&self, point: FaultPoint) -> u64 {
            self.asked[point as usize].load(Ordering::Relaxed)
        }
        /// Failures injected so far.
        pub fn injected(&self) -> u64 {
            self.injected.load(Ordering::Relaxed)
        }
        /// Sets the MTBF in milliseconds: 0 is off, the rest is clamped to 2 ..= [`MTBF_MAX`].
        /// Returns what was set.
        pub fn set_mtbf(&self, ms: u64) -> u64 {
            let ms = if ms == 0 { 0 } else { ms.clamp(2, MTBF_MAX) };
            self.mtbf.store(ms, Ordering::Relaxed);
            ms
        }
        /// Asks the script.
        pub(super) fn scripted(&self, point: FaultPoint) -> bool {
            let p = point as usize;
            self.asked[p].fetch_add(1, Ordering::Relaxed);
            let counted =
                self.countdown[p]
                    .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |n| n.checked_sub(1))
                    == Ok(1);
            let hit = counted || self.always[p].load(Ordering::Relaxed) != 0;
            self.injected.fetch_add(u64::from(hit), Ordering::Relaxed);
            hit
        }
        /// Asks the MTBF rule at uptime `now` (ms). A hit needs a later time than the last one.
        pub(super) fn mtbf(&self, now: u64) -> bool {
            let every = self.mtbf.load(Ordering::Relaxed);
            let hit = every != 0
                && now.is_multiple_of(every)
                && self.last_hit.swap(now, Ordering::Relaxed) != now;
            self.injected.fetch_add(u64::from(hit), Ordering::Relaxed);
            hit
        }
    }
}

/// A pool's view of its plan, if any.
#[derive(Clone, Default)]
pub struct Faults {
    #[cfg(feature = "fault")]
    plan: Option<(Arc<FaultPlan>, &'static dyn crate::Platform)>,
    #[cfg(feature = "fault")]
    waiting: Arc<core::sync::atomic::AtomicUsize>,
}

impl Faults {
    /// Follows `plan`, reading the time from `platform`.
    #[cfg(feature = "fault")]
    pub fn new(plan: Option<Arc<FaultPlan>>, platform: &'static dyn crate::Platform) -> Self {
        Self {
            plan: plan.map(|p| (p, platform)),
            ..Self::default()
        }
    }

    /// Whether to fail at `point` now.
    #[cfg(feature = "fault")]
    pub(crate) fn hit(&self, point: FaultPoint) -> bool {
        match &self.plan {
            None => false,
            Some((plan, platform)) => {
                use FaultPoint::{Buffer, Metadata, Segment};
                let waits = self.waiting.load(core::sync::atomic::Ordering::Relaxed) != 0;
                let exempt = waits && matches!(point, Metadata | Buffer);
                let timed = matches!(point, Metadata | Buffer | Segment);
                !exempt && (plan.scripted(point) || (timed && plan.mtbf(platform.uptime_ms())))
            }
        }
    }

    /// A waiting allocation is exempt from metadata and buffer injection while it runs.
    pub(crate) fn set_waiting(&self, on: bool) {
        #[cfg(feature = "fault")]
        match on {
            true => self
                .waiting
                .fetch_add(1, core::sync::atomic::Ordering::Relaxed),
            false => self
                .waiting
                .fetch_sub(1, core::sync::atomic::Ordering::Relaxed),
        };
        #[cfg(not(feature = "fault"))]
        let _ = on;
    }

    /// Whether to fail at `point`: never, without the `fault` feature.
    #[cfg(not(feature = "fault"))]
    #[inline(always)]
    pub(crate) fn hit(&self, _: FaultPoint) -> bool {
        false
    }
}
