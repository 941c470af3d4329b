//! Keeps `docs/virtio-features.md` true: every feature bit is there, what the driver knows is said
//! to be used, and the tests that are named exist.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use drivers::virtio::Features;

/// Bits of a network card (virtio 1.2, 5.1.3), and those of any device (6), known by 2024.
const BITS: [std::ops::RangeInclusive<u32>; 7] =
    [0..=3, 5..=24, 27..=30, 32..=38, 40..=40, 53..=57, 59..=63];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

struct Row {
    name: String,
    used: bool,
    text: String,
}

fn rows() -> BTreeMap<u32, Row> {
    let table = fs::read_to_string(root().join("docs/virtio-features.md")).expect("the table");
    let mut rows = BTreeMap::new();
    for line in table.lines().filter(|line| line.starts_with("| ")) {
        let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
        let Ok(bit) = cells[0].parse() else { continue };
        let row = Row {
            name: cells[1].to_owned(),
            used: match cells[3] {
                "yes" => true,
                "no" => false,
                other => panic!("bit {bit}: used is {other:?}"),
            },
            text: cells[4].to_owned(),
        };
        assert!(rows.insert(bit, row).is_none(), "bit {bit} stands twice");
    }
    rows
}

/// All test code: of drivers, kernel and images.
fn sources(folder: &Path, all: &mut String) {
    for entry in fs::read_dir(folder).expect("a folder").flatten() {
        let path = entry.path();
        if path.is_dir() {
            sources(&path, all);
        } else if path.extension().is_some_and(|end| end == "rs") {
            all.push_str(&fs::read_to_string(&path).expect("source text"));
        }
    }
}

#[test]
fn every_feature_bit_is_explained() {
    let there: Vec<u32> = rows().into_keys().collect();
    let expected: Vec<u32> = BITS.into_iter().flatten().collect();
    // 4 is reserved.
    assert_eq!(there, expected);
}

#[test]
fn what_the_driver_knows_is_what_the_table_says_it_uses() {
    let used: Vec<(u32, String)> = rows()
        .into_iter()
        .filter(|(_, row)| row.used)
        .map(|(bit, row)| (bit, row.name))
        .collect();
    let known: Vec<(u32, String)> = Features::all()
        .iter_names()
        .map(|(name, feature)| (feature.bits().trailing_zeros(), name.to_owned()))
        .collect();
    assert_eq!(used, known);
}

#[test]
fn the_tests_that_are_named_exist() {
    let mut all = String::new();
    for folder in ["drivers/src", "drivers/tests", "kernel/src", "tests/tests"] {
        sources(&root().join(folder), &mut all);
    }
    for (bit, row) in rows() {
        let names: Vec<&str> = row.text.split('`').skip(1).step_by(2).collect();
        assert!(
            !row.used || !names.is_empty(),
            "bit {bit} is used and not tested"
        );
        assert!(!row.text.is_empty(), "bit {bit} is not explained");
        for name in names.iter().filter(|_| row.used) {
            let (function, label) = (format!("fn {name}("), format!("{name}\""));
            assert!(
                all.contains(&function) || all.contains(&label),
                "bit {bit} names the test {name}, which does not exist"
            );
        }
    }
}
