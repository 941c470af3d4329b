//! Keeps BEHAVIOURS.md true: 96 rows, in order, each naming tests that exist, and no numbered
//! test that the table does not know.

use std::collections::BTreeSet;
use std::path::Path;

const FILES: [&str; 6] = [
    "configuration",
    "regions_slabs_caches",
    "packet_allocation",
    "chain_free_share_attach",
    "ledger",
    "faults_teardown_concurrency",
];

/// `file::test` of every numbered test function.
fn tests() -> BTreeSet<String> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests");
    let mut found = BTreeSet::new();
    for file in FILES {
        let text = std::fs::read_to_string(dir.join(file).with_extension("rs")).expect(file);
        let mut lines = text.lines();
        while let Some(line) = lines.next() {
            if line.trim() != "#[test]" {
                continue;
            }
            let name = lines
                .next()
                .and_then(|l| l.strip_prefix("fn ")?.split('(').next());
            let name = name.expect("a test function follows its attribute");
            found.insert(format!("{file}::{name}"));
        }
    }
    found
}

#[test]
fn every_behaviour_has_its_tests() {
    let table = include_str!("../BEHAVIOURS.md");
    let tests = tests();
    let mut named = BTreeSet::new();
    let mut number = 0;
    for row in table
        .lines()
        .filter(|l| l.starts_with("| ") && !l.starts_with("| number"))
    {
        number += 1;
        let cells: Vec<_> = row.split('|').map(str::trim).collect();
        assert_eq!(cells[1].parse(), Ok(number), "row order");
        assert!(!cells[2].is_empty());
        assert!(!cells[3].is_empty(), "behaviour {number} has no test");
        for test in cells[3].split(", ").map(|t| t.trim_matches('`')) {
            assert!(
                tests.contains(test),
                "behaviour {number} names {test}, which does not exist"
            );
            assert!(
                test.contains(&format!("::b{number:02}_")),
                "{test} in row {number}"
            );
            named.insert(test.to_string());
        }
    }
    assert_eq!(number, 96);
    assert_eq!(named, tests, "numbered tests and table differ");
}
