//! The flow table: whose a segment is.
//!
//! One look-up for each segment; what it costs does not grow with the number of flows.
#![forbid(unsafe_code)]

use hashbrown::HashTable;
use hashbrown::hash_table::Entry;

use crate::net::flow::{Flow, FlowKey};

/// Whose a flow is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Owner {
    /// The connection in this slot.
    Connection(u32),
    /// A connection that has ended; its number among those.
    Ended(u32),
}

struct Known {
    flow: Flow,
    owner: Owner,
}

/// All flows that belong to somebody.
#[derive(Default)]
pub(super) struct Flows(HashTable<Known>);

impl Flows {
    /// Whose `flow` is.
    pub(super) fn find(&self, flow: &Flow) -> Option<Owner> {
        let known = self.0.find(flow.hash, is(&flow.key))?;
        Some(known.owner)
    }

    /// Makes room for one more flow. Returns whether there was memory for it.
    pub(super) fn reserve(&mut self) -> bool {
        self.0.try_reserve(1, hash).is_ok()
    }

    /// Gives `flow` to `owner`, whosever it was.
    pub(super) fn give(&mut self, flow: Flow, owner: Owner) {
        match self.0.entry(flow.hash, is(&flow.key), hash) {
            Entry::Occupied(mut known) => known.get_mut().owner = owner,
            Entry::Vacant(place) => {
                place.insert(Known { flow, owner });
            }
        }
    }

    /// Forgets `flow`.
    pub(super) fn remove(&mut self, flow: &Flow) {
        if let Ok(known) = self.0.find_entry(flow.hash, is(&flow.key)) {
            known.remove();
        }
    }

    /// Forgets `flow` if it is still `owner`'s.
    pub(super) fn remove_from(&mut self, owner: Owner, flow: &Flow) {
        let is_owned = |known: &Known| known.flow.key == flow.key && known.owner == owner;
        if let Ok(known) = self.0.find_entry(flow.hash, is_owned) {
            known.remove();
        }
    }
}

fn is(key: &FlowKey) -> impl Fn(&Known) -> bool {
    |known| known.flow.key == *key
}

fn hash(known: &Known) -> u64 {
    known.flow.hash
}
