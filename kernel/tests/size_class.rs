//! The heap's size classes (`src/mem/size_class.rs`), on the host.

#[allow(unreachable_pub, reason = "the image's own module, tested on the host")]
#[path = "../src/mem/size_class.rs"]
mod size_class;

use std::alloc::Layout;

use size_class::{CLASSES, GRAIN, LARGEST, class_of, size_of_class};

fn layout(size: usize, align: usize) -> Layout {
    Layout::from_size_align(size, align).expect("a layout")
}

#[test]
fn every_size_gets_the_smallest_class_that_holds_it() {
    for size in 1..=LARGEST {
        let class = class_of(layout(size, 8)).expect("a class");
        assert!(size_of_class(class) >= size, "{size} in class {class}");
        assert!(
            class == 0 || size_of_class(class - 1) < size,
            "{size} fits class {class} - 1"
        );
    }
}

#[test]
fn classes_grow_in_multiples_of_the_grain() {
    let sizes: Vec<_> = (0..CLASSES).map(size_of_class).collect();
    assert!(
        sizes.is_sorted() && sizes.iter().all(|size| size.is_multiple_of(GRAIN)),
        "{sizes:?}"
    );
    assert_eq!(sizes.last(), Some(&LARGEST));
}

#[test]
fn rounding_wastes_a_fifth_at_most() {
    for size in 129..=LARGEST {
        let class = class_of(layout(size, 1)).expect("a class");
        assert!(
            (size_of_class(class) - size) * 5 <= size_of_class(class),
            "{size}"
        );
    }
}

#[test]
fn what_is_too_large_or_too_aligned_has_no_class() {
    assert_eq!(class_of(layout(LARGEST + 1, 8)), None);
    assert_eq!(class_of(layout(64, 32)), None);
    assert_eq!(class_of(layout(0, 8)), None);
    assert!(class_of(layout(64, 16)).is_some());
}
