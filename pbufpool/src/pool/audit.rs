//! Who holds what, behind the `audit` feature: per packet the last allocation, by source
//! location, core and time. Without the feature every call compiles to nothing.
#![forbid(unsafe_code)]

#[cfg(not(feature = "audit"))]
pub(crate) use off::{Audit, caller};
#[cfg(feature = "audit")]
pub use on::Holder;
#[cfg(feature = "audit")]
pub(crate) use on::{Audit, caller};

#[cfg(feature = "audit")]
mod on {
    use crate::platform::Platform;
    use crate::pool::Pool;
    use alloc::boxed::Box;
    use alloc::vec::Vec;
    use core::panic::Location;

    /// Where an allocation was asked for.
    pub(crate) type Caller = &'static Location<'static>;

    /// The function's caller.
    #[track_caller]
    pub(crate) fn caller() -> Caller {
        Location::caller()
    }

    /// Who took a packet that is still out.
    #[derive(Clone, Copy, Debug)]
    pub struct Holder {
        /// The packet's index.
        pub packet: u32,
        /// Where it was allocated.
        pub location: &'static Location<'static>,
        /// By which core.
        pub core: usize,
        /// When, in milliseconds of uptime.
        pub uptime_ms: u64,
    }

    /// A record per packet.
    pub(crate) struct Audit {
        records: Box<[spin::Mutex<Option<Holder>>]>,
    }

    impl Audit {
        pub(crate) fn new(packets: usize) -> Self {
            Self {
                records: (0..packets).map(|_| spin::Mutex::new(None)).collect(),
            }
        }

        pub(crate) fn taken(&self, packet: u32, by: Caller, core: usize, on: &dyn Platform) {
            let uptime_ms = on.uptime_ms();
            *self.records[packet as usize].lock() = Some(Holder {
                packet,
                location: by,
                core,
                uptime_ms,
            });
        }

        pub(crate) fn given(&self, packet: u32) {
            *self.records[packet as usize].lock() = None;
        }
    }

    impl Pool {
        /// Every packet that is with a client, and who took it.
        pub fn holders(&self) -> Vec<Holder> {
            self.inner()
                .audit
                .records
                .iter()
                .filter_map(|r| *r.lock())
                .collect()
        }
    }
}

#[cfg(not(feature = "audit"))]
mod off {
    use crate::platform::Platform;

    /// Nothing is remembered.
    #[derive(Clone, Copy)]
    pub(crate) struct Caller;

    #[inline(always)]
    pub(crate) fn caller() -> Caller {
        Caller
    }

    /// No records.
    pub(crate) struct Audit;

    impl Audit {
        pub(crate) fn new(_: usize) -> Self {
            Self
        }
        #[inline(always)]
        pub(crate) fn taken(&self, _: u32, _: Caller, _: usize, _: &dyn Platform) {}
        #[inline(always)]
        pub(crate) fn given(&self, _: u32) {}
    }
}
