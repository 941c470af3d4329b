//! The ledger: packets and buflets on loan to untrusted clients.
//!
//! A loan *moves* a packet, and each of its external buflets on its own, into tables indexed by
//! their numbers, and publishes plain descriptors ([`view`]). The client may write anything
//! there. A return takes the packet out of the table, rebuilds its chain from the client's
//! numbers, each of which must name a buflet on loan to the same client, and validates every
//! field (`rebuild`). A buflet leaves the table when it is linked, so duplicates, cycles and
//! forgeries all show as absent, and the chain it had when it was loaned cannot come back.
//!
//! One lock makes every operation atomic; nothing is freed while it is held. What an owner still
//! has is purged when the owner goes, and all of it when the pool does.
#![forbid(unsafe_code)]

mod error;
mod rebuild;
mod tables;
pub mod view;

pub use error::{LedgerError, LoanError, ReturnError, ViewFault};
pub(crate) use tables::Shared;

use crate::buflet::Buflet;
use crate::packet::Packet;
use crate::pool::{LoneBuflet, Pool};
use crate::queue::PacketQueue;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;
use core::num::NonZeroU32;
use tables::{Loan, Tables};
use view::{ClientBuflet, ClientPacket, NONE, PacketWords};

/// A client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct OwnerId(NonZeroU32);

impl OwnerId {
    /// A client's number; `None` for 0, which is nobody.
    pub const fn new(id: u32) -> Option<Self> {
        match NonZeroU32::new(id) {
            Some(id) => Some(Self(id)),
            None => None,
        }
    }
    /// The number.
    pub const fn get(self) -> u32 {
        self.0.get()
    }
}

/// Loans of a pool. A handle; all handles of a pool share one ledger and keep the pool alive.
#[derive(Clone)]
pub struct Ledger {
    pool: Pool,
    shared: Arc<Shared>,
}

impl Pool {
    /// The pool's ledger; the first call makes it.
    ///
    /// # Errors
    /// [`LedgerError::KernelOnly`], or [`LedgerError::NoMemory`] and nothing changed.
    pub fn ledger(&self) -> Result<Ledger, LedgerError> {
        let inner = self.inner();
        if inner.config.kernel_only {
            return Err(LedgerError::KernelOnly);
        }
        let mut slot = inner.ledger.lock();
        let shared = match &*slot {
            Some(shared) => shared.clone(),
            None => Arc::new(Shared::new(inner).ok_or(LedgerError::NoMemory)?),
        };
        *slot = Some(shared.clone());
        Ok(Ledger {
            pool: self.clone(),
            shared,
        })
    }
}

impl Ledger {
    /// Loans a packet and its buflets to `owner`; returns the number it is known by.
    ///
    /// # Errors
    /// [`LoanError`] hands the packet back.
    pub fn loan(&self, mut packet: Packet, owner: OwnerId) -> Result<u32, LoanError<Packet>> {
        let reason = match () {
            () if !packet.is_from(&self.pool) => Some(LedgerError::OtherPool),
            () if packet.is_dropped() => Some(LedgerError::Dropped),
            () => None,
        };
        if let Some(reason) = reason {
            return Err(LoanError {
                reason,
                item: packet,
            });
        }
        let index = packet.index();
        let mut words = self.words_of(&packet);
        let chain = packet.take_chain();
        let numbers: Vec<u32> = chain.iter().map(|b| self.shared.number(b)).collect();
        words.next = numbers.first().copied().unwrap_or(NONE);
        let mut tables = self.shared.tables.lock();
        for (at, buflet) in chain.into_iter().enumerate() {
            let next = numbers.get(at + 1).copied().unwrap_or(NONE);
            self.insert_buflet(&mut tables, numbers[at], buflet, owner, next);
        }
        self.shared.packet_views[index as usize].write(&words);
        tables.packets[index as usize] = Some(Loan {
            owner,
            item: packet,
        });
        tables.packet_count += 1;
        Ok(index)
    }

    /// Loans every packet of `queue`; returns their numbers.
    ///
    /// # Errors
    /// [`LoanError`] hands the first refused packet back; the ones before it are on loan, the
    /// ones behind it still in the queue.
    pub fn loan_queue(
        &self,
        queue: &mut PacketQueue,
        owner: OwnerId,
    ) -> Result<Vec<u32>, LoanError<Packet>> {
        let mut numbers = Vec::with_capacity(queue.len());
        while let Some(packet) = queue.pop_front() {
            numbers.push(self.loan(packet, owner)?);
        }
        Ok(numbers)
    }

    /// Loans a buflet; returns the number it is known by.
    ///
    /// # Errors
    /// [`LoanError`] hands the buflet back.
    pub fn loan_buflet(
        &self,
        buflet: LoneBuflet,
        owner: OwnerId,
    ) -> Result<u32, LoanError<LoneBuflet>> {
        if !buflet.is_from(&self.pool) {
            return Err(LoanError {
                reason: LedgerError::OtherPool,
                item: buflet,
            });
        }
        let number = self.shared.number(&buflet);
        let mut tables = self.shared.tables.lock();
        self.insert_buflet(&mut tables, number, buflet, owner, NONE);
        Ok(number)
    }

    /// The client's descriptor of packet `index`.
    pub fn packet_view(&self, index: u32) -> Option<&ClientPacket> {
        self.shared.packet_views.get(index as usize)
    }

    /// The client's descriptor of buflet `number`.
    pub fn buflet_view(&self, number: u32) -> Option<&ClientBuflet> {
        self.shared.buflet_views.get(number as usize)
    }

    /// Whether packet `index` is on loan.
    pub fn has_packet(&self, index: u32) -> bool {
        self.shared
            .tables
            .lock()
            .packets
            .get(index as usize)
            .is_some_and(Option::is_some)
    }

    /// Whether buflet `number` is on loan.
    pub fn has_buflet(&self, number: u32) -> bool {
        self.shared
            .tables
            .lock()
            .buflets
            .get(number as usize)
            .is_some_and(Option::is_some)
    }

    /// Packets and buflets on loan.
    pub fn counts(&self) -> (usize, usize) {
        let tables = self.shared.tables.lock();
        (tables.packet_count, tables.buflet_count)
    }

    /// Whether nothing is on loan.
    pub fn is_empty(&self) -> bool {
        self.counts() == (0, 0)
    }

    /// Takes packet `index` back from `owner`, with the chain and fields that the client wrote.
    ///
    /// # Errors
    /// [`ReturnError`]; a bad packet is inside, never lost.
    pub fn take_back(&self, index: u32, owner: OwnerId) -> Result<Packet, ReturnError<Packet>> {
        let mut tables = self.shared.tables.lock();
        let slot = tables
            .packets
            .get_mut(index as usize)
            .ok_or(ReturnError::Unknown)?;
        let loan = slot.as_ref().ok_or(ReturnError::Unknown)?;
        if loan.owner != owner {
            return Err(ReturnError::NotOwner);
        }
        let words = self.shared.packet_views[index as usize].read();
        if words.seal != self.shared.packet_seal(index) {
            return Err(ReturnError::Forged);
        }
        let Some(Loan {
            item: mut packet, ..
        }) = slot.take()
        else {
            return Err(ReturnError::Unknown);
        };
        tables.packet_count -= 1;
        let chain = rebuild::chain(&self.shared, &mut tables, &mut packet, &words, owner);
        drop(tables);
        match chain.and_then(|()| rebuild::fields(&mut packet, &words, self.pool.buffer_size())) {
            Ok(()) => Ok(packet),
            Err(fault) => {
                packet.reject();
                Err(ReturnError::Bad {
                    fault,
                    item: packet,
                })
            }
        }
    }

    /// Takes buflet `number` back from `owner`, with the span that the client wrote.
    ///
    /// # Errors
    /// [`ReturnError`]; a bad buflet is inside, with an empty span.
    pub fn take_buflet_back(
        &self,
        number: u32,
        owner: OwnerId,
    ) -> Result<LoneBuflet, ReturnError<LoneBuflet>> {
        let mut tables = self.shared.tables.lock();
        let slot = tables
            .buflets
            .get(number as usize)
            .ok_or(ReturnError::Unknown)?;
        if slot.as_ref().ok_or(ReturnError::Unknown)?.owner != owner {
            return Err(ReturnError::NotOwner);
        }
        let words = self.shared.buflet_views[number as usize].read();
        let Some(mut buflet) = tables.take_buflet(number, owner) else {
            return Err(ReturnError::Unknown);
        };
        drop(tables);
        let sealed = words.seal == self.shared.buflet_seal(number);
        let fault = if sealed {
            rebuild::span(&mut buflet, &words)
        } else {
            Err(ViewFault::Seal)
        };
        match fault {
            Ok(()) => Ok(buflet),
            Err(fault) => Err(ReturnError::Bad {
                fault,
                item: buflet,
            }),
        }
    }

    /// Frees everything on loan to `owner`; `None` means all clients. Returns how many packets
    /// and lone buflets there were.
    pub fn purge(&self, owner: Option<OwnerId>) -> (usize, usize) {
        self.shared.purge(owner)
    }

    fn words_of(&self, packet: &Packet) -> PacketWords {
        let embedded = packet.embedded();
        PacketWords {
            flags: 0,
            count: packet.buflet_count() as u32,
            max_frags: self.pool.max_frags().into(),
            length: packet.len() as u32,
            headroom: packet.headroom() as u32,
            l2_len: packet.notes().l2_len.into(),
            buffer: embedded.and_then(Buflet::buffer_index).unwrap_or(NONE),
            doff: embedded.map_or(0, Buflet::offset) as u32,
            dlen: embedded.map_or(0, Buflet::len) as u32,
            next: NONE,
            csum_start: 0,
            csum_stuff: 0,
            seal: self.shared.packet_seal(packet.index()),
        }
    }

    fn insert_buflet(
        &self,
        tables: &mut Tables,
        number: u32,
        buflet: LoneBuflet,
        owner: OwnerId,
        next: u32,
    ) {
        self.shared.publish_buflet(number, buflet.span(), next);
        tables.buflets[number as usize] = Some(Loan {
            owner,
            item: buflet,
        });
        tables.buflet_count += 1;
    }
}

impl fmt::Debug for Ledger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (packets, buflets) = self.counts();
        f.debug_struct("Ledger")
            .field("packets", &packets)
            .field("buflets", &buflets)
            .finish()
    }
}
