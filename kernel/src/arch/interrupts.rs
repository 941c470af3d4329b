//! Interrupt vectors 32 to 254: who handles which, and how often each came. Drivers' vectors
//! are handed out one by one; 255 is the local APIC's spurious vector.
//!
//! Invariant: handlers run with interrupts off, on the stack they interrupt, and only set flags
//! and counters; nothing allocates, frees or logs in interrupt context.

use core::sync::atomic::{AtomicPtr, AtomicU8, AtomicU64, Ordering::Relaxed};

use super::apic;

const FIRST: u8 = 32;
const SPURIOUS: u8 = 255;
const COUNT: usize = (SPURIOUS - FIRST) as usize;

/// One interrupt vector; it has a handler for good.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Vector(u8);

impl Vector {
    /// What local APIC spurious interrupts come with.
    pub(super) const SPURIOUS: Self = Self(SPURIOUS);

    /// The number, for a descriptor or a redirection entry.
    pub const fn number(self) -> u8 {
        self.0
    }
}

/// A message-signalled interrupt: the write that raises a vector (SDM volume 3, 11.11).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Message {
    /// Address to write to.
    pub address: u64,
    /// Value to write.
    pub data: u32,
}

struct Slot {
    /// A `fn()`, or null.
    handler: AtomicPtr<()>,
    count: AtomicU64,
}

static SLOTS: [Slot; COUNT] = [const {
    Slot {
        handler: AtomicPtr::new(core::ptr::null_mut()),
        count: AtomicU64::new(0),
    }
}; COUNT];
static NEXT: AtomicU8 = AtomicU8::new(FIRST);

/// Takes a free vector for `handler`, which follows the rules above. `None`: all are taken.
pub fn register(handler: fn()) -> Option<Vector> {
    let take = |next| (next < SPURIOUS).then_some(next + 1);
    let number = NEXT.try_update(Relaxed, Relaxed, take).ok()?;
    SLOTS[usize::from(number - FIRST)]
        .handler
        .store(handler as *mut (), Relaxed);
    Some(Vector(number))
}

/// How often `vector` came.
pub fn count(vector: Vector) -> u64 {
    SLOTS
        .get(usize::from(vector.0 - FIRST))
        .map_or(0, |slot| slot.count.load(Relaxed))
}

/// What a device must write to raise `vector` on this processor.
pub fn msi(vector: Vector) -> Message {
    Message {
        address: 0xFEE0_0000 | u64::from(apic::id()) << 12,
        data: vector.0.into(),
    }
}

/// Called from `stubs.s`.
#[unsafe(no_mangle)]
extern "C" fn interrupt_entry(vector: u64) {
    // No slot: spurious, which wants no end-of-interrupt either (SDM volume 3, 11.9).
    let Some(slot) = SLOTS.get((vector as usize).wrapping_sub(FIRST.into())) else {
        return;
    };
    slot.count.fetch_add(1, Relaxed);
    let handler = slot.handler.load(Relaxed);
    if !handler.is_null() {
        // SAFETY: only `register` stores here, and it stores a `fn()`.
        let handler: fn() = unsafe { core::mem::transmute(handler) };
        handler();
    }
    apic::end_of_interrupt();
}
