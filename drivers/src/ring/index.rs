//! Free-running 16-bit ring indices.
#![forbid(unsafe_code)]

/// A free-running ring index. Not `Ord`: it wraps, so only differences mean anything.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct RingIndex(pub u16);

impl RingIndex {
    /// How many steps `self` is ahead of `earlier`.
    pub const fn since(self, earlier: Self) -> u16 {
        self.0.wrapping_sub(earlier.0)
    }

    /// This index moved on by `steps`.
    #[must_use]
    pub const fn plus(self, steps: u16) -> Self {
        Self(self.0.wrapping_add(steps))
    }

    /// The place in a ring of `size` entries, which is a power of two.
    pub const fn place(self, size: u16) -> usize {
        (self.0 & (size - 1)) as usize
    }

    /// Whether moving from `old` to `self` passed `event`, so that the other side wants to be
    /// told (virtio 1.2, 2.7.10.1: `vring_need_event`).
    pub const fn passed(self, event: Self, old: Self) -> bool {
        self.0.wrapping_sub(event.0).wrapping_sub(1) < self.0.wrapping_sub(old.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_passed_when_it_lies_between_the_old_and_the_new_index() {
        let passed = |event, new, old| RingIndex(new).passed(RingIndex(event), RingIndex(old));
        assert!(
            passed(5, 6, 5),
            "the entry at the event index was just added"
        );
        assert!(passed(5, 9, 4));
        assert!(!passed(5, 5, 4), "not reached yet");
        assert!(!passed(5, 9, 6), "passed before");
        assert!(!passed(5, 6, 6), "nothing new");
    }

    #[test]
    fn events_are_passed_across_the_wrap() {
        let passed = |event, new, old| RingIndex(new).passed(RingIndex(event), RingIndex(old));
        assert!(passed(0xffff, 0, 0xffff));
        assert!(passed(0xfffe, 1, 0xfffe));
        assert!(passed(0, 1, 0xfff0));
        assert!(!passed(2, 1, 0xfff0));
        assert!(!passed(0xffef, 1, 0xfff0));
    }

    #[test]
    fn differences_wrap() {
        assert_eq!(RingIndex(2).since(RingIndex(0xffff)), 3);
        assert_eq!(RingIndex(0xffff).plus(2), RingIndex(1));
        assert_eq!(RingIndex(0x1003).place(256), 3);
    }
}
