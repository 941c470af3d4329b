//! The memory map of a direct boot (`src/boot/regions.rs`), on the host.

#[allow(unreachable_pub, reason = "the image's own module, tested on the host")]
#[path = "../src/boot/regions.rs"]
#[allow(dead_code, reason = "the image uses the rest")]
mod regions;

use bootloader_api::info::MemoryRegionKind::{Bootloader, UnknownBios, Usable};
use regions::RegionList;

fn usable<const N: usize>(list: &RegionList<N>) -> Vec<(u64, u64)> {
    let mut found: Vec<_> = list
        .as_slice()
        .iter()
        .filter(|region| region.kind == Usable)
        .map(|region| (region.start, region.end))
        .collect();
    found.sort_unstable();
    found
}

#[test]
fn usable_memory_is_cut_to_whole_pages() {
    let mut list = RegionList::<8>::new();
    list.push(0x1001, 0x4fff, Usable);
    list.push(0x5001, 0x5fff, Usable);
    list.push(0x9001, 0x9fff, UnknownBios(2));
    assert_eq!(usable(&list), [(0x2000, 0x4000)]);
    assert_eq!(list.as_slice().len(), 2);
}

#[test]
fn a_reservation_in_the_middle_leaves_both_sides() {
    let mut list = RegionList::<8>::new();
    list.push(0x1000, 0x9000, Usable);
    list.reserve(0x3800, 0x4001);
    assert_eq!(usable(&list), [(0x1000, 0x3000), (0x5000, 0x9000)]);
    assert!(
        list.as_slice()
            .iter()
            .any(|region| (region.start, region.end, region.kind) == (0x3000, 0x5000, Bootloader))
    );
}

#[test]
fn a_reservation_may_cover_several_regions_and_holes() {
    let mut list = RegionList::<8>::new();
    list.push(0x1000, 0x3000, Usable);
    list.push(0x4000, 0x6000, Usable);
    list.push(0x8000, 0x9000, Usable);
    list.reserve(0x2000, 0x8000);
    assert_eq!(usable(&list), [(0x1000, 0x2000), (0x8000, 0x9000)]);
}

#[test]
fn a_full_list_forgets_memory_rather_than_reservations() {
    let mut list = RegionList::<2>::new();
    list.push(0x1000, 0x9000, Usable);
    list.push(0xa000, 0xb000, UnknownBios(2));
    list.push(0xc000, 0xd000, Usable);
    list.reserve(0x3000, 0x4000);
    assert!(
        usable(&list)
            .iter()
            .all(|&(start, end)| end <= 0x3000 || start >= 0x4000)
    );
}

#[test]
fn a_region_at_the_end_of_the_address_space_does_not_overflow() {
    let mut list = RegionList::<4>::new();
    list.push(u64::MAX - 10, u64::MAX, Usable);
    list.push(0x1000, 0x2000, Usable);
    list.reserve(0x1000, u64::MAX);
    assert_eq!(usable(&list), []);
}
