//! Up to where a queue has rung the doorbell, or has found that it need not.
//!
//! Both kinds of ring ask the same when they publish: did the device want to be told of anything in
//! between? It is asked twice, once at the publication and once at the next call, because a fence may not
//! have been one (see [`barrier::publish_then_check`](crate::ring::barrier::publish_then_check)): a device
//! that asks for the doorbell at just the time of the first look is then not heard.
//!
//! The invariant: what lies before `settled` was rung for or looked at twice, what lies before `looked` at
//! least once. Neither part is longer than a ring.
#![forbid(unsafe_code)]

/// The places, as the ring counts them.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Kicks<P> {
    settled: P,
    looked: P,
}

impl<P: Copy + PartialEq> Kicks<P> {
    /// Nothing was published before `start`.
    pub(super) fn new(start: P) -> Self {
        Self {
            settled: start,
            looked: start,
        }
    }

    /// Whether all that was published up to `avail` is settled.
    #[inline(always)]
    pub(super) fn is_settled(&self, avail: P) -> bool {
        avail == self.looked && self.looked == self.settled
    }

    /// Whether the device wants to be told of something up to `avail`: `passed` says whether it does for
    /// what lies between two places, the later of which comes first.
    #[inline(always)]
    pub(super) fn wanted(&self, avail: P, passed: impl Fn(P, P) -> bool) -> bool {
        passed(avail, self.looked) || passed(self.looked, self.settled)
    }

    /// What was found of all up to `avail`.
    #[inline(always)]
    pub(super) fn found(&mut self, avail: P, wanted: bool) {
        self.settled = if wanted { avail } else { self.looked };
        self.looked = avail;
    }
}
