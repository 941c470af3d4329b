//! Lines of ended connections, kept for the next ones of the same service, so that short
//! connections cost no allocation.
#![forbid(unsafe_code)]

use alloc::vec::Vec;

use crate::net::connection::Line;

/// Lines kept for one service.
const EACH: usize = 64;

/// Bytes of buffers in all lines that are kept.
const BYTES: usize = 8 << 20;

/// The lines of one service.
#[derive(Default)]
struct Shelf {
    lines: Vec<Line>,
    /// Bytes of the largest line so far; smaller ones, made when memory was short, are not kept.
    largest: usize,
}

/// What is kept for all services.
pub(super) struct Spares {
    shelves: Vec<Shelf>,
    bytes: usize,
}

impl Spares {
    /// None yet, for so many services.
    pub(super) fn new(services: usize) -> Self {
        let shelf = || Shelf {
            lines: Vec::with_capacity(EACH),
            largest: 0,
        };
        Self {
            shelves: (0..services).map(|_| shelf()).collect(),
            bytes: 0,
        }
    }

    /// A line for a connection of `service`.
    pub(super) fn take(&mut self, service: usize) -> Option<Line> {
        let line = self.shelves[service].lines.pop()?;
        self.bytes -= line.sizes().total();
        Some(line)
    }

    /// Keeps a line of `service`, unless there are enough or it is a small one.
    pub(super) fn keep(&mut self, service: usize, line: Line) {
        let (shelf, bytes) = (&mut self.shelves[service], line.sizes().total());
        let wanted = shelf.lines.len() < EACH && bytes >= shelf.largest;
        if wanted && self.bytes + bytes <= BYTES {
            shelf.largest = bytes;
            self.bytes += bytes;
            shelf.lines.push(line);
        }
    }

    /// Gives the memory of all of them back.
    pub(super) fn clear(&mut self) {
        for shelf in &mut self.shelves {
            shelf.lines.clear();
        }
        self.bytes = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::buffers::Sizes;

    fn line(kib: usize) -> Line {
        let half = kib * 512;
        let sizes = Sizes {
            receive: half,
            send: half,
        };
        Line::new(sizes).unwrap()
    }

    #[test]
    fn a_line_serves_the_service_that_it_was_made_for() {
        let mut spares = Spares::new(2);
        spares.keep(1, line(8));
        assert!(spares.take(0).is_none());
        assert_eq!(
            spares.take(1).map(|line| line.sizes().total()),
            Some(8 << 10)
        );
        assert!(spares.take(1).is_none());
    }

    #[test]
    fn neither_number_nor_bytes_nor_small_lines_pile_up() {
        let mut spares = Spares::new(2);
        for _ in 0..2 * EACH {
            spares.keep(0, line(8));
        }
        assert_eq!(spares.bytes, EACH * (8 << 10));
        for _ in 0..10 {
            spares.keep(1, line(1024));
        }
        assert_eq!(spares.bytes, EACH * (8 << 10) + 7 * (1024 << 10));
        assert!(spares.take(1).is_some());
        spares.keep(1, line(8));
        assert_eq!(spares.shelves[1].lines.len(), 6);
        spares.clear();
        assert_eq!(spares.bytes, 0);
        assert!(spares.take(0).is_none() && spares.take(1).is_none());
    }
}
