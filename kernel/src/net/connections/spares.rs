//! Lines of ended connections, kept for the next ones of the same service, so that short
//! connections cost no allocation.
#![forbid(unsafe_code)]

use alloc::vec::Vec;

use crate::net::buffers::Sizes;
use crate::net::connection::Line;

/// Lines kept for one service.
const EACH: usize = 64;

/// Bytes of buffers in all lines that are kept.
const BYTES: usize = 8 << 20;

/// What is kept for all services.
pub(super) struct Spares {
    /// The lines of each service.
    shelves: Vec<Vec<Line>>,
    bytes: usize,
}

impl Spares {
    /// None yet, for so many services.
    pub(super) fn new(services: usize) -> Self {
        Self {
            shelves: (0..services).map(|_| Vec::with_capacity(EACH)).collect(),
            bytes: 0,
        }
    }

    /// A line of these sizes for a connection of `service`.
    pub(super) fn take(&mut self, service: usize, sizes: Sizes) -> Option<Line> {
        let mut shelf = self.shelves[service].iter();
        let at = shelf.rposition(|line| line.sizes() == sizes)?;
        self.remove(service, at)
    }

    /// A line of any size for a connection of `service`.
    pub(super) fn take_any(&mut self, service: usize) -> Option<Line> {
        let last = self.shelves[service].len().checked_sub(1)?;
        self.remove(service, last)
    }

    /// Those behind it move up, so that the oldest is first: it is mostly the last that is taken.
    fn remove(&mut self, service: usize, at: usize) -> Option<Line> {
        let shelf = &mut self.shelves[service];
        let line = (at < shelf.len()).then(|| shelf.remove(at))?;
        self.bytes -= line.sizes().total();
        Some(line)
    }

    /// Keeps a line of `service`, unless there are enough. The oldest gives way if it has other
    /// sizes: that is what connections had in other times.
    pub(super) fn keep(&mut self, service: usize, line: Line) {
        let sizes = line.sizes();
        let oldest = self.shelves[service].first();
        let other = oldest.is_some_and(|oldest| oldest.sizes() != sizes);
        if !self.has_room(service, sizes) && other {
            self.remove(service, 0);
        }
        if self.has_room(service, sizes) {
            self.bytes += sizes.total();
            self.shelves[service].push(line);
        }
    }

    fn has_room(&self, service: usize, sizes: Sizes) -> bool {
        self.shelves[service].len() < EACH && self.bytes + sizes.total() <= BYTES
    }

    /// Gives the memory of all of them back.
    pub(super) fn clear(&mut self) {
        for shelf in &mut self.shelves {
            shelf.clear();
        }
        self.bytes = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sizes(kib: usize) -> Sizes {
        Sizes {
            receive: kib * 512,
            send: kib * 512,
        }
    }

    fn line(kib: usize) -> Line {
        Line::new(sizes(kib)).unwrap()
    }

    #[test]
    fn a_line_serves_the_service_that_it_was_made_for() {
        let mut spares = Spares::new(2);
        spares.keep(1, line(8));
        assert!(spares.take(0, sizes(8)).is_none());
        assert!(spares.take_any(0).is_none());
        let found = spares.take(1, sizes(8));
        assert_eq!(found.map(|line| line.sizes().total()), Some(8 << 10));
        assert!(spares.take(1, sizes(8)).is_none());
    }

    #[test]
    fn neither_number_nor_bytes_pile_up() {
        let mut spares = Spares::new(2);
        for _ in 0..2 * EACH {
            spares.keep(0, line(8));
        }
        assert_eq!(spares.bytes, EACH * (8 << 10));
        for _ in 0..10 {
            spares.keep(1, line(1024));
        }
        assert_eq!(spares.bytes, EACH * (8 << 10) + 7 * (1024 << 10));
        spares.clear();
        assert_eq!(spares.bytes, 0);
        assert!(spares.take_any(0).is_none() && spares.take_any(1).is_none());
    }

    #[test]
    fn a_line_of_another_size_is_taken_only_by_those_who_take_any() {
        let mut spares = Spares::new(1);
        spares.keep(0, line(8));
        spares.keep(0, line(16));
        spares.keep(0, line(8));
        assert!(spares.take(0, sizes(32)).is_none());
        let found = spares.take(0, sizes(16));
        assert_eq!(found.map(|line| line.sizes()), Some(sizes(16)));
        assert_eq!(spares.take_any(0).map(|line| line.sizes()), Some(sizes(8)));
        assert_eq!(spares.bytes, 8 << 10);
    }

    #[test]
    fn lines_that_nobody_wants_any_more_give_way() {
        let mut spares = Spares::new(1);
        for _ in 0..EACH {
            spares.keep(0, line(8));
        }
        spares.keep(0, line(16));
        assert_eq!(spares.bytes, (EACH + 1) * (8 << 10), "the oldest went");
        assert!(spares.take(0, sizes(16)).is_some());
        assert_eq!(spares.bytes, (EACH - 1) * (8 << 10));
    }
}
