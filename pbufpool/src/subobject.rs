//! Packet sub-objects: options, flow classification and transmit completion.
//!
//! They come from three caches that all pools share, initialised once ([`SubObjects::init`])
//! and gone when the last holder is. A pool that is given them allocates one of each with every
//! packet it constructs, without waiting, and frees them when it destructs the packet.

use crate::cache::{Cache, CacheParams, CacheStats, Kind, NoMemory, Returned};
use crate::config::ConfigError;
use crate::fault::{FaultPoint, Faults};
use crate::platform::{Direction, DmaMemory, Platform};
use crate::region::{Geometry, RegionParams, SEGMENT_UNIT};
use crate::slab::{Slabs, Slot, Source};
use crate::sync::AtomicUsize;
use alloc::sync::Arc;
use core::fmt;
use core::marker::PhantomData;
use core::ptr::NonNull;
use core::sync::atomic::{AtomicBool, Ordering};

/// Options of a packet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C, align(8))]
pub struct Options {
    /// A token for the packet's owner.
    pub token: u64,
    /// When it is of no use any more, in nanoseconds; 0 = never.
    pub expiry: u64,
    /// When to send it, in nanoseconds; 0 = at once.
    pub tx_time: u64,
    /// VLAN tag to insert, or that was stripped.
    pub vlan: Option<u16>,
}

/// What a classifier found out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C, align(16))]
pub struct Flow {
    /// Source address; IPv4 in the first 4 bytes.
    pub source: [u8; 16],
    /// Destination address.
    pub destination: [u8; 16],
    /// 4 or 6; 0 = not classified.
    pub ip_version: u8,
    /// Transport protocol.
    pub protocol: u8,
    /// Source and destination port.
    pub ports: [u16; 2],
    /// TCP sequence number, acknowledgement and flags.
    pub tcp: [u32; 3],
}

/// A request to be told when a packet was sent or given up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C, align(8))]
pub struct Completion {
    /// Two words for the callbacks.
    pub words: [u64; 2],
    /// Which callbacks run: bit n is the pool's n-th.
    pub callbacks: u8,
    /// Identifies the asker.
    pub context: u32,
}

/// What a completion callback is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CompletionEvent {
    /// As asked.
    pub context: u32,
    /// Interface that sent the packet; `None` if it was freed unsent.
    pub interface: Option<u32>,
    /// When, in nanoseconds; 0 = unknown.
    pub timestamp: u64,
    /// As asked.
    pub words: [u64; 2],
    /// The driver's status; 0 = none.
    pub status: i32,
}

/// Where completions go. Runs outside all locks and may use the pool.
pub trait CompletionSink: Send + Sync {
    /// A packet that asked for this callback was sent or freed.
    fn complete(&self, event: &CompletionEvent);
}

/// The three caches, shared by pools.
#[derive(Clone)]
pub struct SubObjects(Arc<Caches>);

/// There is one set at a time, and it exists.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AlreadyInitialised;

static INITIALISED: AtomicBool = AtomicBool::new(false);

struct Caches {
    options: Cache<Plain<Options>>,
    flow: Cache<Plain<Flow>>,
    completion: Cache<Plain<Completion>>,
    platform: &'static dyn Platform,
}

/// A packet's own records.
#[derive(Default)]
pub(crate) struct SubPointers {
    pub(crate) options: Option<Record<Options>>,
    pub(crate) flow: Option<Record<Flow>>,
    pub(crate) completion: Option<Record<Completion>>,
}

/// A record out of one of the caches: its holder's alone until it is given back.
pub(crate) struct Record<T>(NonNull<T>);

impl<T> Record<T> {
    pub(crate) fn get(&self) -> &T {
        // SAFETY: the holder's alone, and constructed.
        unsafe { self.0.as_ref() }
    }

    pub(crate) fn get_mut(&mut self) -> &mut T {
        // SAFETY: as for `get`, and `self` is `&mut`.
        unsafe { self.0.as_mut() }
    }
}

fn take_record<T: Default + Send>(
    cache: &Cache<Plain<T>>,
    core: usize,
    faults: &Faults,
) -> Result<Record<T>, NoMemory> {
    match faults.hit(FaultPoint::SubObject) {
        true => Err(NoMemory),
        false => cache.take_one(core, || false).map(Record).ok_or(NoMemory),
    }
}

fn give_record<T: Default + Send>(cache: &Cache<Plain<T>>, core: usize, record: Option<Record<T>>) {
    if let Some(record) = record {
        // The caches live as long as their holders; there is no count to tell.
        let Returned(_) = cache.give_one(core, record.0);
    }
}

impl SubObjects {
    /// Creates the caches, for up to `packets` constructed packets in all pools together.
    ///
    /// # Errors
    /// [`AlreadyInitialised`] while an earlier set lives.
    ///
    /// # Panics
    /// If `packets` objects do not fit a region.
    pub fn init(
        packets: usize,
        memory: &'static dyn DmaMemory,
        platform: &'static dyn Platform,
    ) -> Result<Self, AlreadyInitialised> {
        if INITIALISED.swap(true, Ordering::AcqRel) {
            return Err(AlreadyInitialised);
        }
        let caches = Caches {
            options: cache("options", packets, memory, platform).expect("too many options"),
            flow: cache("flow", packets, memory, platform).expect("too many flow records"),
            completion: cache("completion", packets, memory, platform).expect("too many records"),
            platform,
        };
        Ok(Self(Arc::new(caches)))
    }

    /// Counters of the options, flow and completion cache.
    pub fn stats(&self) -> [CacheStats; 3] {
        [
            self.0.options.stats(),
            self.0.flow.stats(),
            self.0.completion.stats(),
        ]
    }

    /// Gives cached records back: the global reap. Pools are reaped by their owners.
    pub fn reap(&self) {
        let core = self.0.platform.core_id();
        // The caches live as long as `self`; there is no count to tell.
        let Returned(_) = self.0.options.reap_now(core, true);
        let Returned(_) = self.0.flow.reap_now(core, true);
        let Returned(_) = self.0.completion.reap_now(core, true);
    }

    pub(crate) fn take(&self, faults: &Faults) -> Result<SubPointers, NoMemory> {
        let caches = &*self.0;
        let core = caches.platform.core_id();
        let mut subs = SubPointers::default();
        let mut fill = || {
            subs.options = Some(take_record(&caches.options, core, faults)?);
            subs.flow = Some(take_record(&caches.flow, core, faults)?);
            subs.completion = Some(take_record(&caches.completion, core, faults)?);
            Ok(())
        };
        match fill() {
            Ok(()) => Ok(subs),
            Err(e) => {
                self.give(subs);
                Err(e)
            }
        }
    }

    pub(crate) fn give(&self, subs: SubPointers) {
        let caches = &*self.0;
        let core = caches.platform.core_id();
        give_record(&caches.options, core, subs.options);
        give_record(&caches.flow, core, subs.flow);
        give_record(&caches.completion, core, subs.completion);
    }
}

impl Drop for Caches {
    fn drop(&mut self) {
        let core = self.platform.core_id();
        let Returned(_) = self.completion.close(core);
        let Returned(_) = self.flow.close(core);
        let Returned(_) = self.options.close(core);
        INITIALISED.store(false, Ordering::Release);
    }
}

impl fmt::Debug for SubObjects {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SubObjects").finish_non_exhaustive()
    }
}

fn cache<T: Default + Send>(
    name: &'static str,
    count: usize,
    memory: &'static dyn DmaMemory,
    platform: &'static dyn Platform,
) -> Result<Cache<Plain<T>>, ConfigError> {
    let object_size = (size_of::<T>() + size_of::<u64>()).next_multiple_of(16);
    let count = count + platform.cores() * 2 * crate::cache::sizing::initial(object_size);
    let geometry = Geometry::of(&RegionParams {
        name,
        object_size,
        count,
        segment_size: SEGMENT_UNIT,
        monolithic: false,
        lead: 0,
    })?;
    let faults = Faults::default();
    let source = Source {
        memory,
        hooks: None,
        direction: Direction::Both,
        faults: faults.clone(),
    };
    let params = CacheParams {
        capacity: crate::cache::sizing::initial(object_size),
        dynamic: false,
        aggressive: false,
        live: Arc::new(AtomicUsize::new(1)),
        faults,
        platform,
    };
    Ok(Cache::new(
        Plain(PhantomData),
        Slabs::new(geometry, source, false),
        params,
    ))
}

/// A kind whose objects are a default value followed by their index.
struct Plain<T>(PhantomData<fn() -> T>);

#[repr(C)]
struct Indexed<T> {
    value: T,
    index: u32,
}

impl<T: Default + Send> Kind for Plain<T> {
    type Object = T;

    fn construct(&self, slot: Slot, _core: usize) -> Result<NonNull<T>, NoMemory> {
        const { assert!(align_of::<Indexed<T>>() <= 16) };
        let place = slot.ptr.cast::<Indexed<T>>();
        // SAFETY: the slot is raw and, see `cache`, large and aligned enough.
        unsafe {
            place.write(Indexed {
                value: T::default(),
                index: slot.index,
            })
        };
        Ok(place.cast())
    }

    unsafe fn destruct(&self, object: NonNull<T>, _core: usize) -> (u32, Returned) {
        // SAFETY: the object is the first field of the `Indexed` that `construct` wrote.
        (
            unsafe { object.cast::<Indexed<T>>().read() }.index,
            Returned(0),
        )
    }
}
