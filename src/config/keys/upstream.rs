//! `upstream` and `retry`: requests on their way to targets.

use super::bounds::{BODY_RATE, TIMEOUT};
use super::key::DefaultValue::{Count, Described, Flag, Percent};
use super::key::{Kind, Table, key, kib, secs};

#[rustfmt::skip] // a table reads by rows
pub(in crate::config) static UPSTREAM: Table = Table { path: "target_group.*.upstream", heading: "", keys: &[
    // ALB's target connection timeout.
    key("connect_timeout", Kind::Duration(TIMEOUT), secs(10), "to open a connection"),
    // The client's idle timeout: beyond it no client is there to read the answer.
    key("response_timeout", Kind::Duration(TIMEOUT), secs(60), "from the end of the request to the head of the response"),
    key("body_timeout", Kind::Duration(TIMEOUT), secs(60), "without a byte of the response's body"),
    // Downloads may take hours.
    key("request_timeout", Kind::Duration(TIMEOUT), Described("no limit"), "for everything together, waiting and retries included"),
    // A WebSocket may have nothing to say for long, and applications send pings of their own.
    key("tunnel_timeout", Kind::Duration(TIMEOUT), secs(60 * 60),
        "instead of those, once a connection is upgraded (WebSocket): without a byte in either direction"),
    key("idle_timeout", Kind::Duration(TIMEOUT), Described("80 % of what the targets grant or show, and 4s as long as they have done neither; 60s of HTTP/2"),
        "of a connection kept for the next request"),
    // More than a worker has in flight to one target under any load it can carry; the idle
    // timeout takes what a burst leaves behind.
    key("max_idle", Kind::Count(0..=10_000), Count(128), "connections kept per worker and target; 0 keeps none"),
    // What most servers of HTTP/2 allow; RFC 9113 section 6.5.2 advises no fewer.
    key("max_streams", Kind::Count(1..=10_000), Count(100),
        "of HTTP/2: requests at a time on one connection; a target may allow fewer, and more connections are opened as needed")
        .called("max_concurrent_streams http2_max_concurrent_streams"),
    // Some applications answer with dozens of cookies or a long policy; a MiB is a broken one.
    key("max_head", Kind::Size(1024..=1024 * 1024), kib(64), "of a response head")
        .called("max_header_size proxy_buffer_size max_response_headers_kb response_header_limit"),
    key("max_fields", Kind::Count(1..=10_000), Count(1000), "header fields of a response")
        .called("max_headers_count max_header_count"),
    // A target may be silent for long and right: events that are rare, answers that take their time.
    key("body_min_rate", Kind::Count(BODY_RATE), Count(0),
        "least bytes of a response's body per second of waiting for the target, once 10s were waited; 0 sets no limit")
        .called("min_body_rate min_data_rate body_rate minrate"),
] };

#[rustfmt::skip] // a table reads by rows
pub(in crate::config) static RETRY: Table = Table { path: "target_group.*.retry", heading: "", keys: &[
    // Two of three targets may fail a request before its client hears of it; a client has given up
    // long before the ninth.
    key("attempts", Kind::Count(1..=8), Count(3), "that a target may have executed, the first included")
        .called("tries max_attempts num_retries max_retries count"),
    // Whether a status is worth another try is known to the service alone.
    key("status", Kind::Value("list of 502, 503 and 504"), Described("none"), "of a target, that are not passed on")
        .called("on retry_on statuses codes"),
    // What is not idempotent would be done twice.
    key("non_idempotent", Kind::Flag, Flag(false), "true: POST and PATCH too"),
    // linkerd's: most JSON documents, and little enough to hold for thousands of requests. Each
    // request in flight may hold as much.
    key("max_body", Kind::Size(0..=1024 * 1024), kib(64), "of a request that is kept to be sent again"),
    // Envoy's and linkerd's: a group that fails altogether gets a fifth more, not thrice.
    key("budget", Kind::Percent(0..=100), Percent(20), "retries for each request of the last ten seconds"),
    key("min_concurrency", Kind::Count(0..=10_000), Count(3), "retries in flight that need no budget"),
] };
