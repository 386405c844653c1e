//! The values of tables that the file does not have, made of the defaults of their keys.
//!
//! Where ALB has the same setting, the value is ALB's unless [`keys`] gives a reason.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::num::NonZeroU32;
use std::time::Duration;

use http::{HeaderName, HeaderValue, StatusCode};

use super::keys;
use super::types::{
    AccessLog, ClientLimits, Config, FailOpen, Forwarded, ForwardedMode, MinHealthy, Outlier,
    Overload, Retry, Shutdown, TargetGroup, TraceContext, UpstreamLimits,
};
use crate::model::{Algorithm, ForwardedFormat, HashPolicy, TargetGroupId, TargetProtocol};

/// The phases of a shutdown without `shutdown`.
pub const SHUTDOWN: Shutdown = Shutdown {
    lame_duck: keys::SHUTDOWN.duration("lame_duck"),
    drain: keys::SHUTDOWN.duration("drain"),
};

/// Default of `admin.bind`.
pub const ADMIN_BIND: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 9090);

/// The limits of a listener without `client`.
pub const CLIENT: ClientLimits = ClientLimits {
    head_timeout: keys::CLIENT.duration("head_timeout"),
    idle_timeout: keys::CLIENT.duration("idle_timeout"),
    body_timeout: keys::CLIENT.duration("body_timeout"),
    max_head: keys::CLIENT.size("max_head") as usize,
    max_fields: keys::CLIENT.count("max_fields") as usize,
    max_body: None,
    max_requests: None,
    abort_on_close: keys::CLIENT.flag("abort_on_close"),
    body_min_rate: NonZeroU32::new(keys::CLIENT.count("body_min_rate") as u32),
};

/// The limits of a listener of protocol `tcp` without `client`. Databases and brokers are silent for
/// long, and Envoy's default is the same.
pub const TCP_CLIENT: ClientLimits = ClientLimits {
    idle_timeout: Duration::from_secs(60 * 60),
    ..CLIENT
};

/// Default of `listener.forwarded.mode`.
pub const FORWARDED_MODE: ForwardedMode = ForwardedMode::Append;

/// Default of `listener.forwarded.identity_headers`.
pub const IDENTITY_HEADERS: [HeaderName; 7] = [
    HeaderName::from_static("true-client-ip"),
    HeaderName::from_static("x-client-ip"),
    HeaderName::from_static("x-forwarded-ssl"),
    HeaderName::from_static("x-forwarded-scheme"),
    HeaderName::from_static("x-forwarded-prefix"),
    HeaderName::from_static("x-original-url"),
    HeaderName::from_static("x-rewrite-url"),
];

/// Default of `redirect.status`.
pub const REDIRECT_STATUS: StatusCode = StatusCode::FOUND;

/// Default of `fixed_response.content_type`.
pub const CONTENT_TYPE: HeaderValue =
    HeaderValue::from_static(keys::FIXED_RESPONSE.text("content_type"));

/// Default of `weight` of a target or of a group in a `forward`.
pub const WEIGHT: u16 = keys::TARGET.count("weight") as u16;

/// Default of `health.matcher`: the first and the last status of the range.
pub const HEALTH_MATCHER: (u16, u16) = (200, 200);

/// Defaults of `min_healthy` and `fail_open`.
pub const FAIL_OPEN: FailOpen = FailOpen {
    min_healthy: MinHealthy::Count(keys::TARGET_GROUP.count("min_healthy") as u32),
    enabled: keys::TARGET_GROUP.flag("fail_open"),
};

const MAX_STREAMS: NonZeroU32 =
    NonZeroU32::new(keys::UPSTREAM.count("max_streams") as u32).expect("the table has one");

/// The deadlines and pools of a group without `upstream`.
pub const UPSTREAM: UpstreamLimits = UpstreamLimits {
    protocol: TargetProtocol::Http1,
    max_streams: MAX_STREAMS,
    connect_timeout: keys::UPSTREAM.duration("connect_timeout"),
    response_timeout: keys::UPSTREAM.duration("response_timeout"),
    body_timeout: keys::UPSTREAM.duration("body_timeout"),
    request_timeout: None,
    tunnel_timeout: keys::UPSTREAM.duration("tunnel_timeout"),
    idle_timeout: None,
    max_idle: keys::UPSTREAM.count("max_idle") as usize,
    max_head: keys::UPSTREAM.size("max_head") as usize,
    max_fields: keys::UPSTREAM.count("max_fields") as usize,
    body_min_rate: NonZeroU32::new(keys::UPSTREAM.count("body_min_rate") as u32),
    proxy_protocol: None,
};

/// The retries of a group without `retry`.
pub const RETRY: Retry = Retry {
    attempts: keys::RETRY.count("attempts") as u32,
    statuses: Vec::new(),
    non_idempotent: keys::RETRY.flag("non_idempotent"),
    max_body: keys::RETRY.size("max_body") as usize,
    budget: keys::RETRY.percent("budget"),
    min_concurrency: keys::RETRY.count("min_concurrency") as u32,
};

/// The outlier detection of a group without `outlier`.
pub const OUTLIER: Outlier = Outlier {
    consecutive_errors: Some(keys::OUTLIER.count("consecutive_errors") as u32),
    consecutive_gateway_errors: Some(keys::OUTLIER.count("consecutive_gateway_errors") as u32),
    error_ratio: Some(keys::OUTLIER.percent("error_ratio")),
    min_requests: keys::OUTLIER.count("min_requests") as u32,
    interval: keys::OUTLIER.duration("interval"),
    ejection: keys::OUTLIER.duration("ejection"),
    max_ejection: keys::OUTLIER.duration("max_ejection"),
    max_ejected: keys::OUTLIER.percent("max_ejected"),
};

/// The limits of a group without `max_concurrency` and `queue`: none, so that no request waits.
/// With a limit and no `queue`, what is beyond it fails at once.
pub const OVERLOAD: Overload = Overload {
    max_concurrency: None,
    queue_length: 0,
    queue_timeout: keys::QUEUE.duration("timeout"),
};

// The defaults of `model`'s types are those of the table of keys, so that they stand once.

impl Default for ClientLimits {
    fn default() -> Self {
        CLIENT
    }
}

impl Default for UpstreamLimits {
    fn default() -> Self {
        UPSTREAM
    }
}

impl Default for Forwarded {
    fn default() -> Self {
        Self {
            mode: FORWARDED_MODE,
            trusted_proxies: Vec::new(),
            trusts_unix: false,
            identity_headers: IDENTITY_HEADERS.to_vec(),
            send: ForwardedFormat::XForwarded,
        }
    }
}

impl TargetGroup {
    /// A group without targets, with every default.
    pub fn new(id: TargetGroupId) -> Self {
        Self {
            id,
            protocol: TargetProtocol::Http1,
            port: None,
            targets: Vec::new(),
            algorithm: Algorithm::RoundRobin,
            hash: HashPolicy::default(),
            health: None,
            fail_open: FAIL_OPEN,
            upstream: UPSTREAM,
            tls: None,
            retry: RETRY,
            outlier: Some(OUTLIER),
            overload: OVERLOAD,
            slow_start: keys::TARGET_GROUP.duration("slow_start"),
            deregistration_delay: keys::TARGET_GROUP.duration("deregistration_delay"),
            sticky: None,
            replicas: None,
            autoscaling: None,
        }
    }
}

impl Config {
    /// The configuration before the first one: nothing listens, nothing is forwarded.
    pub fn empty() -> Self {
        Self {
            workers: None,
            access_log: AccessLog::Failures,
            log: Box::default(),
            tracing: TraceContext::default(),
            span_export: None,
            shutdown: Shutdown {
                lame_duck: Duration::ZERO,
                drain: Duration::ZERO,
            },
            admin: None,
            cookie_key: None,
            upgrade_socket: None,
            listeners: Vec::new(),
            target_groups: Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::keys::{DefaultValue, Words};
    use crate::model::HttpPolicy;
    use crate::model::Protocol;

    /// The default of a key of a listener.
    fn word<T: Words>(key: &str) -> T {
        T::of(keys::LISTENER.text(key)).expect("one of its words")
    }

    #[test]
    fn the_identity_headers_are_those_that_the_table_of_keys_lists() {
        let key = keys::FORWARDED.key("identity_headers").expect("a key");
        let DefaultValue::Described(listed) = key.default else {
            panic!("{:?}", key.default);
        };
        let listed = listed.replace(" and ", ", ").to_ascii_lowercase();
        assert_eq!(
            listed,
            IDENTITY_HEADERS.map(|name| name.to_string()).join(", ")
        );
    }

    /// These are made of more than a number, so that the table of keys has them as text.
    #[test]
    fn a_default_that_is_written_twice_is_the_same() {
        assert_eq!(keys::ADMIN.text("bind"), ADMIN_BIND.to_string());
        let mode = ForwardedMode::of(keys::FORWARDED.text("mode"));
        assert_eq!(mode, Some(FORWARDED_MODE));
        let send = ForwardedFormat::of(keys::FORWARDED.text("send"));
        assert_eq!(send, Some(Forwarded::default().send));
        let http = HttpPolicy {
            desync_mitigation: word("desync_mitigation"),
            field_names: word("field_names"),
            normalize_path: word("normalize_path"),
            encoded_slashes: word("encoded_slashes"),
            via: None,
            http2: keys::LISTENER.flag("http2"),
        };
        assert_eq!(http, HttpPolicy::default());
        assert_eq!(keys::REDIRECT.count("status"), 302);
        assert_eq!(REDIRECT_STATUS.as_u16(), 302);
        let of_listener = Protocol::of(keys::LISTENER.text("protocol"));
        assert_eq!(of_listener, Some(Protocol::default()));
        let of_group = TargetProtocol::of(keys::TARGET_GROUP.text("protocol"));
        assert_eq!(of_group, Some(TargetGroup::new("a".into()).protocol));
        let algorithm = Algorithm::of(keys::TARGET_GROUP.text("algorithm"));
        assert_eq!(algorithm, Some(TargetGroup::new("a".into()).algorithm));
        assert_eq!(keys::HEALTH.text("matcher"), HEALTH_MATCHER.0.to_string());
        assert_eq!(HEALTH_MATCHER.0, HEALTH_MATCHER.1);
        let weights = [&keys::TARGET, &keys::WEIGHTED_GROUP].map(|table| table.count("weight"));
        assert_eq!(weights, [i64::from(WEIGHT); 2]);
    }
}
