//! The image's own counters: the line of the statistics service, and `/metrics`.
#![forbid(unsafe_code)]

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

use crate::clients::{ask_udp, eventually};
use crate::guest::Guest;

/// Port of the statistics service.
pub const STATS_PORT: u16 = 11;

/// How long the guest may take until its pool is idle again after traffic has ended. Closed
/// connections are among what must have drained.
const IDLE_LIMIT: Duration = Duration::from_secs(10);

/// One reading of every counter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stats(BTreeMap<String, u64>);

impl Stats {
    /// Asks the guest.
    pub fn read(guest: &Guest) -> Result<Stats> {
        let line = ask_udp(guest.port(STATS_PORT), b"?")?;
        Stats::parse(&String::from_utf8(line).context("the statistics line is not text")?)
    }

    /// Reads one line of space-separated `key=value`.
    pub fn parse(line: &str) -> Result<Stats> {
        ensure!(line.is_ascii(), "not ASCII: {line:?}");
        ensure!(
            line.trim_end().lines().count() == 1,
            "more than one line: {line:?}"
        );
        let mut values = BTreeMap::new();
        for word in line.split_whitespace() {
            let (key, value) = word
                .split_once('=')
                .with_context(|| format!("word {word:?}"))?;
            let value = value.parse().with_context(|| format!("word {word:?}"))?;
            ensure!(
                values.insert(key.to_owned(), value).is_none(),
                "{key} is there twice"
            );
        }
        Ok(Stats(values))
    }

    /// The counter `key`. A reason for drops is left out of the line while it is 0.
    pub fn get(&self, key: &str) -> Result<u64> {
        let absent = is_drop_reason(key).then_some(0);
        let value = self.0.get(key).copied().or(absent);
        value.with_context(|| format!("no counter `{key}` in {:?}", self.0))
    }

    /// How much counter `key` has grown since `earlier`.
    pub fn grown(&self, key: &str, earlier: &Stats) -> Result<u64> {
        let (now, then) = (self.get(key)?, earlier.get(key)?);
        now.checked_sub(then)
            .with_context(|| format!("{key} went from {then} to {now}"))
    }

    /// Received frames that were dropped, for whatever reason.
    pub fn drops(&self) -> u64 {
        self.0
            .iter()
            .filter(|(key, _)| is_drop_reason(key))
            .map(|(_, count)| count)
            .sum()
    }

    /// Counters that differ from `earlier`, for messages.
    pub fn changes(&self, earlier: &Stats) -> String {
        let changed = self.0.iter().filter_map(|(key, &now)| {
            let then = earlier.0.get(key).copied().unwrap_or(0);
            (now != then).then(|| format!("{key}: {then} -> {now}"))
        });
        changed.collect::<Vec<_>>().join(", ")
    }

    /// Fails unless the pool's outstanding count is at its idle value: every packet that is out
    /// is accounted for, and rests in the receive ring, but for the question that asked for the
    /// reading, its answer, and one that is set aside for a frame to be cut.
    pub fn must_be_idle(&self) -> Result<()> {
        let (out, idle) = (self.get("pool_outstanding")?, self.get("pool_idle")?);
        ensure!(
            out == idle,
            "pool outstanding is {out}, idle value is {idle}"
        );
        let rings = self.get("ring_rx_size")? * self.get("nic_queue_pairs")?;
        ensure!(
            out <= rings + 2, // the question is not in its ring any more
            "{out} packets out, the receive rings have {rings}"
        );
        let sending = self.get("ring_tx_inflight")?;
        ensure!(sending == 0, "{sending} packets still in the transmit ring");
        Ok(())
    }
}

fn is_drop_reason(key: &str) -> bool {
    (key.starts_with("rx_") && key != "rx_delivered") || key.starts_with("nic_drop_")
}

/// Fails unless the guest's pool comes back to its idle value.
pub fn must_be_idle(guest: &Guest) -> Result<Stats> {
    eventually(IDLE_LIMIT, || {
        let stats = Stats::read(guest)?;
        stats.must_be_idle()?;
        Ok(stats)
    })
}

/// Samples of a Prometheus text page: name (with its labels) to value.
pub fn parse_prometheus(page: &str) -> Result<BTreeMap<String, f64>> {
    ensure!(page.ends_with('\n'), "the last line has no end");
    let mut samples = BTreeMap::new();
    let mut typed = BTreeSet::new();
    for line in page.lines().filter(|line| !line.is_empty()) {
        if let Some(comment) = line.strip_prefix("# ") {
            note_type(comment, &mut typed).with_context(|| format!("line {line:?}"))?;
            continue;
        }
        let (name, value) = line
            .rsplit_once(' ')
            .with_context(|| format!("line {line:?}"))?;
        let value: f64 = value.parse().with_context(|| format!("line {line:?}"))?;
        let family = metric_name(name).with_context(|| format!("name in {line:?}"))?;
        ensure!(
            typed.contains(family),
            "{family} has no TYPE line before it"
        );
        ensure!(
            samples.insert(name.to_owned(), value).is_none(),
            "{name} is there twice"
        );
    }
    Ok(samples)
}

fn note_type(comment: &str, typed: &mut BTreeSet<String>) -> Result<()> {
    let words: Vec<&str> = comment.split(' ').collect();
    match words.as_slice() {
        ["HELP", _, _, ..] => {}
        ["TYPE", name, "counter" | "gauge"] => {
            ensure!(typed.insert((*name).to_owned()), "a second TYPE for {name}");
        }
        _ => bail!("neither HELP nor TYPE with a known kind"),
    }
    Ok(())
}

/// The metric's name without labels, if both are well formed.
fn metric_name(sample: &str) -> Option<&str> {
    let (name, labels) = sample
        .split_once('{')
        .map_or((sample, None), |(n, l)| (n, Some(l)));
    let mut letters = name.chars();
    let starts_well = letters
        .next()
        .is_some_and(|c| c.is_ascii_alphabetic() || c == '_');
    if !starts_well || !letters.all(|c| c.is_ascii_alphanumeric() || c == '_' || c == ':') {
        return None;
    }
    if let Some(labels) = labels {
        for label in labels.strip_suffix('}')?.split(',') {
            let (key, value) = label.split_once('=')?;
            let plain = key.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
            if !plain || value.len() < 2 || !value.starts_with('"') || !value.ends_with('"') {
                return None;
            }
        }
    }
    Some(name)
}

/// Nothing is copied between NIC and stack but merged frames whose buffers do not lie back to back.
/// Those are few where the ring is much longer than a frame: buffers are in order but where their
/// addresses begin anew.
///
/// # Errors
/// What was copied besides.
pub fn must_copy_only_scattered(stats: &Stats) -> Result<()> {
    let [merged, in_place] = [stats.get("nic_rx_merged")?, stats.get("nic_rx_in_place")?];
    for (key, expected) in [
        ("copies_rx", merged - in_place),
        ("linearised", merged - in_place),
        ("copies_tx", 0),
    ] {
        let value = stats.get(key)?;
        ensure!(value == expected, "{key} is {value}, not {expected}");
    }
    ensure!(
        stats.get("ring_rx_size")? < 256 || in_place * 4 >= merged * 3,
        "of {merged} merged frames only {in_place} were read in place"
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_statistics_line_becomes_counters() {
        let rest = "ring_rx_size=256 nic_queue_pairs=1 ring_tx_inflight=0";
        let read = |line: &str| Stats::parse(&format!("{line} {rest}\n")).unwrap();
        let then = read("udp_rx=0 pool_outstanding=256 pool_idle=256");
        let now = read("udp_rx=7 pool_outstanding=257 pool_idle=256");
        assert_eq!(now.grown("udp_rx", &then).unwrap(), 7);
        assert!(then.must_be_idle().is_ok());
        assert!(now.must_be_idle().is_err());
        assert!(
            read("pool_outstanding=300 pool_idle=300")
                .must_be_idle()
                .is_err()
        );
        assert_eq!(
            now.changes(&then),
            "pool_outstanding: 256 -> 257, udp_rx: 0 -> 7"
        );
        assert!(then.grown("udp_rx", &now).is_err());
        assert_eq!(then.get("rx_runt").unwrap(), 0);
        assert!(then.get("nic_rx").is_err());
        for bad in [
            "udp_rx",
            "udp_rx=",
            "udp_rx=1 udp_rx=1",
            "udp_rx=1\nnic_rx=1",
        ] {
            assert!(Stats::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn prometheus_text_is_checked_strictly() {
        let page = "# HELP mill_rx Packets.\n# TYPE mill_rx counter\nmill_rx{nic=\"0\"} 7\n";
        assert_eq!(parse_prometheus(page).unwrap()["mill_rx{nic=\"0\"}"], 7.0);
        for bad in [
            "mill_rx 7\n",
            "# TYPE mill_rx counter\nmill_rx 7",
            "# TYPE mill_rx counter\nmill_rx seven\n",
            "# TYPE mill_rx counter\nmill_rx 7\nmill_rx 7\n",
            "# TYPE mill_rx counter\nmill_rx{nic=0} 7\n",
            "# TYPE mill-rx counter\nmill-rx 7\n",
            "# TYPE mill_rx thing\nmill_rx 7\n",
        ] {
            assert!(parse_prometheus(bad).is_err(), "{bad}");
        }
    }
}
