//! A FIFO of owned packets, linked through their metadata: moving packets in and out touches
//! one word each. Dropping the queue frees all of them in one go.
//!
//! Invariant: `head` to `tail` are linked, the tail's link is `None`, `len` of them. An empty queue has
//! no `head`, and what its `tail` says does not count.

use crate::packet::Packet;
use crate::packet::meta::Meta;
use crate::pool::free;
use crate::pool::walk::{Links, Walk};
use core::fmt;
use core::ptr::NonNull;

/// An intrusive queue of packets.
pub struct PacketQueue {
    head: Option<NonNull<Meta>>,
    tail: NonNull<Meta>,
    len: usize,
}

// SAFETY: the queue owns its packets, which are `Send`.
unsafe impl Send for PacketQueue {}
// SAFETY: `&PacketQueue` only reads.
unsafe impl Sync for PacketQueue {}

impl PacketQueue {
    /// A queue without packets.
    pub const fn new() -> Self {
        Self {
            head: None,
            tail: NonNull::dangling(),
            len: 0,
        }
    }

    /// Number of packets.
    #[inline]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there is none.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The last packet, if there is any.
    #[inline(always)]
    fn end(&self) -> Option<NonNull<Meta>> {
        self.head.map(|_| self.tail)
    }

    /// Adds a packet at the end.
    #[inline]
    pub fn push_back(&mut self, packet: Packet) {
        let meta = packet.into_meta();
        // SAFETY: the queue owns the new packet and its tail.
        unsafe {
            (*meta.as_ptr()).link = None;
            match self.end() {
                Some(tail) => (*tail.as_ptr()).link = Some(meta),
                None => self.head = Some(meta),
            }
        }
        self.tail = meta;
        self.len += 1;
    }

    /// Adds a packet in front: for one that turned out not to fit.
    #[inline]
    pub fn push_front(&mut self, packet: Packet) {
        let meta = packet.into_meta();
        // SAFETY: the queue owns the new packet.
        unsafe { (*meta.as_ptr()).link = self.head };
        self.tail = self.end().unwrap_or(meta);
        self.head = Some(meta);
        self.len += 1;
    }

    /// Takes the first packet.
    #[inline]
    pub fn pop_front(&mut self) -> Option<Packet> {
        let meta = self.head?;
        // SAFETY: the queue owns its head and gives it away.
        unsafe {
            self.head = (*meta.as_ptr()).link;
            self.len -= 1;
            Some(Packet::from_meta(meta))
        }
    }

    /// Looks at the first packet.
    #[inline]
    pub fn front(&self) -> Option<&Packet> {
        // SAFETY: a packet is its metadata pointer, and the queue, which is borrowed, owns it.
        self.head
            .as_ref()
            .map(|meta| unsafe { &*(&raw const *meta).cast::<Packet>() })
    }

    /// Looks at the first packet, for changing it.
    #[inline]
    pub fn front_mut(&mut self) -> Option<FrontMut<'_>> {
        (!self.is_empty()).then_some(FrontMut {
            packet: self.pop_front(),
            queue: self,
        })
    }

    /// Moves all of `other`'s packets to the end.
    #[inline]
    pub fn append(&mut self, other: &mut Self) {
        let Some(tail) = other.end() else {
            return;
        };
        match self.end() {
            // SAFETY: the queue owns its tail.
            Some(tail) => unsafe { (*tail.as_ptr()).link = other.head },
            None => self.head = other.head,
        }
        self.tail = tail;
        self.len += other.len;
        (other.head, other.len) = (None, 0);
    }

    /// Keeps the first `at` packets; returns the rest.
    pub fn split_off(&mut self, at: usize) -> Self {
        if at == 0 {
            return core::mem::take(self);
        }
        let Some(mut last) = self.head.filter(|_| at < self.len) else {
            return Self::new();
        };
        // SAFETY: the queue owns its packets; `at < len`, so each step finds one.
        unsafe {
            for _ in 1..at {
                let Some(next) = last.as_ref().link else {
                    break;
                };
                last = next;
            }
            let rest = Self {
                head: core::mem::take(&mut (*last.as_ptr()).link),
                tail: self.tail,
                len: self.len - at,
            };
            self.tail = last;
            self.len = at;
            rest
        }
    }

    /// Frees all packets in one go, those of each pool to their own. Returns how many.
    #[inline]
    pub fn clear(&mut self) -> usize {
        let freed = self.len;
        let mut left = Links(self.head.take());
        self.len = 0;
        while left.peek().is_some() {
            // SAFETY: the queue owned these packets.
            left = unsafe { free::run(left, freed) };
        }
        freed
    }

    /// The packets, first to last.
    pub fn iter(&self) -> Iter<'_> {
        Iter { next: &self.head }
    }
}

/// The first packet of a queue, for changing it; it returns to the front by itself.
pub struct FrontMut<'a> {
    queue: &'a mut PacketQueue,
    packet: Option<Packet>,
}

impl core::ops::Deref for FrontMut<'_> {
    type Target = Packet;
    fn deref(&self) -> &Packet {
        self.packet.as_ref().expect("present until dropped")
    }
}

impl core::ops::DerefMut for FrontMut<'_> {
    fn deref_mut(&mut self) -> &mut Packet {
        self.packet.as_mut().expect("present until dropped")
    }
}

impl Drop for FrontMut<'_> {
    fn drop(&mut self) {
        if let Some(packet) = self.packet.take() {
            self.queue.push_front(packet);
        }
    }
}

/// Walks a queue.
pub struct Iter<'a> {
    next: &'a Option<NonNull<Meta>>,
}

impl<'a> Iterator for Iter<'a> {
    type Item = &'a Packet;
    fn next(&mut self) -> Option<&'a Packet> {
        let meta = self.next.as_ref()?;
        // SAFETY: the borrowed queue owns the packet; a packet is its metadata pointer.
        unsafe {
            self.next = &(*meta.as_ptr()).link;
            Some(&*(&raw const *meta).cast::<Packet>())
        }
    }
}

impl<'a> IntoIterator for &'a PacketQueue {
    type Item = &'a Packet;
    type IntoIter = Iter<'a>;
    fn into_iter(self) -> Iter<'a> {
        self.iter()
    }
}

impl Iterator for PacketQueue {
    type Item = Packet;
    fn next(&mut self) -> Option<Packet> {
        self.pop_front()
    }
}

impl Extend<Packet> for PacketQueue {
    fn extend<I: IntoIterator<Item = Packet>>(&mut self, packets: I) {
        packets.into_iter().for_each(|p| self.push_back(p));
    }
}

impl FromIterator<Packet> for PacketQueue {
    fn from_iter<I: IntoIterator<Item = Packet>>(packets: I) -> Self {
        let mut queue = Self::new();
        queue.extend(packets);
        queue
    }
}

impl Default for PacketQueue {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for PacketQueue {
    #[inline]
    fn drop(&mut self) {
        self.clear();
    }
}

impl fmt::Debug for PacketQueue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

/// Links packets as they come, with one store each.
pub(crate) struct ListBuilder {
    /// Where the next packet is linked: the list's head, or the last packet's link.
    place: *mut Option<NonNull<Meta>>,
    tail: Option<NonNull<Meta>>,
}

impl ListBuilder {
    /// A builder that stores the first packet in `head`.
    ///
    /// # Safety
    /// `head` is valid until [`ListBuilder::finish`].
    #[inline(always)]
    pub(crate) unsafe fn new(head: *mut Option<NonNull<Meta>>) -> Self {
        Self {
            place: head,
            tail: None,
        }
    }

    /// Adds metadata that the caller owns.
    #[inline(always)]
    pub(crate) fn push(&mut self, meta: NonNull<Meta>) {
        // SAFETY: `place` is the caller's head or lies in a packet of this list.
        unsafe {
            *self.place = Some(meta);
            self.place = &raw mut (*meta.as_ptr()).link;
        }
        self.tail = Some(meta);
    }

    /// The queue of the `len` packets pushed, the first of which is `head`; `None` if there
    /// were none.
    #[inline(always)]
    pub(crate) fn finish(self, head: Option<NonNull<Meta>>, len: usize) -> Option<PacketQueue> {
        let tail = self.tail?;
        // SAFETY: as for `push`.
        unsafe { *self.place = None };
        Some(PacketQueue { head, tail, len })
    }
}
