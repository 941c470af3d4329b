//! Physical frames of 4 KiB: one bitmap per usable region ("zone"), first fit, runs of frames
//! with an alignment. Used by `mem` alone; plain data, so it is tested on the host
//! (`tests/frames.rs`).
//!
//! Invariant: a set bit is a frame that somebody has, or one that does not exist; a run never
//! leaves its zone, so it is physically contiguous.
#![forbid(unsafe_code)]

/// Bytes per frame.
pub const FRAME: u64 = 4096;

/// One region of physical memory.
#[derive(Debug)]
pub struct Zone<'a> {
    /// Physical address of frame 0 of the zone.
    base: u64,
    frames: usize,
    free: usize,
    /// No frame below this one is free.
    low: usize,
    used: &'a mut [u64],
}

/// How many bitmap words a zone of `frames` frames needs.
pub const fn words(frames: usize) -> usize {
    frames.div_ceil(64)
}

impl<'a> Zone<'a> {
    /// A zone of `frames` free frames from physical address `base` up; `used` holds its
    /// bitmap, at least [`words`] long. Its old contents do not matter.
    pub fn new(base: u64, frames: usize, used: &'a mut [u64]) -> Self {
        debug_assert!(base.is_multiple_of(FRAME) && used.len() >= words(frames));
        let used = &mut used[..words(frames)];
        used.fill(0);
        if !frames.is_multiple_of(64)
            && let Some(last) = used.last_mut()
        {
            *last = !0 << (frames % 64);
        }
        Self {
            base,
            frames,
            free: frames,
            low: 0,
            used,
        }
    }

    /// Frames nobody has.
    pub fn free_frames(&self) -> usize {
        self.free
    }

    /// Whether the zone holds the frame at `address`.
    pub fn contains(&self, address: u64) -> bool {
        address >= self.base && (address - self.base) / FRAME < self.frames as u64
    }

    /// Takes `count` neighbouring frames whose address is a multiple of `align` bytes (a power
    /// of two, at least [`FRAME`]). Returns the address of the first.
    pub fn alloc(&mut self, count: usize, align: u64) -> Option<u64> {
        if count == 0 || count > self.free {
            return None;
        }
        let mut at = self.next_free(self.low)?;
        self.low = at;
        loop {
            at = self.align_up(at, align)?;
            let end = at.checked_add(count).filter(|&end| end <= self.frames)?;
            match self.next_used(at, end) {
                Some(taken) => at = self.next_free(taken)?,
                None => break,
            }
        }
        self.mark(at, count, true);
        self.free -= count;
        Some(self.base + at as u64 * FRAME)
    }

    /// Gives back `count` frames from `address` up; `false` if they were not all taken, and
    /// then nothing has changed.
    pub fn free(&mut self, address: u64, count: usize) -> bool {
        if !self.contains(address) || !address.is_multiple_of(FRAME) {
            return false;
        }
        let at = ((address - self.base) / FRAME) as usize;
        if count > self.frames - at || (at..at + count).any(|frame| !self.is_used(frame)) {
            return false;
        }
        self.mark(at, count, false);
        self.free += count;
        self.low = self.low.min(at);
        true
    }

    fn align_up(&self, frame: usize, align: u64) -> Option<usize> {
        let address =
            (self.base + frame as u64 * FRAME).checked_next_multiple_of(align.max(FRAME))?;
        usize::try_from((address - self.base) / FRAME).ok()
    }

    fn is_used(&self, frame: usize) -> bool {
        self.used[frame / 64] >> (frame % 64) & 1 == 1
    }

    /// The first free frame at or behind `from`.
    fn next_free(&self, from: usize) -> Option<usize> {
        self.next(from, self.frames, !0)
    }

    /// The first used frame in `from..to`.
    fn next_used(&self, from: usize, to: usize) -> Option<usize> {
        self.next(from, to, 0)
    }

    /// The first frame in `from..to` whose bit is set once the word is XORed with `flip`.
    fn next(&self, from: usize, to: usize, flip: u64) -> Option<usize> {
        let mut at = from;
        while at < to {
            let word = (self.used[at / 64] ^ flip) >> (at % 64);
            if word != 0 {
                at += word.trailing_zeros() as usize;
                return (at < to).then_some(at);
            }
            at = (at / 64 + 1) * 64;
        }
        None
    }

    fn mark(&mut self, from: usize, count: usize, used: bool) {
        let (mut at, end) = (from, from + count);
        while at < end {
            let bits = (end - at).min(64 - at % 64);
            let mask = (!0 >> (64 - bits)) << (at % 64);
            if used {
                self.used[at / 64] |= mask;
            } else {
                self.used[at / 64] &= !mask;
            }
            at += bits;
        }
    }
}

/// All zones; those pushed first are used first.
#[derive(Debug)]
pub struct Frames<'a, const N: usize> {
    zones: [Option<Zone<'a>>; N],
}

impl<'a, const N: usize> Frames<'a, N> {
    /// No memory yet.
    pub const fn new() -> Self {
        Self {
            zones: [const { None }; N],
        }
    }

    /// Adds a zone; `false` if there are too many, and the zone stays unused.
    pub fn push(&mut self, zone: Zone<'a>) -> bool {
        match self.zones.iter_mut().find(|slot| slot.is_none()) {
            Some(slot) => {
                *slot = Some(zone);
                true
            }
            None => false,
        }
    }

    /// Frames nobody has.
    pub fn free_frames(&self) -> usize {
        // The zones are the first ones of many places.
        let zones = self.zones.iter().map_while(Option::as_ref);
        zones.map(Zone::free_frames).sum()
    }

    /// See [`Zone::alloc`].
    pub fn alloc(&mut self, count: usize, align: u64) -> Option<u64> {
        self.zones
            .iter_mut()
            .flatten()
            .find_map(|zone| zone.alloc(count, align))
    }

    /// See [`Zone::free`].
    pub fn free(&mut self, address: u64, count: usize) -> bool {
        self.zones
            .iter_mut()
            .flatten()
            .any(|zone| zone.free(address, count))
    }
}
