//! Light clones in bursts: what [`Packet::clone_light`] does for one packet, with the metadata of
//! all clones taken from the magazine in one go.

use super::{AllocError, Inner, Pool};
use crate::buflet::flag;
use crate::config::PacketKind;
use crate::packet::clone::{copy_notes, own_of, share_first, share_rest};
use crate::packet::meta::Meta;
use crate::packet::{CloneError, Packet};
use ::alloc::vec::Vec;
use core::ptr::NonNull;

/// What a burst of clones came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "a burst may be short"]
pub struct CloneBurst {
    /// Clones delivered: of the first so many sources.
    pub count: usize,
    /// Why the next source has none; `None` if all have one.
    pub shortfall: Option<CloneError>,
}

impl CloneBurst {
    fn stopped(count: usize, why: CloneError) -> Self {
        Self {
            count,
            shortfall: Some(why),
        }
    }
}

impl Pool {
    /// A light clone of each of `sources`, which are of this pool, appended to `out` in order.
    /// Stops at the first source that cannot be cloned; it and those behind it are as they were.
    #[inline]
    #[cfg_attr(feature = "audit", track_caller)]
    pub fn clone_light_vec(&self, sources: &mut [Packet], out: &mut Vec<Packet>) -> CloneBurst {
        self.inner().clone_vec(sources, out)
    }
}

impl Inner {
    #[inline]
    #[cfg_attr(feature = "audit", track_caller)]
    fn clone_vec(&self, sources: &mut [Packet], out: &mut Vec<Packet>) -> CloneBurst {
        match () {
            () if self.config.kind == PacketKind::Quantum => {
                return CloneBurst::stopped(0, CloneError::Quantum);
            }
            () if !self.config.on_demand => {
                return CloneBurst::stopped(0, CloneError::RegularPool);
            }
            () => {}
        }
        let mut shortfall = None;
        let mut simple = true;
        let has_clone = |source: &&Packet| {
            let m = source.meta();
            let ours = core::ptr::eq(m.pool.as_ptr(), self);
            if ours && m.flags() & (flag::DROPPED | flag::EXTRA) == 0 && m.span.extent.count == 1 {
                return true;
            }
            simple = false;
            shortfall = match () {
                () if !ours => Some(CloneError::OtherPool),
                () if m.flags() & flag::DROPPED != 0 => Some(CloneError::Dropped),
                () if m.span.extent.count == 0 => Some(CloneError::Empty),
                () => None,
            };
            shortfall.is_none()
        };
        let wanted = sources.iter().take_while(has_clone).count();
        let sources = &mut sources[..wanted];
        let first = out.len();
        let took = self.share_firsts(sources, out);
        if took < wanted {
            self.fail(AllocError::NoPackets);
            shortfall = Some(CloneError::NoMemory(AllocError::NoPackets));
        }
        let mut count = took;
        if !simple && let Err((whole, why)) = finish_clones(&mut sources[..took], &mut out[first..])
        {
            out.truncate(first + whole);
            (count, shortfall) = (whole, Some(why));
        }
        CloneBurst { count, shortfall }
    }

    /// Appends a clone over its source's first buffer for each source there is metadata for;
    /// returns how many.
    #[inline]
    #[cfg_attr(feature = "audit", track_caller)]
    fn share_firsts(&self, sources: &mut [Packet], out: &mut Vec<Packet>) -> usize {
        let own = own_of(&self.fresh_packet);
        out.reserve(sources.len());
        let place = out.spare_capacity_mut();
        let mut at = place.as_mut_ptr().cast::<NonNull<Meta>>();
        let wanted = sources.len();
        let mut next = sources.iter_mut();
        let took = self.take_metas(self.core(), wanted, |meta| {
            // There is a source for each piece of metadata that was asked for.
            let Some(source) = next.next() else { return };
            // SAFETY: just taken: ours alone. There was room for as many as there are sources.
            unsafe {
                share_first(source.meta_mut(), &mut *meta.as_ptr(), own);
                at.write(meta);
                at = at.add(1);
            }
        });
        // SAFETY: that many were written, each a packet of the vector's from now on.
        unsafe { out.set_len(out.len() + took) };
        took
    }
}

/// What is behind the first buffer, and beside it.
///
/// # Errors
/// How many clones are whole, and why the next one is not.
#[cold]
fn finish_clones(sources: &mut [Packet], clones: &mut [Packet]) -> Result<(), (usize, CloneError)> {
    for (number, (source, clone)) in sources.iter_mut().zip(clones).enumerate() {
        if source.buflet_count() > 1 {
            share_rest(source.meta_mut(), clone.meta_mut()).map_err(|why| (number, why))?;
        }
        copy_notes(source, clone);
    }
    Ok(())
}
