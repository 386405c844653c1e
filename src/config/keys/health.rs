//! `health` and `outlier`: which targets get requests.

use super::bounds::{INTERVAL, PORT, TIMEOUT};
use super::key::DefaultValue::{Count, Described, Percent, Text};
use super::key::{Kind, Table, key, secs};
use super::words::{ProbeKind, ProbeMethod, names};

#[rustfmt::skip] // a table reads by rows
pub(in crate::config) static HEALTH: Table = Table { path: "target_group.*.health", heading: "", keys: &[
    key("type", Kind::Word(names::<ProbeKind>), Text("http"),
        "\"grpc\" calls a method, and is the default of a group of that protocol; \"tcp\" only opens a connection, and is the default of a group of that protocol without `path`").called("protocol"),
    key("path", Kind::Value("path, perhaps with a query"), Text("/"),
        "what is asked; of type \"grpc\" a method instead of /grpc.health.v1.Health/Check").called("uri url"),
    key("service", Kind::Value("name of a service"), Described("the whole target"),
        "of type \"grpc\": the service that is asked for by /grpc.health.v1.Health/Check"),
    key("port", Kind::Count(PORT), Described("the target's own"), "the port that is asked; a Unix socket has no other"),
    key("host", Kind::Value("host, perhaps with a port"), Described("the target's address; localhost for a Unix socket"), "the Host header"),
    key("method", Kind::Word(names::<ProbeMethod>), Text("GET"), "the method of the request"),
    key("interval", Kind::Duration(INTERVAL), secs(30), "from start to start"),
    // In a group with a short interval its half, so that it needs no second key.
    key("timeout", Kind::Duration(TIMEOUT), secs(5), "below interval; half of interval if that is less than the default"),
    // ALB's begin at 2 and end at 10; neither end has a reason here.
    key("healthy", Kind::Count(1..=100), Count(5), "passes in a row that bring a target back").called("rise passes"),
    key("unhealthy", Kind::Count(1..=100), Count(2), "failures in a row that take it out").called("fall fails failures"),
    // ALB's.
    key("matcher", Kind::Value("statuses and ranges within 200-499"), Text("200"),
        "statuses that pass; of type \"grpc\" its own within 0-99, \"0\" without this key")
        .called("status codes expect success_codes grpc_code"),
    key("body", Kind::Value("string"), Described("any"), "text that must be in the first 64KiB of the body"),
] };

#[rustfmt::skip] // a table reads by rows; Envoy's values unless a reason is given
pub(in crate::config) static OUTLIER: Table = Table { path: "target_group.*.outlier", heading: "", keys: &[
    key("consecutive_errors", Kind::Count(0..=10_000), Count(5), "requests in a row that failed in any way")
        .called("consecutive_5xx"),
    key("consecutive_gateway_errors", Kind::Count(0..=10_000), Count(5), "without connection or answer, or with 502, 503, 504"),
    // Envoy's statistics need five targets; a difference to the peers works from two.
    key("error_ratio", Kind::Percent(0..=100), Percent(50), "percent points more failures than its peers have"),
    key("min_requests", Kind::Count(1..=1_000_000), Count(20), "below so many in an interval the ratio says nothing"),
    key("interval", Kind::Duration(INTERVAL), secs(10), "that the ratio is taken over"),
    key("ejection", Kind::Duration(TIMEOUT), secs(30), "the first time; the n-th time n times as long")
        .called("base_ejection_time ejection_time"),
    key("max_ejection", Kind::Duration(TIMEOUT), secs(300), "at most; `ejection` if that is more than the default"),
    // Envoy's tenth would never eject one of four.
    key("max_ejected", Kind::Percent(1..=100), Percent(50), "of the group's targets at once").called("max_ejection_percent"),
] };
