//! Limits, deadlines and header policy: settings that the data path reads and the
//! configuration writes, in one shape for both.

use std::num::NonZeroU32;
use std::time::Duration;

use http::HeaderName;
use ipnet::IpNet;

/// Limits and deadlines on the client's side of a listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClientLimits {
    /// From the first byte of a request to the end of its head.
    pub head_timeout: Duration,
    /// Without a request, on a kept-alive connection.
    pub idle_timeout: Duration,
    /// Without a byte of the request body, or without the client taking a byte of
    /// the response.
    pub body_timeout: Duration,
    /// Bytes of a request head: 8 KiB to 1 MiB.
    pub max_head: usize,
    /// Fields of a request head: 1 to 1000.
    pub max_fields: usize,
    /// Bytes of a request body; `None` sets no limit.
    pub max_body: Option<u64>,
    /// Requests on one connection; the last one's response closes it. `None` sets no limit.
    pub max_requests: Option<NonZeroU32>,
}

/// How `X-Forwarded-*` is treated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Forwarded {
    /// What happens to the fields a request already has.
    pub mode: ForwardedMode,
    /// Peers whose `X-Forwarded-*` is believed. The client is the last address in
    /// `X-Forwarded-For` that is not one of them.
    pub trusted_proxies: Vec<IpNet>,
}

/// ALB's `routing.http.xff_header_processing.mode`, for the whole family of fields.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ForwardedMode {
    /// The peer's address is appended to `X-Forwarded-For`; `-Proto`, `-Port` and
    /// `-Host` are kept from a trusted peer and set otherwise.
    Append,
    /// All fields pass as they are.
    Preserve,
    /// All fields are taken out.
    Remove,
}

/// Deadlines and connection pools towards the targets of a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Upstream {
    /// To open a connection.
    pub connect_timeout: Duration,
    /// From the sent request to the head of the response.
    pub response_timeout: Duration,
    /// Without a byte of the response body.
    pub body_timeout: Duration,
    /// From the head of the request to the last byte of the response; `None` sets
    /// no limit.
    pub request_timeout: Option<Duration>,
    /// Without a byte in either direction of an upgraded connection, which no other deadline
    /// holds for.
    pub tunnel_timeout: Duration,
    /// How long an idle connection is kept; `None` goes by what the targets say and do.
    pub idle_timeout: Option<Duration>,
    /// Idle connections kept per worker and target; 0 keeps none.
    pub max_idle: usize,
}

/// When a request that failed on one target is sent to another.
///
/// A request of which no byte was written always is, whatever its method. The rest is
/// RFC 9110 section 9.2.2: what may have been executed is repeated only if that does no
/// harm, and never once a byte of the response went out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Retry {
    /// Attempts in which a request may have been executed, the first included; 1 never
    /// retries those.
    pub attempts: u32,
    /// Statuses of a target that are not passed on while another may be asked: of 502, 503
    /// and 504. 504 stands for a target that keeps silent too.
    pub statuses: Vec<u16>,
    /// Whether methods that are not idempotent are retried like the others. One request with
    /// an `Idempotency-Key` field always is.
    pub non_idempotent: bool,
    /// Bytes of a request body kept to be sent again; a longer one is sent once.
    pub max_body: usize,
    /// Retries in percent of the group's requests in the last ten seconds.
    pub budget: u8,
    /// Retries in flight that need no budget.
    pub min_concurrency: u32,
}

/// When a target that answers its checks and fails its requests is taken out for a while
/// (Envoy's outlier detection).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outlier {
    /// Requests in a row that failed in any way; `None` counts no runs.
    pub consecutive_errors: Option<u32>,
    /// Requests in a row that failed at the gateway: no connection, no answer, or 502, 503, 504.
    pub consecutive_gateway_errors: Option<u32>,
    /// How many percent points more of its requests may fail than of its peers'.
    pub error_ratio: Option<u8>,
    /// Requests within an interval below which the ratio says nothing.
    pub min_requests: u32,
    /// Over which the ratio is taken.
    pub interval: Duration,
    /// For how long the first time; the n-th time n times as long.
    pub ejection: Duration,
    /// At most.
    pub max_ejection: Duration,
    /// Most targets of a group that are out at once, in percent: 1-100.
    pub max_ejected: u8,
}

/// What a group's targets take at a time, and who waits for a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Overload {
    /// Requests each target takes at a time, over all workers; `None` sets no limit.
    pub max_concurrency: Option<NonZeroU32>,
    /// Requests that may wait for a place; beyond, 503 at once.
    pub queue_length: usize,
    /// How long one may wait; then 503.
    pub queue_timeout: Duration,
}

/// How many requests a client may send: a token bucket per key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RateLimit {
    /// Who counts as one client.
    pub key: RateKey,
    /// Requests per `per`.
    pub requests: NonZeroU32,
    /// See `requests`.
    pub per: Duration,
    /// Requests that may come at once after a pause.
    pub burst: NonZeroU32,
}

/// Who counts as one client of a [`RateLimit`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RateKey {
    /// The client's address as trusted proxies report it; an IPv6 address by its /64.
    ClientIp,
    /// The value of a header; requests without it count by client address.
    Header(HeaderName),
}
