//! Limits, deadlines and header policy: settings that the data path reads and the
//! configuration writes, in one shape for both.

use std::time::Duration;

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
    /// How long an idle connection is kept.
    pub idle_timeout: Duration,
    /// Idle connections kept per worker and target; 0 keeps none.
    pub max_idle: usize,
}
