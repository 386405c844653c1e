//! `[target_group.NAME]`: where requests go, and how a target is chosen.

use std::time::Duration;

use super::autoscaling::AUTOSCALING;
use super::bounds::{HOUR, PORT, SESSION, TIMEOUT, WEIGHT};
use super::health::{HEALTH, OUTLIER};
use super::key::DefaultValue::{Count, Described, Flag, Required, Text};
use super::key::{Kind, SWITCH, Table, key, kib, secs};
use super::replicas::REPLICAS;
use super::upstream::{RETRY, UPSTREAM};
use super::words::{CookieKind, names};
use crate::model::{Algorithm, ProxyVersion, StickyDraining, StickyFull, TargetProtocol};

#[rustfmt::skip] // a table reads by rows
pub(in crate::config) static TARGET_TLS: Table = Table { path: "target_group.*.tls", heading: "`tls` of a group", keys: &[
    key("ca", Kind::Value("path of a file"), Described("the authorities that the system trusts"),
        "the certificates of the authorities, in PEM; those of the targets have to be issued by one of them, or be one of them")
        .called("ca_file trusted_ca root_ca proxy_ssl_trusted_certificate"),
    key("server_name", Kind::Value("name of a host"), Described("the address of each target"),
        "the name that the certificates of the targets have to be for, and that targets are asked for (SNI)")
        .called("sni hostname proxy_ssl_name"),
    key("insecure", Kind::Flag, Flag(false), "true: takes any certificate, so that whoever is between Weir and a target can read and change everything")
        .called("insecure_skip_verify skip_verify"),
    key("cert", Kind::Value("path of a file"), Described("none"), "the certificate that Weir shows to targets, in PEM")
        .called("certificate crt client_certificate cert_file"),
    key("key", Kind::Value("path of a file"), Described("none"), "its private key, in PEM and without a password")
        .called("private_key key_file"),
] };

#[rustfmt::skip] // a table reads by rows
pub(in crate::config) static TARGET_GROUP: Table = Table { path: "target_group.*", heading: "", keys: &[
    key("port", Kind::Count(PORT), Described("each target names its own"), "for targets that name no port"),
    key("targets", Kind::Either("list of addresses", &TARGET), Described("none; `replicas` is required then"),
        "\"address\", \"address:port\", a DNS name or \"unix:/path\"")
        .called("server servers members endpoints backends hosts nodes addresses upstreams urls"),
    // ALB's.
    key("protocol", Kind::Word(names::<TargetProtocol>), Text("http1"),
        "what the targets speak, without TLS; \"http2\" and \"grpc\" are HTTP/2, and \"grpc\" answers and counts by grpc-status; \"tcp\" is for the listeners of that protocol, and counts connections where others count requests")
        .called("mode backend_protocol"),
    // NLB's `proxy_protocol_v2.enabled`.
    key("proxy_protocol", Kind::Word(names::<Option<ProxyVersion>>), Text("off"),
        "targets get a header of the PROXY protocol before the first byte, of this version; one connection then serves one \
         request, or one TCP connection")
        .called("send_proxy send_proxy_v2 proxy_protocol_v2"),
    key("algorithm", Kind::Word(names::<Algorithm>), Text("round_robin"), "how a target is chosen")
        .called("policy lb_policy balance strategy lb_algorithm load_balancing load_balancing_algorithm_type \
                 lb_method method balancer load_balancing_policy"),
    key("hash", Kind::Table(&HASH), Described("the client's address"), "the part of a request that `consistent_hash` looks at"),
    key("health", Kind::Either(SWITCH, &HEALTH), Described("true"),
        "how targets are checked; false checks nothing and trusts them all"),
    // If no target passes, the checks are more likely wrong than every target is.
    key("min_healthy", Kind::Count(1..=10_000), Count(1),
        "with fewer healthy targets than this count or share, requests go to all targets"),
    key("fail_open", Kind::Flag, Flag(true), "false: answer 503 instead when no target is healthy"),
    key("upstream", Kind::Table(&UPSTREAM), Described("those of its keys"), "deadlines and connections towards the targets"),
    key("tls", Kind::Table(&TARGET_TLS), Described("plain bytes"),
        "what targets are spoken to in, by requests, checks, warm-ups and scrapes").called("ssl https backend_tls"),
    key("retry", Kind::Either(SWITCH, &RETRY), Described("true"), "when a request that failed goes to another target")
        .called("retries retry_policy redispatch proxy_next_upstream"),
    key("outlier", Kind::Either(SWITCH, &OUTLIER), Described("true"),
        "when a target that passes its checks and fails its requests is taken out for a while")
        .called("outlier_detection passive passive_health"),
    // More requests at a time than a target has ports for are no limit.
    key("max_concurrency", Kind::Count(1..=1_000_000), Described("no limit"),
        "requests that each target takes at a time, over all workers").called("maxconn max_conns max_connections max_requests"),
    key("queue", Kind::Table(&QUEUE), Described("no request waits; 503 at once"), "which requests wait when all targets are full")
        .called("backlog max_pending_requests maxqueue"),
    // ALB's: off, or from 30s; a shorter one would be over before it is noticed.
    key("slow_start", Kind::Duration(Duration::ZERO..=Duration::from_secs(900)), secs(0),
        "how long a new or recovered target takes to get its full share").called("slowstart warmup ramp_up"),
    // ALB's.
    key("deregistration_delay", Kind::Duration(Duration::ZERO..=HOUR), secs(300),
        "how long requests on a target that leaves may take")
        .called("drain drain_timeout drain_delay deregistration_timeout deregistration_delay_timeout_seconds"),
    key("sticky", Kind::Table(&STICKY), Described("every request chooses anew"), "clients stay on a target")
        .called("stickiness session sessions affinity cookie session_affinity sticky_sessions session_persistence"),
    key("replicas", Kind::Table(&REPLICAS), Described("none; `targets` is required then"),
        "replicas that come and go as targets of the group").called("processes instances"),
    key("autoscaling", Kind::Table(&AUTOSCALING), Described("the number stays as it is"),
        "how the number of replicas follows the load").called("autoscale autoscaler scaling hpa"),
] };

/// Shortest slow start that is not off.
pub(in crate::config) const LEAST_SLOW_START: Duration = Duration::from_secs(30);

#[rustfmt::skip] // a table reads by rows
pub(in crate::config) static TARGET: Table = Table { path: "target_group.*.targets", heading: "an entry of `targets`", keys: &[
    key("address", Kind::Value("address, perhaps with a port"), Described("one of address, srv and file is required"),
        "an address, a DNS name or `unix:` and a path, several of them separated by commas").called("url host addr ip server target"),
    key("srv", Kind::Value("name of DNS service records"), Described("none"), "all that DNS service records lead to"),
    key("file", Kind::Value("path of a file"), Described("none"), "all that a file lists"),
    key("weight", Kind::Count(WEIGHT), Count(1), "0 gets no new requests"),
] };

#[rustfmt::skip] // a table reads by rows
pub(in crate::config) static HASH: Table = Table { path: "target_group.*.hash", heading: "", keys: &[
    key("header", Kind::Value("name of a header"), Described("none"), "the name of a header"),
    key("cookie", Kind::Value("name of a cookie"), Described("none"), "the name of a cookie"),
    key("query", Kind::Value("name of a parameter"), Described("none"), "the name of a query parameter"),
    key("path", Kind::Value("`true`"), Described("none"), "the path, without the query"),
    key("client_ip", Kind::Flag, Described("the key if no other is named"), "the client's address"),
    key("body", Kind::Either("`true`", &HASH_BODY), Described("none"), "the payload's first bytes, or one field of a JSON object"),
    key("load_factor", Kind::Value("number above 1"), Described("unbounded"),
        "no target gets more than so many times its fair share"),
] };

#[rustfmt::skip] // a table reads by rows
pub(in crate::config) static HASH_BODY: Table = Table { path: "target_group.*.hash.body", heading: "`body` of `hash`", keys: &[
    // Any JSON document a key is looked for in, and still little enough to be held for each of some
    // thousand requests; each request in flight may hold as much.
    key("limit", Kind::Size(1..=1024 * 1024), kib(64), "bytes that are looked at"),
    key("field", Kind::Value("name of a field"), Described("the bytes themselves"), "the field of the JSON object"),
] };

#[rustfmt::skip] // a table reads by rows
pub(in crate::config) static QUEUE: Table = Table { path: "target_group.*.queue", heading: "", keys: &[
    key("length", Kind::Count(0..=1_000_000), Required, "requests that wait at a time; 0 lets none wait").called("size max depth"),
    // Longer than a burst, shorter than a person's patience.
    key("timeout", Kind::Duration(TIMEOUT), secs(5), "how long one waits").called("max_wait wait"),
] };

/// The queue of a group that may have no replicas, so that requests wait for the first: a burst of
/// clients, and some MiB of them.
pub(in crate::config) const ZERO_QUEUE_LENGTH: usize = 1000;

/// And how long they wait: a replica starts and passes its first check in that time, and a browser
/// still waits.
pub(in crate::config) const ZERO_QUEUE_TIMEOUT: Duration = Duration::from_secs(30);

#[rustfmt::skip] // a table reads by rows
pub(in crate::config) static STICKY: Table = Table { path: "target_group.*.sticky", heading: "", keys: &[
    key("type", Kind::Word(names::<CookieKind>), Required, "Weir's own cookie; \"app_cookie\" follows one of the application"),
    key("name", Kind::Value("name of a cookie"), Described("required for \"app_cookie\""),
        "the application's cookie, for \"app_cookie\""),
    key("cookie", Kind::Value("name of a cookie"), Text("WEIRLB"), "the name of Weir's own"),
    // ALB's.
    key("duration", Kind::Duration(SESSION), secs(24 * 60 * 60), "after the last response").called("ttl max_age lifetime timeout"),
    // An answer now is worth more than the same target.
    key("when_full", Kind::Word(names::<StickyFull>), Text("move"), "\"wait\" waits in the queue for the same target"),
    // ALB's.
    key("when_draining", Kind::Word(names::<StickyDraining>), Text("move"), "\"stay\" stays as long as `deregistration_delay`"),
] };
