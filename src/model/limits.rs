//! Limits, deadlines and header policy: settings that the data path reads and the
//! configuration writes, in one shape for both.

use std::num::NonZeroU32;
use std::time::Duration;

use http::HeaderName;
use ipnet::IpNet;

use super::TargetProtocol;
use super::proxy_protocol::ProxyVersion;

/// Limits and deadlines on the client's side of a listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClientLimits {
    /// Most time from the first byte of a request to the end of its head.
    pub head_timeout: Duration,
    /// Most time before the first byte of a request, on a new connection or after the last
    /// response.
    pub idle_timeout: Duration,
    /// Most time without a byte of the request body, or without the client reading a byte of
    /// the response.
    pub body_timeout: Duration,
    /// Most bytes of a request head: 8 KiB to 1 MiB.
    pub max_head: usize,
    /// Most fields of a request head: 1 to 1000.
    pub max_fields: usize,
    /// Most bytes of a request body; `None` sets no limit.
    pub max_body: Option<u64>,
    /// Most requests on one connection; the last one's response closes it. `None` sets no
    /// limit.
    pub max_requests: Option<NonZeroU32>,
    /// Whether a client that closes its sending side more than 250 ms after its request was
    /// complete has left, so that its request is cancelled; one that closes it sooner is always
    /// answered. A client that closes both directions has left in any case.
    pub abort_on_close: bool,
    /// Least bytes of a body per second of waiting for the client, once [`BODY_MIN_RATE_GRACE`] was
    /// waited: of the request as it comes, and of the response as the client reads it. `None` sets
    /// no limit.
    pub body_min_rate: Option<NonZeroU32>,
}

/// For how long in all a peer may be waited for before `body_min_rate` counts: a connection that
/// has just been opened or has lost packets recovers in that time.
pub const BODY_MIN_RATE_GRACE: Duration = Duration::from_secs(10);

/// How a request tells its target about the client, and which of the client's own words about
/// itself are believed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Forwarded {
    /// How fields are treated that a request already has.
    pub mode: ForwardedMode,
    /// Peers from which identity fields and `X-Request-Id` are accepted. The client is the last
    /// address in `X-Forwarded-For` that is not one of them; without that field, and if
    /// [`Self::send`] has it, in `Forwarded`.
    pub trusted_proxies: Vec<IpNet>,
    /// Whether peers that come over a Unix socket are such, too.
    pub trusts_unix: bool,
    /// Further fields that targets may believe, and that therefore no untrusted peer may send.
    /// `X-Real-IP`, `Forwarded` and `X-Forwarded-*` are treated so without being listed.
    pub identity_headers: Vec<HeaderName>,
    /// The fields that are sent.
    pub send: ForwardedFormat,
}

/// The fields that tell a target about the client.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ForwardedFormat {
    /// `X-Forwarded-For`, `-Proto`, `-Port` and `-Host`.
    #[default]
    XForwarded,
    /// `Forwarded` (RFC 7239).
    Forwarded,
    /// All of them.
    Both,
}

impl ForwardedFormat {
    /// Whether `X-Forwarded-*` is sent.
    pub fn has_x_forwarded(self) -> bool {
        matches!(self, Self::XForwarded | Self::Both)
    }

    /// Whether `Forwarded` is sent.
    pub fn has_forwarded(self) -> bool {
        matches!(self, Self::Forwarded | Self::Both)
    }
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
pub struct UpstreamLimits {
    /// What the targets speak.
    pub protocol: TargetProtocol,
    /// Most requests at a time on one connection of HTTP/2; the target may allow fewer.
    pub max_streams: NonZeroU32,
    /// Most time to open a connection.
    pub connect_timeout: Duration,
    /// Most time from the end of the request to the head of the final response.
    pub response_timeout: Duration,
    /// Most time without a byte of the response body.
    pub body_timeout: Duration,
    /// Most time from the head of the request to the last byte of the response; `None` sets
    /// no limit.
    pub request_timeout: Option<Duration>,
    /// Most time without a byte in either direction of an upgraded connection, for which no
    /// other deadline holds.
    pub tunnel_timeout: Duration,
    /// How long an idle connection is kept; `None` learns it from the targets (`Keep-Alive`
    /// fields and closed connections).
    pub idle_timeout: Option<Duration>,
    /// Most idle connections kept per worker and target; 0 keeps none.
    pub max_idle: usize,
    /// Most bytes of a response head: 1 KiB to 1 MiB.
    pub max_head: usize,
    /// Most fields of a response head: 1 to 10000.
    pub max_fields: usize,
    /// Least bytes of a response's body per second of waiting for the target, once
    /// [`BODY_MIN_RATE_GRACE`] was waited. `None` sets no limit.
    pub body_min_rate: Option<NonZeroU32>,
    /// The header of the PROXY protocol with which each connection begins. It then serves one
    /// request, because the next one may be of another client.
    pub proxy_protocol: Option<ProxyVersion>,
}

/// When a request that failed on one target is sent to another.
///
/// A request of which no byte was written is always sent again, whatever its method.
/// Otherwise RFC 9110 section 9.2.2 holds: a request that may have been executed is repeated
/// only if that does no harm, and never once a byte of the response was sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Retry {
    /// Attempts in which a request may have been executed, the first included; 1 never
    /// retries those.
    pub attempts: u32,
    /// Statuses after which another target is tried, if there is one: of 502, 503 and 504.
    /// 504 includes a target that does not respond in time.
    pub statuses: Vec<u16>,
    /// Whether methods that are not idempotent are retried like the others. One request with
    /// an `Idempotency-Key` field always is.
    pub non_idempotent: bool,
    /// Most bytes of a request body that are kept to be sent again; a longer one is sent
    /// once.
    pub max_body: usize,
    /// Most retries, in percent of the group's requests in the last ten seconds.
    pub budget: u8,
    /// Retries in flight that need no budget.
    pub min_concurrency: u32,
}

/// When a target that answers its checks and fails its requests is taken out for a while
/// (Envoy's outlier detection).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outlier {
    /// Ejects after so many requests in a row that failed in any way; `None` counts no runs.
    pub consecutive_errors: Option<u32>,
    /// Ejects after so many requests in a row that failed at the gateway: no connection, no
    /// response, or 502, 503, 504. `None` counts no runs.
    pub consecutive_gateway_errors: Option<u32>,
    /// Ejects if the ratio of failed requests is so many percentage points above that of the
    /// peers; `None` compares no ratios.
    pub error_ratio: Option<u8>,
    /// Fewest requests within an interval for which the ratio is taken.
    pub min_requests: u32,
    /// The interval over which the ratio is taken.
    pub interval: Duration,
    /// How long the first ejection lasts; the n-th lasts n times as long.
    pub ejection: Duration,
    /// How long an ejection lasts at most.
    pub max_ejection: Duration,
    /// Most targets of a group that are out at once, in percent: 1-100.
    pub max_ejected: u8,
}

/// How many requests a group's targets take at a time, and how many wait for a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Overload {
    /// Most requests each target takes at a time, over all workers; `None` sets no limit.
    pub max_concurrency: Option<NonZeroU32>,
    /// Most requests that wait for a slot; further ones get 503 at once.
    pub queue_length: usize,
    /// How long a request waits at most; then it gets 503.
    pub queue_timeout: Duration,
}

/// How many requests a client may send: a token bucket per key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RateLimit {
    /// Which requests count as one client's.
    pub key: RateKey,
    /// Requests per `per`.
    pub requests: NonZeroU32,
    /// The time in which `requests` tokens come back.
    pub per: Duration,
    /// Most requests at once after a pause.
    pub burst: NonZeroU32,
}

/// Which requests count as one client's for a [`RateLimit`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RateKey {
    /// The client's address as trusted proxies report it; an IPv6 address by its /64.
    ClientIp,
    /// The value of a header; requests without it count by client address.
    Header(HeaderName),
}
