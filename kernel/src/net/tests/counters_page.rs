//! Holds `docs/counters.md` against what is counted.

use std::collections::BTreeSet;
use std::format;
use std::string::String;

use super::Bench;
use crate::net::Status;

/// The first cells of the page's tables.
fn documented() -> impl Iterator<Item = &'static str> {
    let page = include_str!("../../../../docs/counters.md");
    page.lines()
        .filter_map(|line| line.strip_prefix("| `")?.split('`').next())
}

#[test]
fn every_counter_has_one_row_on_its_page_and_every_row_a_counter() {
    let bench = Bench::serving();
    let mut counted = BTreeSet::<String>::new();
    let status = Status::new(bench.stack.core());
    status
        .metrics(&mut |metric| {
            let name = format!("{}{}", metric.group, metric.name);
            assert!(counted.insert(name), "{} is there twice", metric.name);
            Ok(())
        })
        .unwrap();
    let mut rows = BTreeSet::<String>::new();
    for name in documented() {
        assert!(rows.insert(name.into()), "{name} has two rows");
    }
    assert_eq!(counted, rows);
}
