//! Regions: how many objects of which size are cut from segments of which size.
//!
//! A region is a set of equal segments, each a whole number of 16 KiB units, each cut into
//! equal objects. An object's *index* is `segment index × objects per segment + index in
//! segment`; it never changes, so addresses (and device addresses) come by arithmetic.
//! [`Geometry`] is computed once, when a pool is configured; [`crate::slab`] fills it with memory.
#![forbid(unsafe_code)]

use crate::config::ConfigError;

/// Cache line, and the least alignment of an object that is not smaller itself.
pub const CACHE_LINE: usize = 64;
/// Segments are a multiple of this.
pub const SEGMENT_UNIT: usize = 16 * 1024;

/// What a region is asked for.
#[derive(Clone, Copy, Debug)]
pub struct RegionParams {
    /// Which region, for messages.
    pub name: &'static str,
    /// Bytes of one object before rounding.
    pub object_size: usize,
    /// Least number of objects.
    pub count: usize,
    /// Wanted bytes of a segment; 0 = one unit.
    pub segment_size: usize,
    /// Everything in one segment.
    pub monolithic: bool,
    /// Bytes of a segment in front of its first object.
    pub lead: usize,
}

/// The shape of a region.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Geometry {
    /// Bytes of one object, rounded to cache lines.
    pub object_size: usize,
    /// Bytes of one segment.
    pub segment_size: usize,
    /// Objects cut from one segment.
    pub per_segment: usize,
    /// Segments.
    pub segments: usize,
    /// Bytes of a segment in front of its first object.
    pub lead: usize,
}

impl Geometry {
    /// Rounds the request to whole cache lines, segments and objects.
    ///
    /// # Errors
    /// [`ConfigError::TooLarge`] if a product does not fit the machine's word or the 32-bit index.
    pub fn of(p: &RegionParams) -> Result<Self, ConfigError> {
        let too_large = ConfigError::TooLarge {
            region: p.name,
            count: p.count,
        };
        let object_size = round_object(p.object_size).ok_or(too_large.clone())?;
        let total = object_size
            .checked_mul(p.count.max(1))
            .ok_or(too_large.clone())?;
        let whole = total
            .checked_add(p.lead)
            .and_then(|bytes| bytes.checked_next_multiple_of(SEGMENT_UNIT))
            .ok_or(too_large.clone())?;
        let wanted = p
            .segment_size
            .max(object_size.saturating_add(p.lead))
            .max(1);
        let wanted = wanted
            .checked_next_multiple_of(SEGMENT_UNIT)
            .ok_or(too_large.clone())?;
        let segment_size = match p.monolithic || whole <= wanted {
            true => whole,
            false => even_segment(wanted, object_size),
        };
        let per_segment = (segment_size - p.lead) / object_size;
        let segments = p.count.max(1).div_ceil(per_segment);
        match segments.checked_mul(per_segment) {
            Some(n) if n < u32::MAX as usize => Ok(Self {
                object_size,
                segment_size,
                per_segment,
                segments,
                lead: p.lead,
            }),
            _ => Err(too_large),
        }
    }

    /// Objects in the whole region: at least the number asked for.
    pub const fn count(&self) -> usize {
        self.segments * self.per_segment
    }

    /// Splits an object's index into (segment, index in segment).
    pub const fn split(&self, index: usize) -> (usize, usize) {
        (index / self.per_segment, index % self.per_segment)
    }

    /// Where an object begins in its segment, by its index there.
    pub const fn offset(&self, within: usize) -> usize {
        self.lead + within * self.object_size
    }
}

/// A multiple of the cache line, or a size that divides it.
fn round_object(size: usize) -> Option<usize> {
    match size.max(8) {
        s if s < CACHE_LINE => Some(s.next_power_of_two()),
        s => s.checked_next_multiple_of(CACHE_LINE),
    }
}

/// A segment size up to 1.5 times the wanted one which the objects fill evenly, or the wanted one.
fn even_segment(wanted: usize, object_size: usize) -> usize {
    let most = wanted + wanted / 2;
    let mut size = wanted;
    while size <= most {
        if size.is_multiple_of(object_size) {
            return size;
        }
        size += SEGMENT_UNIT;
    }
    wanted
}
