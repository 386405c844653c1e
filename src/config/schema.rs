//! Which keys stand where: the map of the file.
//!
//! The readers in [`super::read`] ask for keys by name; [`super::section`] checks
//! in debug builds that each of them is listed here, and refuses all others with a
//! suggestion drawn from this table.

/// A table of the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    File,
    Shutdown,
    Admin,
    Listener,
    Client,
    Forwarded,
    RateLimit,
    RateKey,
    Rule,
    When,
    Then,
    WeightedGroup,
    Redirect,
    FixedResponse,
    TargetGroup,
    Target,
    Hash,
    HashBody,
    Health,
    Upstream,
    Retry,
    Outlier,
    Queue,
    Sticky,
    Replicas,
}

impl Place {
    pub(super) const ALL: [Self; 25] = [
        Self::File,
        Self::Shutdown,
        Self::Admin,
        Self::Listener,
        Self::Client,
        Self::Forwarded,
        Self::Rule,
        Self::When,
        Self::Then,
        Self::WeightedGroup,
        Self::Redirect,
        Self::FixedResponse,
        Self::RateLimit,
        Self::RateKey,
        Self::TargetGroup,
        Self::Target,
        Self::Hash,
        Self::HashBody,
        Self::Health,
        Self::Upstream,
        Self::Retry,
        Self::Outlier,
        Self::Queue,
        Self::Sticky,
        Self::Replicas,
    ];

    /// The keys of this table, in the order they are documented.
    #[rustfmt::skip] // one line per table is the map
    pub(super) const fn keys(self) -> &'static [&'static str] {
        match self {
            Self::File => &["workers", "access_log", "shutdown", "admin", "cookie_key", "cookie_key_file", "upgrade_socket", "listener", "target_group"],
            Self::Shutdown => &["lame_duck", "drain"],
            Self::Admin => &["bind", "token", "token_file"],
            Self::Listener => &["name", "bind", "forward", "redirect", "fixed_response", "group_sticky", "max_connections", "rate_limit", "client", "forwarded", "rule"],
            Self::Client => &["head_timeout", "idle_timeout", "body_timeout", "max_head", "max_fields", "max_body", "max_requests"],
            Self::Forwarded => &["mode", "trusted_proxies"],
            Self::RateLimit => &["key", "requests", "per", "burst"],
            Self::RateKey => &["header"],
            Self::Rule => &["priority", "when", "then"],
            Self::When => &["host", "path", "path_regex", "method", "header", "query", "source_ip"],
            Self::Then => &["forward", "redirect", "fixed_response", "group_sticky"],
            Self::WeightedGroup => &["group", "weight"],
            Self::Redirect => &["protocol", "host", "port", "path", "query", "status"],
            Self::FixedResponse => &["status", "content_type", "body"],
            Self::TargetGroup => &["port", "targets", "algorithm", "hash", "health", "min_healthy", "fail_open", "upstream", "retry", "outlier", "max_concurrency", "queue", "slow_start", "deregistration_delay", "sticky", "replicas"],
            Self::Target => &["address", "weight"],
            Self::Hash => &["header", "cookie", "query", "path", "client_ip", "body", "load_factor"],
            Self::HashBody => &["limit", "field"],
            Self::Health => &["type", "path", "port", "host", "method", "interval", "timeout", "healthy", "unhealthy", "matcher", "body"],
            Self::Upstream => &["connect_timeout", "response_timeout", "body_timeout", "request_timeout", "tunnel_timeout", "idle_timeout", "max_idle"],
            Self::Retry => &["attempts", "status", "non_idempotent", "max_body", "budget", "min_concurrency"],
            Self::Outlier => &["consecutive_errors", "consecutive_gateway_errors", "error_ratio", "min_requests", "interval", "ejection", "max_ejection", "max_ejected"],
            Self::Queue => &["length", "timeout"],
            Self::Sticky => &["type", "name", "cookie", "duration", "when_full", "when_draining"],
            Self::Replicas => &["command", "count", "env", "directory", "stop_timeout"],
        }
    }

    /// The dotted path from the top of the file; `*` is any name.
    pub(super) const fn path(self) -> &'static str {
        match self {
            Self::File => "",
            Self::Shutdown => "shutdown",
            Self::Admin => "admin",
            Self::Listener => "listener",
            Self::Client => "listener.client",
            Self::Forwarded => "listener.forwarded",
            Self::RateLimit => "listener.rate_limit",
            Self::RateKey => "listener.rate_limit.key",
            Self::Rule => "listener.rule",
            Self::When => "listener.rule.when",
            Self::Then => "listener.rule.then",
            Self::WeightedGroup => "listener.forward",
            Self::Redirect => "listener.redirect",
            Self::FixedResponse => "listener.fixed_response",
            Self::TargetGroup => "target_group.*",
            Self::Target => "target_group.*.targets",
            Self::Hash => "target_group.*.hash",
            Self::HashBody => "target_group.*.hash.body",
            Self::Health => "target_group.*.health",
            Self::Upstream => "target_group.*.upstream",
            Self::Retry => "target_group.*.retry",
            Self::Outlier => "target_group.*.outlier",
            Self::Queue => "target_group.*.queue",
            Self::Sticky => "target_group.*.sticky",
            Self::Replicas => "target_group.*.replicas",
        }
    }

    /// The table this one stands in, most often.
    pub(super) const fn parent(self) -> Option<Self> {
        match self {
            Self::File => None,
            Self::Shutdown | Self::Admin | Self::Listener | Self::TargetGroup => Some(Self::File),
            Self::Client
            | Self::Forwarded
            | Self::RateLimit
            | Self::Rule
            | Self::WeightedGroup
            | Self::Redirect
            | Self::FixedResponse => Some(Self::Listener),
            Self::When | Self::Then => Some(Self::Rule),
            Self::Target
            | Self::Hash
            | Self::Health
            | Self::Upstream
            | Self::Retry
            | Self::Outlier
            | Self::Queue
            | Self::Sticky
            | Self::Replicas => Some(Self::TargetGroup),
            Self::HashBody => Some(Self::Hash),
            Self::RateKey => Some(Self::RateLimit),
        }
    }

    /// How people find it; `group` is the group they are in.
    pub(super) fn heading(self, group: Option<&str>) -> String {
        match self {
            Self::File => "the top level of the file".to_owned(),
            Self::Listener => "[[listener]]".to_owned(),
            Self::Rule => "[[listener.rule]]".to_owned(),
            Self::WeightedGroup => "an entry of `forward`".to_owned(),
            Self::Redirect => "`redirect`".to_owned(),
            Self::FixedResponse => "`fixed_response`".to_owned(),
            Self::Target => "an entry of `targets`".to_owned(),
            Self::HashBody => "`body` of `hash`".to_owned(),
            Self::RateKey => "`key` of `rate_limit`".to_owned(),
            Self::When | Self::Then => {
                format!(
                    "`{}` of a rule",
                    if self == Self::When { "when" } else { "then" }
                )
            }
            Self::Shutdown
            | Self::Admin
            | Self::Client
            | Self::Forwarded
            | Self::RateLimit
            | Self::TargetGroup
            | Self::Hash
            | Self::Health
            | Self::Upstream
            | Self::Retry
            | Self::Outlier
            | Self::Queue
            | Self::Sticky
            | Self::Replicas => {
                format!("[{}]", self.path().replace('*', group.unwrap_or("NAME")))
            }
        }
    }

    /// The key that people who know another proxy look for under this name.
    pub(super) fn synonym(self, word: &str) -> Option<&'static str> {
        let key = match (self, word) {
            (Self::File, "server" | "servers" | "frontend" | "entrypoint" | "listen") => "listener",
            (
                Self::File,
                "backend" | "backends" | "cluster" | "clusters" | "service" | "services" | "pool"
                | "upstream" | "upstreams",
            ) => "target_group",
            (Self::File, "threads") => "workers",
            (Self::File, "cookie_secret" | "session_key" | "secret_key") => "cookie_key",
            (Self::File, "upgrade" | "handover_socket") => "upgrade_socket",
            (Self::Admin, "password" | "secret" | "bearer" | "auth") => "token",
            (Self::Listener | Self::Admin, "listen" | "address" | "addr" | "port") => "bind",
            (Self::Listener, "proxy_pass" | "default" | "backend" | "target_group") => "forward",
            (Self::Listener, "limit_req" | "ratelimit" | "throttle") => "rate_limit",
            (Self::Listener | Self::Then, "stickiness" | "session") => "group_sticky",
            (Self::Client, "keepalive_requests" | "max_keepalive_requests") => "max_requests",
            (Self::RateLimit, "rate" | "limit" | "average") => "requests",
            (Self::RateLimit, "period" | "interval" | "window") => "per",
            (Self::RateLimit, "by" | "source") => "key",
            (Self::Rule, "match" | "condition" | "conditions" | "if") => "when",
            (Self::Rule, "action" | "actions" | "do") => "then",
            (Self::WeightedGroup, "name" | "target_group") => "group",
            (Self::When, "headers") => "header",
            (Self::When, "ip" | "remote_ip" | "client_ip") => "source_ip",
            (Self::When, "path_prefix" | "uri" | "url") => "path",
            (Self::Redirect | Self::FixedResponse, "code" | "status_code") => "status",
            (Self::Redirect, "scheme") => "protocol",
            (Self::FixedResponse, "message_body" | "message") => "body",
            _ => return self.synonym_in_group(word),
        };
        Some(key)
    }

    /// The same for the tables of a target group.
    fn synonym_in_group(self, word: &str) -> Option<&'static str> {
        let key = match (self, word) {
            (Self::TargetGroup, "servers" | "members" | "endpoints" | "backends" | "hosts") => {
                "targets"
            }
            (Self::TargetGroup, "policy" | "lb_policy" | "balance" | "strategy") => "algorithm",
            (Self::TargetGroup, "retries" | "retry_policy" | "redispatch") => "retry",
            (Self::TargetGroup, "outlier_detection" | "passive" | "passive_health") => "outlier",
            (Self::TargetGroup, "maxconn" | "max_conns" | "max_connections" | "max_requests") => {
                "max_concurrency"
            }
            (Self::TargetGroup, "backlog" | "max_pending_requests" | "maxqueue") => "queue",
            (Self::TargetGroup, "slowstart" | "warmup" | "ramp_up") => "slow_start",
            (Self::TargetGroup, "drain" | "drain_timeout" | "drain_delay") => {
                "deregistration_delay"
            }
            (Self::TargetGroup, "stickiness" | "session" | "sessions" | "affinity") => "sticky",
            (Self::Target, "url" | "host" | "addr" | "ip") => "address",
            (Self::Health, "uri" | "url") => "path",
            (Self::Health, "protocol") => "type",
            (Self::Health, "fall" | "fails" | "failures") => "unhealthy",
            (Self::Health, "rise" | "passes") => "healthy",
            (Self::Health, "status" | "codes" | "expect" | "success_codes") => "matcher",
            (Self::Retry, "tries" | "max_attempts") => "attempts",
            (Self::Retry, "on" | "retry_on" | "statuses" | "codes") => "status",
            (Self::Outlier, "consecutive_5xx") => "consecutive_errors",
            (Self::Outlier, "base_ejection_time" | "ejection_time") => "ejection",
            (Self::Outlier, "max_ejection_percent") => "max_ejected",
            (Self::Queue, "size" | "max" | "depth") => "length",
            (Self::Queue, "max_wait" | "wait") => "timeout",
            (Self::Sticky, "ttl" | "max_age" | "lifetime" | "timeout") => "duration",
            (Self::Replicas, "min" | "number" | "replicas") => "count",
            (Self::Replicas, "cmd" | "exec" | "args") => "command",
            (Self::Replicas, "cwd" | "workdir" | "working_directory") => "directory",
            _ => return None,
        };
        Some(key)
    }
}

/// Every key of a configuration file as a dotted path; `*` stands for a name of the
/// operator's choice. Tests use it to prove that each is documented and checked.
pub fn keys() -> Vec<String> {
    let mut keys = Vec::new();
    for place in Place::ALL {
        for key in place.keys() {
            let dot = if place.path().is_empty() { "" } else { "." };
            keys.push(format!("{}{dot}{key}", place.path()));
        }
    }
    keys
}

/// Whether some table has such a key.
pub(super) fn is_key(name: &str) -> bool {
    Place::ALL.iter().any(|place| place.keys().contains(&name))
}
