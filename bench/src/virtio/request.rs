//! A request to a worker, "CONTENDER CASE RING AMOUNT MODE", and its answer, "PACKETS NS BUSY_NS
//! BURSTS IDLE LOST": one line each. `peers/virtio_user.c` reads and writes the same.
#![forbid(unsafe_code)]

use std::fmt;
use std::str::FromStr;

use anyhow::{Context, Error, Result, bail};

/// What the driver does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Case {
    /// Sends.
    Tx,
    /// Receives.
    Rx,
    /// Sends back what it receives.
    Echo,
    /// Echoes datagrams, with the image's stack on top of the driver. Nobody else's.
    Stack,
}

impl Case {
    /// All, in the table's order.
    pub(super) const ALL: [Self; 4] = [Self::Tx, Self::Rx, Self::Echo, Self::Stack];

    /// The word in requests and files.
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Tx => "tx",
            Self::Rx => "rx",
            Self::Echo => "echo",
            Self::Stack => "stack",
        }
    }

    /// The case with this word.
    pub(super) fn named(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|case| case.word() == word)
    }

    /// The heading for people.
    pub(super) fn title(self) -> &'static str {
        match self {
            Self::Tx => "transmit",
            Self::Rx => "receive",
            Self::Echo => "echo",
            Self::Stack => "UDP echo",
        }
    }

    /// What `testpmd` has to do meanwhile.
    pub(super) fn forward_mode(self) -> &'static str {
        match self {
            Self::Tx => "rxonly",
            Self::Rx => "txonly",
            Self::Echo => "io",
            Self::Stack => "5tswap",
        }
    }
}

/// How the rings lie in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RingKind {
    /// Three parts.
    Split,
    /// One part.
    Packed,
}

impl RingKind {
    /// Both, in the table's order.
    pub(super) const ALL: [Self; 2] = [Self::Split, Self::Packed];

    /// The word in requests and files.
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Split => "split",
            Self::Packed => "packed",
        }
    }

    /// The kind with this word.
    pub(super) fn named(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|ring| ring.word() == word)
    }

    /// The heading for people.
    pub(super) fn title(self) -> &'static str {
        match self {
            Self::Split => "split ring",
            Self::Packed => "packed ring",
        }
    }
}

/// How far a run goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Amount {
    /// So many milliseconds, timed.
    Milliseconds(u64),
    /// So many packets, under callgrind.
    Packets(u64),
}

/// One run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Request {
    /// Who runs.
    pub(super) contender: String,
    /// What.
    pub(super) case: Case,
    /// Over which rings.
    pub(super) ring: RingKind,
    /// How far.
    pub(super) amount: Amount,
}

impl fmt::Display for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (amount, mode) = match self.amount {
            Amount::Milliseconds(ms) => (ms, "time"),
            Amount::Packets(packets) => (packets, "count"),
        };
        let (contender, case, ring) = (&self.contender, self.case.word(), self.ring.word());
        write!(f, "{contender} {case} {ring} {amount} {mode}")
    }
}

impl FromStr for Request {
    type Err = Error;

    fn from_str(line: &str) -> Result<Self> {
        let words: Vec<&str> = line.split_whitespace().collect();
        let [contender, case, ring, amount, mode] = words[..] else {
            bail!("five words are needed");
        };
        let amount = amount.parse().context("amount")?;
        Ok(Self {
            contender: contender.to_owned(),
            case: Case::named(case).context("case")?,
            ring: RingKind::named(ring).context("ring")?,
            amount: match mode {
                "time" => Amount::Milliseconds(amount),
                "count" => Amount::Packets(amount),
                _ => bail!("mode {mode}"),
            },
        })
    }
}

/// What a run came to.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Sample {
    /// Frames that the driver sent, received, or received to send back.
    pub(super) packets: u64,
    /// Wall time.
    pub(super) ns: f64,
    /// Time of the turns that moved something.
    pub(super) busy_ns: f64,
    /// Turns that moved something.
    pub(super) bursts: u64,
    /// Turns that did not.
    pub(super) idle: u64,
    /// Frames that went missing on the way round, or were not as sent.
    pub(super) lost: u64,
}

impl Sample {
    /// Millions of packets a second.
    pub(super) fn mpps(&self) -> f64 {
        self.packets as f64 / self.ns * 1000.0
    }

    /// Busy nanoseconds a packet.
    pub(super) fn busy(&self) -> f64 {
        self.busy_ns / self.packets as f64
    }

    /// Packets in a burst.
    pub(super) fn burst(&self) -> f64 {
        self.packets as f64 / self.bursts.max(1) as f64
    }
}

impl fmt::Display for Sample {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            packets,
            ns,
            busy_ns,
            bursts,
            idle,
            lost,
        } = self;
        write!(f, "{packets} {ns:.0} {busy_ns:.0} {bursts} {idle} {lost}")
    }
}

impl FromStr for Sample {
    type Err = Error;

    fn from_str(line: &str) -> Result<Self> {
        let words: Vec<&str> = line.split_whitespace().collect();
        let [packets, ns, busy_ns, bursts, idle, lost] = words[..] else {
            bail!("six numbers are needed, not {line:?}");
        };
        Ok(Self {
            packets: packets.parse()?,
            ns: ns.parse()?,
            busy_ns: busy_ns.parse()?,
            bursts: bursts.parse()?,
            idle: idle.parse()?,
            lost: lost.parse()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_survives_its_line() {
        let request = Request {
            contender: "ours".to_owned(),
            case: Case::Echo,
            ring: RingKind::Packed,
            amount: Amount::Packets(4096),
        };
        let line = request.to_string();
        assert_eq!(line, "ours echo packed 4096 count");
        assert_eq!(line.parse::<Request>().expect("as written"), request);
        assert!("ours echo packed many count".parse::<Request>().is_err());
    }

    #[test]
    fn a_sample_survives_its_line() {
        let sample: Sample = "3200 200000 100000 100 7 0".parse().expect("six numbers");
        assert_eq!(sample.to_string(), "3200 200000 100000 100 7 0");
        assert_eq!(
            (sample.mpps(), sample.busy(), sample.burst()),
            (16.0, 31.25, 32.0)
        );
        assert!("3200 200000".parse::<Sample>().is_err());
    }
}
