//! Doubly linked lists over small integer ids: the queues that a connection can stand in.
//!
//! The connection table keeps handshakes under way (one list a service) and closed connections
//! that wait, each in order of age. An id is in at most one list; leaving it from the middle is
//! O(1), which a `VecDeque` could not do.
#![forbid(unsafe_code)]

use alloc::vec::Vec;

const NONE: u32 = u32::MAX;

#[derive(Clone, Copy, Debug)]
struct Node {
    previous: u32,
    next: u32,
}

/// The links of all ids, shared by all lists.
#[derive(Debug, Default)]
pub(super) struct Links(Vec<Node>);

impl Links {
    fn node(&mut self, id: u32) -> &mut Node {
        let index = id as usize;
        if self.0.len() <= index {
            self.0.resize(
                index + 1,
                Node {
                    previous: NONE,
                    next: NONE,
                },
            );
        }
        &mut self.0[index]
    }
}

/// One list, oldest first.
#[derive(Clone, Debug)]
pub(super) struct List {
    first: u32,
    last: u32,
    len: usize,
}

impl Default for List {
    fn default() -> Self {
        Self {
            first: NONE,
            last: NONE,
            len: 0,
        }
    }
}

impl List {
    /// How many ids are in it.
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// The oldest id.
    pub(super) fn front(&self) -> Option<u32> {
        (self.first != NONE).then_some(self.first)
    }

    /// Appends `id`, which is in no list.
    pub(super) fn push(&mut self, links: &mut Links, id: u32) {
        *links.node(id) = Node {
            previous: self.last,
            next: NONE,
        };
        match self.last {
            NONE => self.first = id,
            last => links.node(last).next = id,
        }
        self.last = id;
        self.len += 1;
    }

    /// Takes out `id`, which is in this list.
    pub(super) fn remove(&mut self, links: &mut Links, id: u32) {
        let Node { previous, next } = *links.node(id);
        match previous {
            NONE => self.first = next,
            previous => links.node(previous).next = next,
        }
        match next {
            NONE => self.last = previous,
            next => links.node(next).previous = previous,
        }
        self.len -= 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drain(list: &mut List, links: &mut Links) -> Vec<u32> {
        let mut out = Vec::new();
        while let Some(id) = list.front() {
            list.remove(links, id);
            out.push(id);
        }
        out
    }

    #[test]
    fn ids_leave_from_the_front_the_middle_and_the_back() {
        let (mut links, mut list) = (Links::default(), List::default());
        for id in [5, 2, 9, 7] {
            list.push(&mut links, id);
        }
        list.remove(&mut links, 2);
        list.remove(&mut links, 7);
        list.push(&mut links, 1);
        assert_eq!(list.len(), 3);
        assert_eq!(drain(&mut list, &mut links), [5, 9, 1]);
        assert_eq!(list.len(), 0);
    }

    #[test]
    fn two_lists_share_links_without_touching_each_other() {
        let mut links = Links::default();
        let (mut a, mut b) = (List::default(), List::default());
        a.push(&mut links, 0);
        b.push(&mut links, 1);
        a.push(&mut links, 2);
        a.remove(&mut links, 0);
        b.push(&mut links, 0);
        assert_eq!(drain(&mut a, &mut links), [2]);
        assert_eq!(drain(&mut b, &mut links), [1, 0]);
    }
}
