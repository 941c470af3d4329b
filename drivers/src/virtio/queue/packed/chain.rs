//! Posting a packet of several pieces to a packed ring: by a table, or as a chain of descriptors.
#![forbid(unsafe_code)]

use pbufpool::Packet;

use super::super::books::Books;
use super::super::indirect::INDIRECT;
use super::super::packed_layout::NEXT;
use super::super::pieces::{pieces, writable_bytes};
use super::PackedQueue;
use super::filling::Filling;

#[allow(private_bounds, reason = "books are the queues' own matter")]
impl<B: Books> PackedQueue<B> {
    /// Entries that a packet of `pieces` takes as things stand.
    pub(in super::super) fn entries(&self, pieces: usize) -> usize {
        self.tables.entries(pieces, &self.books)
    }

    /// Posts a packet, whatever it is. See [`PackedQueue::post`].
    #[cold]
    pub(super) fn post_chain(&mut self, packet: Packet, readable: usize) -> Result<(), Packet> {
        let all = || pieces(&packet, readable, 0);
        let count = all().count();
        let table = self.tables.find(count, &self.books);
        let ids = table.map_or(count, |_| 1);
        if count == 0 || ids > self.books.room().into() {
            return Err(packet);
        }
        let Some(id) = self.books.take() else {
            return Err(packet);
        };
        let mut before = id;
        for _ in 1..ids {
            if let Some(next) = self.books.take() {
                self.books.link(before, next);
                before = next;
            }
        }
        let mut filling = Filling::new(self.layout.descriptors(), self.avail, &mut self.staged);
        if let Some(table) = table {
            filling.fill(id, self.tables.write(table, all()), INDIRECT);
        } else {
            for (n, piece) in all().enumerate() {
                filling.fill(id, piece, if n + 1 < count { NEXT } else { 0 });
            }
        }
        self.avail = filling.avail();
        let posted = writable_bytes(&packet, readable);
        self.books.lend(id, ids as u16, packet, posted);
        if let Some(table) = table {
            self.tables.lent(table, id, &self.books);
        }
        Ok(())
    }
}
