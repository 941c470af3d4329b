//! The tables behind a ledger: what is on loan to whom, by number. One lock; whatever is taken
//! out is freed after the lock is gone.
#![forbid(unsafe_code)]

use super::OwnerId;
use super::view::{BufletWords, ClientBuflet, ClientPacket, NONE, seal};
use crate::buflet::Buflet;
use crate::packet::Packet;
use crate::pool::{Inner, LoneBuflet};
use crate::queue::PacketQueue;
use crate::sync::Mutex;
use alloc::boxed::Box;
use alloc::vec::Vec;

/// The ledger itself; the pool holds it.
pub(crate) struct Shared {
    pub(super) packet_views: Box<[ClientPacket]>,
    pub(super) buflet_views: Box<[ClientBuflet]>,
    /// Large buflets are numbered after the default ones.
    pub(super) large_base: u32,
    pub(super) secret: u64,
    pub(super) tables: Mutex<Tables>,
}

#[derive(Default)]
pub(super) struct Tables {
    pub(super) packets: Vec<Option<Loan<Packet>>>,
    pub(super) buflets: Vec<Option<Loan<LoneBuflet>>>,
    pub(super) packet_count: usize,
    pub(super) buflet_count: usize,
}

pub(super) struct Loan<T> {
    pub(super) owner: OwnerId,
    pub(super) item: T,
}

fn try_table<T>(n: usize, make: impl Fn() -> T) -> Option<Vec<T>> {
    let mut table = Vec::new();
    table.try_reserve_exact(n).ok()?;
    table.extend((0..n).map(|_| make()));
    Some(table)
}

impl Shared {
    pub(super) fn new(inner: &Inner) -> Option<Self> {
        let g = &inner.config.geometry;
        let packets = g.metas.count();
        let default = g.buflets.map_or(0, |b| b.count());
        let buflets = default + g.large_buflets.map_or(0, |b| b.count());
        Some(Self {
            packet_views: try_table(packets, ClientPacket::default)?.into(),
            buflet_views: try_table(buflets, ClientBuflet::default)?.into(),
            large_base: default as u32,
            secret: inner.platform.boot_secret(),
            tables: Mutex::new(Tables {
                packets: try_table(packets, || None)?,
                buflets: try_table(buflets, || None)?,
                packet_count: 0,
                buflet_count: 0,
            }),
        })
    }

    /// The number by which clients know a buflet.
    pub(super) fn number(&self, buflet: &LoneBuflet) -> u32 {
        buflet.ext().index
            + if buflet.span().is_large() {
                self.large_base
            } else {
                0
            }
    }

    pub(super) fn packet_seal(&self, index: u32) -> u32 {
        seal(self.secret, index, size_of::<ClientPacket>())
    }

    pub(super) fn buflet_seal(&self, index: u32) -> u32 {
        seal(!self.secret, index, size_of::<ClientBuflet>())
    }

    pub(super) fn publish_buflet(&self, number: u32, span: &Buflet, next: u32) {
        self.buflet_views[number as usize].write(&BufletWords {
            buffer: span.buffer_index().unwrap_or(NONE),
            doff: span.offset() as u32,
            dlen: span.len() as u32,
            next,
            seal: self.buflet_seal(number),
        });
    }

    /// Takes loans of `owner`, or all, off the ledger.
    fn take_all(&self, owner: Option<OwnerId>) -> (PacketQueue, Vec<LoneBuflet>) {
        fn mine<T>(slot: &mut Option<Loan<T>>, owner: Option<OwnerId>) -> Option<T> {
            let wanted = |loan: &mut Loan<T>| owner.is_none_or(|o| o == loan.owner);
            slot.take_if(wanted).map(|loan| loan.item)
        }
        let mut tables = self.tables.lock();
        let tables = &mut *tables;
        let packets: PacketQueue = tables
            .packets
            .iter_mut()
            .filter_map(|slot| mine(slot, owner))
            .collect();
        let buflets: Vec<_> = tables
            .buflets
            .iter_mut()
            .filter_map(|slot| mine(slot, owner))
            .collect();
        tables.packet_count -= packets.len();
        tables.buflet_count -= buflets.len();
        (packets, buflets)
    }

    /// Frees loans of `owner`, or all; returns how many packets and buflets.
    pub(crate) fn purge(&self, owner: Option<OwnerId>) -> (usize, usize) {
        let (packets, buflets) = self.take_all(owner);
        (packets.len(), buflets.len())
    }
}

impl Tables {
    /// Takes a buflet off the ledger, if `owner` has it.
    pub(super) fn take_buflet(&mut self, number: u32, owner: OwnerId) -> Option<LoneBuflet> {
        let slot = self.buflets.get_mut(number as usize)?;
        let loan = slot.take_if(|loan| loan.owner == owner)?;
        self.buflet_count -= 1;
        Some(loan.item)
    }
}
