//! What the files deploy, in Weir's words: between Terraform and the text of a `weir.toml`.

use ipnet::IpNet;

/// All of it.
#[derive(Debug, Default)]
pub(super) struct Plan {
    pub(super) listeners: Vec<Listener>,
    pub(super) groups: Vec<Group>,
}

#[derive(Debug)]
pub(super) struct Listener {
    pub(super) origin: String,
    pub(super) address: String,
    pub(super) name: String,
    pub(super) port: u16,
    /// Where it listens instead, because another one has its port.
    pub(super) other_port: Option<u16>,
    pub(super) access: Access,
    /// Seconds without a byte.
    pub(super) idle_timeout: Option<u32>,
    pub(super) default: Action,
    pub(super) rules: Vec<Rule>,
}

/// Who reaches a port, by the security groups.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Access {
    /// Every IPv4 address.
    Everybody,
    /// Every IPv6 address, and no IPv4 address.
    EverybodyV6,
    /// Clients of these networks; not empty.
    Only(Vec<IpNet>),
    /// The files do not tell, or nobody.
    Unknown,
}

impl Access {
    /// Whether it needs a socket for IPv6; a socket of Weir's is for one of both.
    pub(super) fn is_v6(&self) -> bool {
        match self {
            Self::EverybodyV6 => true,
            Self::Only(networks) => networks.iter().all(|network| network.addr().is_ipv6()),
            Self::Everybody | Self::Unknown => false,
        }
    }
}

#[derive(Clone, Debug)]
pub(super) struct Rule {
    pub(super) origin: String,
    pub(super) priority: u32,
    pub(super) when: Conditions,
    pub(super) action: Action,
}

/// All that are there must hold, each with one of its values.
#[derive(Clone, Debug, Default)]
pub(super) struct Conditions {
    pub(super) host: Vec<String>,
    pub(super) path: Vec<String>,
    pub(super) method: Vec<String>,
    pub(super) headers: Vec<(String, Vec<String>)>,
    pub(super) query: Query,
    pub(super) source_ip: Vec<IpNet>,
}

#[derive(Clone, Debug, Default)]
pub(super) enum Query {
    #[default]
    Any,
    /// One of `name=value` or `value`.
    OneOf(Vec<String>),
    /// All names, each with one of its values.
    All(Vec<(String, Vec<String>)>),
}

#[derive(Clone, Debug)]
pub(super) enum Action {
    Forward {
        /// Groups with weights; not empty.
        groups: Vec<(String, u32)>,
        /// Seconds.
        sticky: Option<u32>,
    },
    /// Keys and values.
    Redirect(Vec<(&'static str, String)>),
    FixedResponse {
        status: u32,
        content_type: Option<String>,
        body: Option<String>,
    },
}

impl Listener {
    /// Where it listens unless its variable says otherwise.
    pub(super) fn own_port(&self) -> u16 {
        self.other_port.unwrap_or(self.port)
    }

    /// One that answers with 503 what no rule takes, where only this machine reaches it.
    pub(super) fn closed(address: &str, name: String, port: u16) -> Self {
        Self {
            origin: format!("{address}, which is not in these files"),
            address: address.to_owned(),
            name,
            port,
            other_port: None,
            access: Access::Unknown,
            idle_timeout: None,
            default: Action::refuse(503),
            rules: Vec::new(),
        }
    }
}

impl Action {
    pub(super) fn refuse(status: u32) -> Self {
        Self::FixedResponse {
            status,
            content_type: None,
            body: None,
        }
    }
}

#[derive(Debug)]
pub(super) struct Group {
    pub(super) origin: String,
    pub(super) address: String,
    pub(super) name: String,
    pub(super) port: Option<u16>,
    pub(super) algorithm: &'static str,
    pub(super) health: Option<Health>,
    /// Seconds.
    pub(super) deregistration_delay: u32,
    /// Seconds; 0 is off.
    pub(super) slow_start: u32,
    /// A count, or a share with its percent sign.
    pub(super) min_healthy: Option<String>,
    pub(super) sticky: Option<Sticky>,
    /// Addresses that are attached by hand.
    pub(super) targets: Vec<String>,
    /// Names of what has addresses that are not known here.
    pub(super) placeholders: Vec<String>,
    /// Seconds without a byte, of the load balancer before it.
    pub(super) idle_timeout: Option<u32>,
    pub(super) service: Option<Service>,
}

/// Times in seconds.
#[derive(Debug)]
pub(super) struct Health {
    pub(super) tcp: bool,
    pub(super) path: String,
    pub(super) port: Option<u16>,
    pub(super) interval: u32,
    pub(super) timeout: u32,
    pub(super) healthy: u32,
    pub(super) unhealthy: u32,
    pub(super) matcher: String,
}

#[derive(Debug)]
pub(super) struct Sticky {
    /// The application's cookie, or else the load balancer's own.
    pub(super) cookie: Option<String>,
    /// Seconds.
    pub(super) duration: u32,
}

/// What runs behind a group.
#[derive(Debug)]
pub(super) struct Service {
    pub(super) origin: String,
    pub(super) address: String,
    /// The block's name in Terraform.
    pub(super) label: String,
    /// The service's name in ECS.
    pub(super) name: String,
    /// The same with what is not known of it.
    pub(super) written: String,
    pub(super) cluster: Option<String>,
    pub(super) count: Option<u32>,
    pub(super) port: Option<u16>,
    pub(super) container: Container,
    pub(super) scaling: Option<Scaling>,
}

#[derive(Debug, Default)]
pub(super) struct Container {
    pub(super) name: String,
    pub(super) image: Option<String>,
    pub(super) command: Vec<String>,
    pub(super) env: Vec<(String, String)>,
    /// Cores.
    pub(super) cpus: Option<f64>,
    /// MiB.
    pub(super) memory: Option<u32>,
}

#[derive(Debug, Default)]
pub(super) struct Scaling {
    pub(super) origin: String,
    pub(super) min: u32,
    pub(super) max: u32,
    /// Whether a policy asks for datapoints of 20 s.
    pub(super) high_resolution: bool,
    pub(super) tracking: Vec<Tracking>,
    pub(super) steps: Vec<Steps>,
    pub(super) schedule: Vec<Scheduled>,
    /// Seconds, the longest of all policies.
    pub(super) out_cooldown: Option<u32>,
    pub(super) in_cooldown: Option<u32>,
}

impl Scaling {
    /// The most that there can be at any time.
    pub(super) fn most(&self) -> u32 {
        let scheduled = self.schedule.iter().filter_map(|action| action.max);
        scheduled.fold(self.max, u32::max)
    }
}

#[derive(Debug)]
pub(super) struct Tracking {
    pub(super) origin: String,
    pub(super) metric: &'static str,
    pub(super) target: f64,
    pub(super) scale_in: bool,
}

#[derive(Debug)]
pub(super) struct Steps {
    pub(super) origin: String,
    pub(super) metric: &'static str,
    pub(super) comparison: &'static str,
    pub(super) threshold: f64,
    pub(super) periods: u32,
    /// Seconds.
    pub(super) period: u32,
    pub(super) adjustment: &'static str,
    /// Bounds relative to the threshold, and what to do.
    pub(super) list: Vec<(Option<f64>, Option<f64>, i64)>,
    pub(super) min_magnitude: Option<u32>,
    /// Seconds.
    pub(super) cooldown: u32,
}

#[derive(Debug)]
pub(super) struct Scheduled {
    pub(super) origin: String,
    pub(super) when: When,
    pub(super) min: Option<u32>,
    pub(super) max: Option<u32>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum When {
    /// Five fields and the name of a time zone.
    Cron(String, String),
    /// RFC 3339, UTC.
    At(String),
    /// Minutes.
    Rate(u32),
}
