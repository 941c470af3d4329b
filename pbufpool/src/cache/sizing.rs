//! The magazine capacity table: smaller objects get larger magazines.
#![forbid(unsafe_code)]

/// One step: capacity, least and greatest object size it is for.
struct Step {
    capacity: usize,
    min_object: usize,
    max_object: usize,
}

const fn step(capacity: usize, min_object: usize, max_object: usize) -> Step {
    Step {
        capacity,
        min_object,
        max_object,
    }
}

const STEPS: [Step; 8] = [
    step(14, 128, 512),
    step(30, 96, 256),
    step(46, 64, 128),
    step(62, 32, 64),
    step(94, 16, 32),
    step(126, 8, 16),
    step(142, 0, 8),
    step(158, 0, 0),
];

/// First capacity for objects of `size` bytes: the first step meant for smaller objects.
pub(crate) fn initial(size: usize) -> usize {
    STEPS
        .iter()
        .find(|s| size > s.min_object)
        .unwrap_or(&STEPS[7])
        .capacity
}

/// The capacity after `capacity`, if objects of `size` bytes may grow past it.
pub(crate) fn next(capacity: usize, size: usize) -> Option<usize> {
    let at = STEPS.iter().position(|s| s.capacity == capacity)?;
    (size < STEPS[at].max_object).then(|| STEPS[at + 1].capacity)
}

/// The greatest capacity that resizing can reach.
pub(crate) fn largest(size: usize) -> usize {
    let mut capacity = initial(size);
    while let Some(more) = next(capacity, size) {
        capacity = more;
    }
    capacity
}
