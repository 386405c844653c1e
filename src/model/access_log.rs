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

/// What the access log holds of the exchanges of a listener, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AccessPolicy {
    /// Which exchanges.
    pub logged: AccessLog,
    /// The form of their lines; `None` for that of the log of the process.
    pub format: Option<AccessFormat>,
    /// Whether the lines have the user agent and the page that has led to the request.
    pub agent: bool,
}

impl AccessPolicy {
    /// For a record of no listener.
    pub const FAILURES: Self = Self {
        logged: AccessLog::Failures,
        format: None,
        agent: false,
    };
}
