//! Which exchanges the access log holds, and in which form.

/// Which exchanges are logged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AccessLog {
    /// None.
    Off,
    /// Those without a complete response of a target. Of many with one reason in one group some
    /// are written and the others counted.
    Failures,
    /// All.
    All,
}

/// The form of a line of the access log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AccessFormat {
    /// Text with `name=value` fields.
    Pretty,
    /// One JSON object a line.
    Json,
    /// That of AWS's Application Load Balancer.
    Alb,
    /// The Combined Log Format of web servers.
    Combined,
    /// The Common Log Format of web servers.
    Common,
}

impl AccessFormat {
    /// All of them.
    pub const ALL: [Self; 5] = [
        Self::Pretty,
        Self::Json,
        Self::Alb,
        Self::Combined,
        Self::Common,
    ];

    /// The word for it in the configuration.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Pretty => "pretty",
            Self::Json => "json",
            Self::Alb => "alb",
            Self::Combined => "combined",
            Self::Common => "common",
        }
    }

    /// Whether its lines always have a place for the user agent.
    pub const fn has_agent(self) -> bool {
        matches!(self, Self::Alb | Self::Combined)
    }
}

/// A share of many, chosen by hashes: what has one hash is in it everywhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Share {
    /// Hashes of 32 bits below it are in the share.
    limit: u64,
}

impl Share {
    /// All of them.
    pub const ALL: Self = Self { limit: 1 << 32 };

    /// The share of so many of one; beyond both ends none or all.
    pub fn of_one(share: f64) -> Self {
        let limit = (share.clamp(0.0, 1.0) * Self::ALL.limit as f64).round();
        Self {
            limit: limit as u64,
        }
    }

    /// Whether it is all of them.
    #[inline]
    pub fn is_all(self) -> bool {
        self == Self::ALL
    }

    /// Whether it has this hash.
    pub fn has(self, hash: u32) -> bool {
        u64::from(hash) < self.limit
    }
}

/// What the access log holds of the exchanges of a listener, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AccessPolicy {
    /// Which exchanges.
    pub logged: AccessLog,
    /// The form of their lines; `None` for that of the log of the process.
    pub format: Option<AccessFormat>,
    /// Whether the lines have the user agent and the page that has led to the request.
    pub agent: bool,
    /// Which of the successes.
    pub successes: Share,
}

impl AccessPolicy {
    /// For a record of no listener.
    pub const FAILURES: Self = Self {
        logged: AccessLog::Failures,
        format: None,
        agent: false,
        successes: Share::ALL,
    };
}
