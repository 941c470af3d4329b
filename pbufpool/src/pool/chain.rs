//! Chain surgery between packets of one pool.

use super::free;
use crate::buflet::flag;
use crate::packet::AppendReason;
use crate::packet::meta::Meta;

/// Moves `from`'s buflets behind `to`'s; `from` is left without any, for its owner to drop.
pub(crate) fn splice(to: &mut Meta, from: &mut Meta) -> Result<(), AppendReason> {
    if to.pool != from.pool {
        return Err(AppendReason::OtherPool);
    }
    let config = &to.inner().config;
    if !config.on_demand {
        return Err(AppendReason::RegularPool);
    }
    let buflets = usize::from(to.span.extent.count) + usize::from(from.span.extent.count);
    let max = usize::from(config.max_frags);
    if buflets > max {
        return Err(AppendReason::TooLong { buflets, max });
    }
    free::externalise(from)?;
    let Some(first) = from.span.next else {
        return Ok(());
    };
    let mut last = first;
    // SAFETY: the chain belongs to `from`.
    while let Some(next) = unsafe { last.as_ref() }.span.next {
        last = next;
    }
    let special = from.flags() & flag::SPECIAL != 0;
    to.set(flag::SPECIAL, special || to.flags() & flag::SPECIAL != 0);
    to.link_tail(first, last, from.span.extent.count);
    forget_chain(from);
    Ok(())
}

/// Leaves a packet without buflets.
pub(crate) fn forget_chain(meta: &mut Meta) {
    meta.span.next = None;
    meta.span.extent.count = 0;
    if meta.extra().is_some() {
        meta.extra_mut().forget_tail();
    }
}
