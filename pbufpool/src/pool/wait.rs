//! Allocation that waits. Everything else in the pool fails at once when memory is short; these
//! are for callers that may sleep, never for interrupt handlers.
#![forbid(unsafe_code)]

use super::{AllocError, Pool};
use crate::packet::Packet;

/// The backoff starts between 1 and this many milliseconds.
const FIRST_MS: u64 = 4;
/// Above this the backoff starts over.
const RESET_MS: u64 = 1024;
/// Waiting this long in vain ends it.
const GIVE_UP_MS: u64 = 20_000;

impl Pool {
    /// One packet of `k` default buflets; waits for memory with a doubling, randomised backoff.
    ///
    /// # Errors
    /// At once, if the pool never gives such packets; [`AllocError::TimedOut`] after 20 s.
    pub fn alloc_wait(&self, k: u16) -> Result<Packet, AllocError> {
        let inner = self.inner();
        inner.faults.set_waiting(true);
        let packet = self.alloc_until(k);
        inner.faults.set_waiting(false);
        packet
    }

    fn alloc_until(&self, k: u16) -> Result<Packet, AllocError> {
        let platform = self.inner().platform;
        let start = platform.uptime_ms();
        let mut dice = platform.boot_secret() ^ start | 1;
        let mut backoff = 0;
        let mut waited = 0;
        loop {
            match self.alloc_buflets(k) {
                Err(AllocError::NoPackets | AllocError::NoBuffers) => {}
                other => return other,
            }
            // The platform's clock may stand still: what was asked of it counts as well.
            if waited.max(platform.uptime_ms().saturating_sub(start)) >= GIVE_UP_MS {
                return Err(AllocError::TimedOut);
            }
            if backoff == 0 || backoff > RESET_MS {
                dice = dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                backoff = 1 + (dice >> 33) % FIRST_MS;
            }
            platform.wait_ms(backoff as u32);
            waited += backoff;
            backoff *= 2;
        }
    }
}
