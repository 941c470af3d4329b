//! The set of services that the command line chooses (`services=`).
#![forbid(unsafe_code)]

/// One service by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Service {
    /// Echo replies to ICMP and ICMPv6 echo requests.
    Icmp,
    /// Port 7, UDP and TCP (RFC 862).
    Echo,
    /// Port 9, UDP and TCP (RFC 863).
    Discard,
    /// Port 11, UDP: one line of counters.
    Stats,
    /// Port 19, UDP and TCP (after RFC 864).
    Chargen,
    /// Port 80, TCP: status page and metrics.
    Http,
}

impl Service {
    const ALL: [(&'static str, Self); 6] = [
        ("icmp", Self::Icmp),
        ("echo", Self::Echo),
        ("discard", Self::Discard),
        ("stats", Self::Stats),
        ("chargen", Self::Chargen),
        ("http", Self::Http),
    ];
}

/// Which services run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ServiceSet(u8);

impl Default for ServiceSet {
    /// Echo and character source can be abused on a real network: they run only when asked for.
    fn default() -> Self {
        Self::NONE.with(Service::Icmp).with(Service::Http)
    }
}

impl ServiceSet {
    /// No service.
    pub const NONE: Self = Self(0);
    /// Every service.
    pub const ALL: Self = Self(((1_u16 << Service::ALL.len()) - 1) as u8);

    /// This set and `service`.
    pub const fn with(self, service: Service) -> Self {
        Self(self.0 | 1 << service as u8)
    }

    /// Whether `service` runs.
    pub const fn has(self, service: Service) -> bool {
        self.0 & 1 << service as u8 != 0
    }

    /// `all`, `none`, or names separated by commas.
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "all" => Some(Self::ALL),
            "none" => Some(Self::NONE),
            _ => text.split(',').try_fold(Self::NONE, |set, name| {
                let (_, service) = Service::ALL.iter().find(|(known, _)| *known == name)?;
                Some(set.with(*service))
            }),
        }
    }

    /// The names of the services that run.
    pub fn names(self) -> impl Iterator<Item = &'static str> {
        Service::ALL
            .iter()
            .filter(move |(_, s)| self.has(*s))
            .map(|(name, _)| *name)
    }
}
