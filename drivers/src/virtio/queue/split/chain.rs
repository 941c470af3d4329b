//! Posting a packet of several pieces to a split ring: by a table, or as a chain of descriptors.
#![forbid(unsafe_code)]

use pbufpool::Packet;

use super::super::books::Books;
use super::super::indirect::INDIRECT;
use super::super::layout::{NEXT, rest};
use super::super::pieces::{Piece, pieces, writable_bytes};
use super::{SplitQueue, offer};

#[allow(private_bounds, reason = "books are the queues' own matter")]
impl<B: Books> SplitQueue<B> {
    /// Entries that a packet of `pieces` takes as things stand.
    pub(in super::super) fn entries(&self, pieces: usize) -> usize {
        self.tables.entries(pieces, &self.books)
    }

    /// Posts a packet, whatever it is. See [`SplitQueue::post`].
    #[cold]
    pub(super) fn post_chain(&mut self, packet: Packet, readable: usize) -> Result<(), Packet> {
        let all = || pieces(&packet, readable, self.header);
        let count = all().count();
        let table = self.tables.find(count, &self.books);
        let ids = table.map_or(count, |_| 1);
        if count == 0 || ids > self.books.room().into() {
            return Err(packet);
        }
        let Some(head) = self.books.take() else {
            return Err(packet);
        };
        if let Some(table) = table {
            let whole = self.tables.write(table, all());
            let rest = rest(whole.len, INDIRECT, 0);
            let ring = self.layout.descriptors();
            self.staged.put(ring, head, true, (whole.address, rest));
        } else {
            let (ring, books) = (self.layout.descriptors(), &mut self.books);
            let mut id = head;
            let mut left = pieces(&packet, readable, self.header).peekable();
            while let Some(piece) = left.next() {
                let next = left.peek().and_then(|_| books.take());
                let Piece { address, len, .. } = piece;
                let more = if next.is_some() { NEXT } else { 0 };
                let rest = rest(len, piece.flags() | more, next.unwrap_or(0));
                self.staged.put(ring, id, true, (address, rest));
                if let Some(next) = next {
                    books.link(id, next);
                    id = next;
                }
            }
        }
        let posted = writable_bytes(&packet, readable);
        self.books.lend(head, ids as u16, packet, posted);
        if let Some(table) = table {
            self.tables.lent(table, head, &self.books);
        }
        let ring = self.layout.avail_ring();
        offer(&ring[self.avail.place(self.name.size)], head);
        self.avail = self.avail.plus(1);
        Ok(())
    }
}
