//! Why a loan was refused, or what is wrong with what came back.
#![forbid(unsafe_code)]

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
