//! Cases that hold on either ring; the test file says on which.

pub(crate) mod control;
pub(crate) mod exchange;
pub(crate) mod hostile;
pub(crate) mod indirect;
pub(crate) mod indirect_hostile;
pub(crate) mod merged;
pub(crate) mod mistakes;
pub(crate) mod segments;
pub(crate) mod sleep;
