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
    Docker,
    Swarm,
    Kubernetes,
    Ecs,
    Exec,
    Webhook,
    WarmUp,
    Autoscaling,
    TargetTracking,
    CustomMetric,
    StepScaling,
    Step,
    Scheduled,
    Predictive,
}

impl Place {
    pub(super) const ALL: [Self; 39] = [
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
        Self::Docker,
        Self::Swarm,
        Self::Kubernetes,
        Self::Ecs,
        Self::Exec,
        Self::Webhook,
        Self::WarmUp,
        Self::Autoscaling,
        Self::TargetTracking,
        Self::CustomMetric,
        Self::StepScaling,
        Self::Step,
        Self::Scheduled,
        Self::Predictive,
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
            Self::TargetGroup => &["port", "targets", "algorithm", "hash", "health", "min_healthy", "fail_open", "upstream", "retry", "outlier", "max_concurrency", "queue", "slow_start", "deregistration_delay", "sticky", "replicas", "autoscaling"],
            Self::Target => &["address", "srv", "file", "weight"],
            Self::Hash => &["header", "cookie", "query", "path", "client_ip", "body", "load_factor"],
            Self::HashBody => &["limit", "field"],
            Self::Health => &["type", "path", "port", "host", "method", "interval", "timeout", "healthy", "unhealthy", "matcher", "body"],
            Self::Upstream => &["connect_timeout", "response_timeout", "body_timeout", "request_timeout", "tunnel_timeout", "idle_timeout", "max_idle"],
            Self::Retry => &["attempts", "status", "non_idempotent", "max_body", "budget", "min_concurrency"],
            Self::Outlier => &["consecutive_errors", "consecutive_gateway_errors", "error_ratio", "min_requests", "interval", "ejection", "max_ejection", "max_ejected"],
            Self::Queue => &["length", "timeout"],
            Self::Sticky => &["type", "name", "cookie", "duration", "when_full", "when_draining"],
            Self::Replicas => &["command", "count", "env", "directory", "stop_timeout", "docker", "swarm", "kubernetes", "ecs", "exec", "webhook", "cpus", "memory", "scaler", "warm_up"],
            Self::Docker => &["image", "network", "port", "command", "env", "volumes", "host", "stop_timeout"],
            Self::Swarm => &["service", "network", "port", "host"],
            Self::Kubernetes => &["deployment", "service", "namespace", "port", "api"],
            Self::Ecs => &["service", "cluster", "region", "port", "endpoint"],
            Self::Exec => &["list", "scale", "interval", "timeout"],
            Self::Webhook => &["url", "token", "token_file", "interval", "timeout"],
            Self::WarmUp => &["path", "requests", "timeout"],
            Self::Autoscaling => &["min", "max", "profile", "period", "out_periods", "in_periods", "out_above", "in_below", "out_cooldown", "in_cooldown", "warm_up", "scale_in", "target_tracking", "step_scaling", "schedule", "predictive", "record"],
            Self::TargetTracking => &["metric", "target", "scale_in"],
            Self::CustomMetric => &["name", "labels", "path", "port", "rate"],
            Self::StepScaling => &["metric", "comparison", "threshold", "steps", "adjustment", "min_magnitude", "periods", "period", "cooldown"],
            Self::Step => &["lower", "upper", "by"],
            Self::Scheduled => &["cron", "at", "rate", "timezone", "min", "max"],
            Self::Predictive => &["metric", "target", "mode", "buffer", "history"],
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
            Self::Docker => "target_group.*.replicas.docker",
            Self::Swarm => "target_group.*.replicas.swarm",
            Self::Kubernetes => "target_group.*.replicas.kubernetes",
            Self::Ecs => "target_group.*.replicas.ecs",
            Self::Exec => "target_group.*.replicas.exec",
            Self::Webhook => "target_group.*.replicas.webhook",
            Self::WarmUp => "target_group.*.replicas.warm_up",
            Self::Autoscaling => "target_group.*.autoscaling",
            Self::TargetTracking => "target_group.*.autoscaling.target_tracking",
            Self::CustomMetric => "target_group.*.autoscaling.target_tracking.metric",
            Self::StepScaling => "target_group.*.autoscaling.step_scaling",
            Self::Step => "target_group.*.autoscaling.step_scaling.steps",
            Self::Scheduled => "target_group.*.autoscaling.schedule",
            Self::Predictive => "target_group.*.autoscaling.predictive",
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
            | Self::Replicas
            | Self::Autoscaling => Some(Self::TargetGroup),
            Self::Docker
            | Self::Swarm
            | Self::Kubernetes
            | Self::Ecs
            | Self::Exec
            | Self::Webhook
            | Self::WarmUp => Some(Self::Replicas),
            Self::TargetTracking | Self::StepScaling | Self::Scheduled | Self::Predictive => {
                Some(Self::Autoscaling)
            }
            Self::CustomMetric => Some(Self::TargetTracking),
            Self::Step => Some(Self::StepScaling),
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
            Self::TargetTracking => "an entry of `target_tracking`".to_owned(),
            Self::CustomMetric => "a `metric` of the replicas' own".to_owned(),
            Self::StepScaling => "an entry of `step_scaling`".to_owned(),
            Self::Step => "an entry of `steps`".to_owned(),
            Self::Scheduled => "an entry of `schedule`".to_owned(),
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
            | Self::Replicas
            | Self::Docker
            | Self::Swarm
            | Self::Kubernetes
            | Self::Ecs
            | Self::Exec
            | Self::Webhook
            | Self::WarmUp
            | Self::Autoscaling
            | Self::Predictive => {
                format!("[{}]", self.path().replace('*', group.unwrap_or("NAME")))
            }
        }
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
