//! The memory routines of the image, run on the host against what slices do.

#[allow(unreachable_pub, reason = "the image's own module, tested on the host")]
#[path = "../src/mem/routines.rs"]
mod routines;

use routines::{memcpy, memmove, memset};

/// Lengths around each boundary between two ways to copy, and some of each way.
fn lengths() -> impl Iterator<Item = usize> {
    (0..=300).chain([511, 512, 513, 1460, 4096, 65_535])
}

/// Bytes that differ from all their near neighbours.
fn pattern(len: usize) -> Vec<u8> {
    (0..len).map(|n| (n * 7 + n / 251) as u8).collect()
}

const AROUND: usize = 16;
const UNTOUCHED: u8 = 0xa5;

#[test]
fn memcpy_copies_all_and_nothing_else_at_each_alignment() {
    for len in lengths() {
        let source = pattern(len + AROUND);
        for (from, to) in (0..8).flat_map(|from| (0..9).map(move |to| (from, to))) {
            let mut target = vec![UNTOUCHED; len + 2 * AROUND];
            let start = target.as_mut_ptr();
            // SAFETY: both places are inside their vectors, which are apart.
            let result = unsafe { memcpy(start.add(to), source.as_ptr().add(from), len) };
            assert_eq!(result, start.wrapping_add(to));
            assert_eq!(
                target[to..to + len],
                source[from..from + len],
                "{len} bytes"
            );
            let mut around = target[..to].iter().chain(&target[to + len..]);
            assert!(around.all(|byte| *byte == UNTOUCHED), "{len} bytes at {to}");
        }
    }
}

#[test]
fn memmove_copies_over_itself_in_both_directions() {
    for len in lengths().filter(|len| *len < 1000) {
        for distance in [
            0, 1, 2, 7, 8, 9, 15, 16, 31, 32, 33, 255, 256, 257, 600, 1200,
        ] {
            for (from, to) in [(0, distance), (distance, 0), (3, distance + 3)] {
                let mut bytes = pattern(len + distance + AROUND);
                let mut expected = bytes.clone();
                expected.copy_within(from..from + len, to);
                let start = bytes.as_mut_ptr();
                // SAFETY: both places are inside the vector.
                let result = unsafe { memmove(start.add(to), start.add(from), len) };
                assert_eq!(result, start.wrapping_add(to));
                assert!(bytes == expected, "{len} bytes from {from} to {to}");
            }
        }
    }
}

#[test]
fn memset_sets_all_and_nothing_else_at_each_alignment() {
    for len in lengths() {
        for at in 0..9 {
            let mut bytes = vec![UNTOUCHED; len + 2 * AROUND];
            let start = bytes.as_mut_ptr();
            // SAFETY: the place is inside the vector.
            let result = unsafe { memset(start.add(at), 0x1_3c, len) };
            assert_eq!(result, start.wrapping_add(at));
            assert!(
                bytes[at..at + len].iter().all(|byte| *byte == 0x3c),
                "{len} bytes at {at}"
            );
            let mut around = bytes[..at].iter().chain(&bytes[at + len..]);
            assert!(around.all(|byte| *byte == UNTOUCHED), "{len} bytes at {at}");
        }
    }
}
