//! How bulk operations find their packets: along the links of a list, or in an array of
//! handles. A list is walked one dependent load after the other, an array is not.

use crate::packet::meta::Meta;
use core::ptr::NonNull;

/// Packets, one after another.
pub(crate) trait Walk: Clone {
    /// The packet at hand; `None` at the end.
    fn peek(&self) -> Option<NonNull<Meta>>;

    /// Goes on to the next packet.
    ///
    /// # Safety
    /// The packet at hand is the caller's.
    unsafe fn advance(&mut self);
}

/// Packets linked through their metadata.
#[derive(Clone, Copy)]
pub(crate) struct Links(pub(crate) Option<NonNull<Meta>>);

impl Walk for Links {
    #[inline(always)]
    fn peek(&self) -> Option<NonNull<Meta>> {
        self.0
    }
    #[inline(always)]
    unsafe fn advance(&mut self) {
        // SAFETY: the packet is the caller's.
        self.0 = self.0.and_then(|meta| unsafe { (*meta.as_ptr()).link });
    }
}

/// Packets in an array.
#[derive(Clone)]
pub(crate) struct Handles<'a>(core::slice::Iter<'a, NonNull<Meta>>);

impl<'a> Handles<'a> {
    #[inline(always)]
    pub(crate) fn new(handles: &'a [NonNull<Meta>]) -> Self {
        Self(handles.iter())
    }
}

impl Walk for Handles<'_> {
    #[inline(always)]
    fn peek(&self) -> Option<NonNull<Meta>> {
        self.0.as_slice().first().copied()
    }
    #[inline(always)]
    unsafe fn advance(&mut self) {
        self.0.next();
    }
}
