//! Drops with a reason, and observers of them.
//!
//! [`Packet::drop_with`] and [`PacketQueue::drop_with`] free like a plain drop, but first tell
//! every registered [`DropTap`]. With no tap that costs one load.
#![forbid(unsafe_code)]

use crate::packet::Packet;
use crate::platform::Direction;
use crate::queue::PacketQueue;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicUsize, Ordering};

/// Why a packet was dropped: code in bits 0-15, domain in 16-23, component in 24-27.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DropReason(pub u32);

impl DropReason {
    /// Puts a reason together.
    pub const fn new(component: u8, domain: u8, code: u16) -> Self {
        Self(((component as u32 & 0xf) << 24) | ((domain as u32) << 16) | code as u32)
    }
    /// What happened.
    pub const fn code(self) -> u16 {
        self.0 as u16
    }
    /// In which field.
    pub const fn domain(self) -> u8 {
        (self.0 >> 16) as u8
    }
    /// Who dropped it.
    pub const fn component(self) -> u8 {
        (self.0 >> 24) as u8 & 0xf
    }
}

/// What a tap is told besides the packet.
#[derive(Clone, Copy, Debug)]
pub struct DropInfo {
    /// Why.
    pub reason: DropReason,
    /// Which way it was going; `None` keeps the taps silent. `Both` counts as out.
    pub direction: Option<Direction>,
    /// The function that dropped it.
    pub function: &'static str,
    /// The line in it.
    pub line: u32,
    /// The dropper's own flags.
    pub flags: u16,
    /// Interface, if known.
    pub interface: Option<u32>,
    /// Client that it belonged to.
    pub owner: Option<crate::ledger::OwnerId>,
}

/// An observer of drops. Runs outside all locks, before the packet is freed.
pub trait DropTap: Send + Sync {
    /// `packet` is about to be freed.
    fn dropped(&self, packet: &Packet, info: &DropInfo);
}

static TAPS: spin::Mutex<Vec<Arc<dyn DropTap>>> = spin::Mutex::new(Vec::new());
static COUNT: AtomicUsize = AtomicUsize::new(0);

/// Keeps a tap registered.
#[must_use = "dropping it ends the registration"]
pub struct Registration(Arc<dyn DropTap>);

/// Registers a tap for all pools.
pub fn register(tap: Arc<dyn DropTap>) -> Registration {
    TAPS.lock().push(tap.clone());
    COUNT.fetch_add(1, Ordering::Release);
    Registration(tap)
}

impl Drop for Registration {
    fn drop(&mut self) {
        let mut taps = TAPS.lock();
        if let Some(at) = taps.iter().position(|t| Arc::ptr_eq(t, &self.0)) {
            taps.swap_remove(at);
            COUNT.fetch_sub(1, Ordering::Release);
        }
    }
}

/// The taps to tell; none without a direction.
fn listeners(info: &DropInfo) -> Vec<Arc<dyn DropTap>> {
    match info.direction {
        Some(_) if COUNT.load(Ordering::Acquire) != 0 => TAPS.lock().clone(),
        _ => Vec::new(),
    }
}

fn tell(taps: &[Arc<dyn DropTap>], packet: &Packet, info: &DropInfo) {
    let direction = match info.direction {
        Some(Direction::Both) => Some(Direction::Out),
        other => other,
    };
    let info = DropInfo { direction, ..*info };
    taps.iter().for_each(|tap| tap.dropped(packet, &info));
}

impl Packet {
    /// Tells the taps, then frees the packet.
    pub fn drop_with(self, info: &DropInfo) {
        tell(&listeners(info), &self, info);
    }
}

impl PacketQueue {
    /// Tells the taps of every packet in order, then frees them all.
    pub fn drop_with(&mut self, info: &DropInfo) {
        let taps = listeners(info);
        if !taps.is_empty() {
            self.iter().for_each(|packet| tell(&taps, packet, info));
        }
        let _ = self.clear();
    }
}
