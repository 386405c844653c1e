//! The deployment in Weir's terms: between Terraform and the text of a `weir.toml`.

use ipnet::IpNet;

/// Application Auto Scaling's cooldown of ECS services if a policy sets none, seconds.
pub(super) const DEFAULT_COOLDOWN: u32 = 300;

/// Longest period or cooldown, seconds.
pub(super) const DAY: u32 = 86_400;

/// All listeners and groups.
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
    /// Its port in Weir if another listener has `port` already.
    pub(super) other_port: Option<u16>,
    pub(super) access: Access,
    /// Whether it looks at no byte of a connection.
    pub(super) is_tcp: bool,
    /// The TLS that it ends in AWS, if it does.
    pub(super) tls: Option<Tls>,
    /// Idle timeout, seconds.
    pub(super) idle_timeout: Option<u32>,
    pub(super) default: Action,
    pub(super) rules: Vec<Rule>,
}

/// How a listener ends TLS.
#[derive(Debug)]
pub(super) struct Tls {
    /// Names for the files of its certificates, the default first.
    pub(super) certificates: Vec<String>,
    /// `1.3` if it takes no older version.
    pub(super) min_version: Option<&'static str>,
    pub(super) without_http2: bool,
}

/// The clients that may reach a port, by the security groups.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Access {
    /// Every IPv4 address.
    All,
    /// Every IPv6 address, and no IPv4 address.
    AllIpv6,
    /// Clients of these networks; not empty.
    Only(Vec<IpNet>),
    /// No client, or the files do not tell.
    Unknown,
}

impl Access {
    /// Whether it needs a socket for IPv6; a socket of Weir is for IPv4 or IPv6.
    pub(super) fn is_v6(&self) -> bool {
        match self {
            Self::AllIpv6 => true,
            Self::Only(networks) => networks.iter().all(|network| network.addr().is_ipv6()),
            Self::All | Self::Unknown => false,
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

/// All conditions must hold, each with one of its values.
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
    /// The port of its default address.
    pub(super) fn own_port(&self) -> u16 {
        self.other_port.unwrap_or(self.port)
    }

    /// A listener for this machine alone that answers 503 unless a rule matches.
    pub(super) fn closed(address: &str, name: String, port: u16) -> Self {
        Self {
            origin: format!("{address}, which is not in these files"),
            address: address.to_owned(),
            name,
            port,
            other_port: None,
            access: Access::Unknown,
            is_tcp: false,
            tls: None,
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
    /// What its targets speak, unless that is HTTP/1.1.
    pub(super) protocol: Option<&'static str>,
    /// Whether they are spoken to in TLS.
    pub(super) is_encrypted: bool,
    /// Whether they are told the address of the client by the PROXY protocol.
    pub(super) has_proxy_header: bool,
    pub(super) algorithm: &'static str,
    pub(super) health: Option<Health>,
    /// Seconds.
    pub(super) deregistration_delay: u32,
    /// Seconds; 0 is off.
    pub(super) slow_start: u32,
    /// A count, or a share with its percent sign.
    pub(super) min_healthy: Option<String>,
    pub(super) sticky: Option<Sticky>,
    /// Addresses of attached targets.
    pub(super) targets: Vec<String>,
    /// Names of targets with unknown addresses.
    pub(super) placeholders: Vec<String>,
    /// Idle timeout of its load balancer, seconds.
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

/// The ECS service of a group.
#[derive(Debug)]
pub(super) struct Service {
    pub(super) origin: String,
    pub(super) address: String,
    /// The block's name in Terraform.
    pub(super) label: String,
    /// The service's name in ECS.
    pub(super) name: String,
    /// The same, with marks for unknown parts.
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
    /// Whether a policy uses datapoints of 20 s.
    pub(super) high_resolution: bool,
    pub(super) tracking: Vec<Tracking>,
    pub(super) steps: Vec<Steps>,
    pub(super) schedule: Vec<Scheduled>,
    /// Seconds, the longest of all policies.
    pub(super) out_cooldown: Option<u32>,
    pub(super) in_cooldown: Option<u32>,
}

impl Scaling {
    /// The largest upper bound at any time.
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
    pub(super) list: Vec<Step>,
    pub(super) min_magnitude: Option<u32>,
    /// Seconds.
    pub(super) cooldown: u32,
}

/// A step of a policy, with bounds relative to the threshold.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Step {
    pub(super) lower: Option<f64>,
    pub(super) upper: Option<f64>,
    pub(super) by: i64,
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
