//! A request to a worker, and its one-line form: "CONTENDER CASE BULK MAGAZINES OBJECTS MODE".
#![forbid(unsafe_code)]

use std::fmt;
use std::str::FromStr;

use anyhow::{Context, Error, bail};

/// What is done with each object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Case {
    /// A ready packet: allocated, freed.
    Alloc,
    /// A ready packet of three buffers.
    Chain,
    /// A second packet over the same buffer.
    Clone,
    /// Allocated on one core, freed on the other.
    OneWay,
    /// Both cores at once.
    BothWays,
    /// A buffer without a packet.
    Buffer,
}

impl Case {
    /// All, in the table's order.
    pub(super) const ALL: [Self; 6] = [
        Self::Alloc,
        Self::Chain,
        Self::Clone,
        Self::OneWay,
        Self::BothWays,
        Self::Buffer,
    ];

    /// The word in requests and files.
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Alloc => "alloc",
            Self::Chain => "chain",
            Self::Clone => "clone",
            Self::OneWay => "oneway",
            Self::BothWays => "bothways",
            Self::Buffer => "buffer",
        }
    }

    /// The case with this word.
    pub(super) fn named(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|case| case.word() == word)
    }

    /// The heading for people.
    pub(super) fn title(self) -> &'static str {
        match self {
            Self::Alloc => "alloc + free",
            Self::Chain => "chain of 3",
            Self::Clone => "light clone + free",
            Self::OneWay => "two cores, one way",
            Self::BothWays => "two cores, both ways",
            Self::Buffer => "buffer only",
        }
    }
}

/// What is wanted of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    /// Wall time.
    Time,
    /// A profile, by callgrind.
    Count,
}

/// One run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Request {
    /// Who runs.
    pub(super) contender: String,
    /// What.
    pub(super) case: Case,
    /// Objects at once.
    pub(super) bulk: usize,
    /// With per-core caches.
    pub(super) magazines: bool,
    /// Objects in all, on each core that allocates; a multiple of `bulk`.
    pub(super) objects: usize,
    /// Time or count.
    pub(super) mode: Mode,
}

impl Request {
    /// Bursts in all.
    pub(super) fn bursts(&self) -> usize {
        self.objects / self.bulk
    }
}

impl fmt::Display for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mode = match self.mode {
            Mode::Time => "time",
            Mode::Count => "count",
        };
        let (contender, case) = (&self.contender, self.case.word());
        let (bulk, objects) = (self.bulk, self.objects);
        let magazines = u8::from(self.magazines);
        write!(f, "{contender} {case} {bulk} {magazines} {objects} {mode}")
    }
}

impl FromStr for Request {
    type Err = Error;

    fn from_str(line: &str) -> Result<Self, Error> {
        let words: Vec<&str> = line.split_whitespace().collect();
        let [contender, case, bulk, magazines, objects, mode] = words[..] else {
            bail!("six words are needed");
        };
        let bulk = bulk.parse().context("bulk")?;
        if !(1..=256).contains(&bulk) {
            bail!("bulk {bulk} is not in 1 to 256");
        }
        Ok(Self {
            contender: contender.to_owned(),
            case: Case::named(case).context("case")?,
            bulk,
            magazines: magazines == "1",
            objects: objects.parse().context("objects")?,
            mode: match mode {
                "time" => Mode::Time,
                "count" => Mode::Count,
                _ => bail!("mode {mode}"),
            },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_survives_its_line() {
        let request = Request {
            contender: "on-demand".to_owned(),
            case: Case::BothWays,
            bulk: 32,
            magazines: true,
            objects: 4096,
            mode: Mode::Count,
        };
        let line = request.to_string();
        assert_eq!(line, "on-demand bothways 32 1 4096 count");
        assert_eq!(line.parse::<Request>().expect("as written"), request);
    }

    #[test]
    fn a_bulk_out_of_bounds_is_refused() {
        assert!("regular alloc 0 1 64 time".parse::<Request>().is_err());
        assert!("regular alloc 257 1 514 time".parse::<Request>().is_err());
    }
}
