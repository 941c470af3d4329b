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

mod rebuild;
pub mod view;

use crate::buflet::Buflet;
use crate::packet::Packet;
use crate::pool::{Inner, LoneBuflet, Pool};
use crate::queue::PacketQueue;
use crate::sync::Mutex;
use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;
use core::num::NonZeroU32;
use view::{BufletWords, ClientBuflet, ClientPacket, NONE, PacketWords, seal};

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

/// Why there is no ledger, or no loan.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LedgerError {
    /// The pool is for the kernel only.
    KernelOnly,
    /// The tables could not be allocated.
    NoMemory,
    /// The packet comes from another pool.
    OtherPool,
    /// The packet was dropped by a check.
    Dropped,
}

/// A loan that was refused, with what was to be loaned.
#[derive(Debug)]
pub struct LoanError<T> {
    /// Why.
    pub reason: LedgerError,
    /// What was to be loaned.
    pub item: T,
}

/// What is wrong with a descriptor that a client gave back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ViewFault {
    /// More buflets than the pool allows.
    CountAboveMax,
    /// No buflet.
    NoBuflets,
    /// `max_frags` was changed.
    MaxFrags,
    /// The chain is shorter or longer than the count.
    ChainLength,
    /// The chain names a buflet that is not on loan to this client (any more).
    NotOnLoan {
        /// Its number.
        buflet: u32,
    },
    /// A buflet names another buffer than its own.
    BufferIndex,
    /// A span leaves its buffer.
    Span,
    /// The lengths do not sum up to the packet's.
    Length,
    /// Headroom or link-layer header do not fit the packet's layer.
    Headroom,
    /// A flag that is not the client's.
    Flags,
    /// The client marked the packet dropped.
    MarkedDropped,
    /// The partial checksum lies outside the packet.
    Checksum,
    /// The seal of a buflet's descriptor is broken.
    Seal,
}

/// Why a packet or buflet did not come back whole.
#[derive(Debug)]
pub enum ReturnError<T> {
    /// Nothing with this number is on loan.
    Unknown,
    /// It is on loan to another client; it stays there.
    NotOwner,
    /// The descriptor's seal is broken: purge the client. It stays on loan until then.
    Forged,
    /// It is off the ledger, and bad: marked dropped, for the caller to free.
    Bad {
        /// What is wrong.
        fault: ViewFault,
        /// The packet or buflet.
        item: T,
    },
}

/// Loans of a pool. A handle; all handles of a pool share one ledger and keep the pool alive.
#[derive(Clone)]
pub struct Ledger {
    pool: Pool,
    shared: Arc<Shared>,
}

/// The ledger itself; the pool holds it.
pub(crate) struct Shared {
    packet_views: Box<[ClientPacket]>,
    buflet_views: Box<[ClientBuflet]>,
    /// Large buflets are numbered after the default ones.
    large_base: u32,
    secret: u64,
    tables: Mutex<Tables>,
}

#[derive(Default)]
struct Tables {
    packets: Vec<Option<Loan<Packet>>>,
    buflets: Vec<Option<Loan<LoneBuflet>>>,
    packet_count: usize,
    buflet_count: usize,
}

struct Loan<T> {
    owner: OwnerId,
    item: T,
}

fn try_table<T>(n: usize, make: impl Fn() -> T) -> Option<Vec<T>> {
    let mut table = Vec::new();
    table.try_reserve_exact(n).ok()?;
    table.extend((0..n).map(|_| make()));
    Some(table)
}

impl Shared {
    fn new(inner: &Inner) -> Option<Self> {
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
    fn number(&self, buflet: &LoneBuflet) -> u32 {
        buflet.ext().index
            + if buflet.span().is_large() {
                self.large_base
            } else {
                0
            }
    }

    fn packet_seal(&self, index: u32) -> u32 {
        seal(self.secret, index, size_of::<ClientPacket>())
    }

    fn buflet_seal(&self, index: u32) -> u32 {
        seal(!self.secret, index, size_of::<ClientBuflet>())
    }

    fn publish_buflet(&self, number: u32, span: &Buflet, next: u32) {
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

impl Tables {
    /// Takes a buflet off the ledger, if `owner` has it.
    fn take_buflet(&mut self, number: u32, owner: OwnerId) -> Option<LoneBuflet> {
        let slot = self.buflets.get_mut(number as usize)?;
        let loan = slot.take_if(|loan| loan.owner == owner)?;
        self.buflet_count -= 1;
        Some(loan.item)
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
