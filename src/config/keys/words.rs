//! Values that are one of a few words, and what each word means.

use http::Method;

use crate::config::autoscaling::{Adjustment, Comparison, Metric, Profile};
use crate::config::types::{AccessFormat, AccessLog, Traceparent};
use crate::model::{
    AcceptProxy, Algorithm, DesyncMitigation, EncodedSlashes, FieldNames, ForwardedFormat,
    ForwardedMode, NormalizePath, Protocol, ProxyVersion, StickyDraining, StickyFull,
    TargetProtocol,
};
use crate::tls::{ChallengeKind, ClientAuthMode, MinVersion};

/// Words and their values.
type Rows<T> = &'static [(&'static str, T)];

/// A value that the file writes as a word.
pub(in crate::config) trait Words: Clone + 'static {
    /// The words in the order in which messages list them.
    const WORDS: Rows<Self>;

    /// Words of other products, understood and not advertised: one word for one thing.
    const ALIASES: Rows<Self> = &[];

    /// The value of a word or an alias.
    fn of(word: &str) -> Option<Self> {
        let mut all = Self::WORDS.iter().chain(Self::ALIASES);
        all.find(|(known, _)| *known == word)
            .map(|(_, value)| value.clone())
    }
}

/// The words alone.
pub(in crate::config) fn names<T: Words>() -> Vec<&'static str> {
    T::WORDS.iter().map(|(word, _)| *word).collect()
}

/// What a health check does.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(in crate::config) enum ProbeKind {
    Http,
    Grpc,
    Tcp,
}

/// The method of a health check.
#[derive(Clone)]
pub(in crate::config) struct ProbeMethod(pub(in crate::config) Method);

/// Which cookie keeps a client on its target.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(in crate::config) enum CookieKind {
    LoadBalancer,
    Application,
}

/// Where what a replica prints goes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(in crate::config) enum OutputKind {
    Log,
    File,
    Off,
}

/// Whether a forecast changes the number of replicas.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(in crate::config) enum PredictiveMode {
    ForecastOnly,
    ForecastAndScale,
}

impl Words for OutputKind {
    const WORDS: Rows<Self> = &[("log", Self::Log), ("file", Self::File), ("off", Self::Off)];
}

impl Words for AccessLog {
    const WORDS: Rows<Self> = &[
        ("off", Self::Off),
        ("failures", Self::Failures),
        ("all", Self::All),
    ];
}

impl Words for AccessFormat {
    const WORDS: Rows<Self> = &[
        (Self::Pretty.name(), Self::Pretty),
        (Self::Json.name(), Self::Json),
        (Self::Alb.name(), Self::Alb),
        (Self::Combined.name(), Self::Combined),
        (Self::Common.name(), Self::Common),
    ];
}

impl Words for Traceparent {
    const WORDS: Rows<Self> = &[
        ("off", Self::Off),
        ("trusted", Self::Trusted),
        ("any", Self::Any),
    ];
}

impl Words for Protocol {
    const WORDS: Rows<Self> = &[
        (Self::Http1.name(), Self::Http1),
        (Self::Tcp.name(), Self::Tcp),
    ];
}

impl Words for AcceptProxy {
    const WORDS: Rows<Self> = &[
        ("off", Self::Off),
        ("optional", Self::Optional),
        ("required", Self::Required),
    ];
}

impl Words for Option<ProxyVersion> {
    const WORDS: Rows<Self> = &[
        ("off", None),
        ("v1", Some(ProxyVersion::V1)),
        ("v2", Some(ProxyVersion::V2)),
    ];
}

impl Words for MinVersion {
    const WORDS: Rows<Self> = &[("1.2", Self::Tls12), ("1.3", Self::Tls13)];

    const ALIASES: Rows<Self> = &[("TLSv1.2", Self::Tls12), ("TLSv1.3", Self::Tls13)];
}

impl Words for ClientAuthMode {
    const WORDS: Rows<Self> = &[("require", Self::Require), ("request", Self::Request)];

    const ALIASES: Rows<Self> = &[("verify", Self::Require), ("optional", Self::Request)];
}

impl Words for ChallengeKind {
    const WORDS: Rows<Self> = &[
        (Self::Http01.name(), Self::Http01),
        (Self::TlsAlpn01.name(), Self::TlsAlpn01),
    ];
}

impl Words for TargetProtocol {
    const WORDS: Rows<Self> = &[
        (Self::Http1.name(), Self::Http1),
        (Self::Http2.name(), Self::Http2),
        (Self::Grpc.name(), Self::Grpc),
        (Self::Tcp.name(), Self::Tcp),
    ];

    const ALIASES: Rows<Self> = &[("h2c", Self::Http2)];
}

impl Words for ForwardedMode {
    const WORDS: Rows<Self> = &[
        ("append", Self::Append),
        ("preserve", Self::Preserve),
        ("remove", Self::Remove),
    ];
}

impl Words for ForwardedFormat {
    const WORDS: Rows<Self> = &[
        ("x-forwarded", Self::XForwarded),
        ("forwarded", Self::Forwarded),
        ("both", Self::Both),
    ];
}

impl Words for DesyncMitigation {
    const WORDS: Rows<Self> = &[
        ("monitor", Self::Monitor),
        ("defensive", Self::Defensive),
        ("strictest", Self::Strictest),
    ];
}

impl Words for FieldNames {
    const WORDS: Rows<Self> = &[("strict", Self::Strict), ("pass", Self::Pass)];
}

impl Words for NormalizePath {
    const WORDS: Rows<Self> = &[
        ("match", Self::Match),
        ("forward", Self::Forward),
        ("off", Self::Off),
    ];
}

impl Words for EncodedSlashes {
    const WORDS: Rows<Self> = &[("pass", Self::Pass), ("reject", Self::Reject)];
}

const ALGORITHMS: [(&str, Algorithm); Algorithm::ALL.len()] = {
    let mut words = [("", Algorithm::RoundRobin); Algorithm::ALL.len()];
    let mut n = 0;
    while n < words.len() {
        words[n] = (Algorithm::ALL[n].name(), Algorithm::ALL[n]);
        n += 1;
    }
    words
};

impl Words for Algorithm {
    const WORDS: Rows<Self> = &ALGORITHMS;

    const ALIASES: Rows<Self> = &[
        ("least_outstanding_requests", Self::LeastConnections),
        ("least_conn", Self::LeastConnections),
        ("p2c", Self::PowerOfTwoChoices),
    ];
}

impl Words for ProbeKind {
    const WORDS: Rows<Self> = &[
        ("http", Self::Http),
        ("grpc", Self::Grpc),
        ("tcp", Self::Tcp),
    ];
}

impl Words for ProbeMethod {
    const WORDS: Rows<Self> = &[
        ("GET", Self(Method::GET)),
        ("HEAD", Self(Method::HEAD)),
        ("POST", Self(Method::POST)),
        ("OPTIONS", Self(Method::OPTIONS)),
    ];
}

impl Words for CookieKind {
    const WORDS: Rows<Self> = &[
        ("lb_cookie", Self::LoadBalancer),
        ("app_cookie", Self::Application),
    ];
}

impl Words for StickyFull {
    const WORDS: Rows<Self> = &[("move", Self::Move), ("wait", Self::Wait)];
}

impl Words for StickyDraining {
    const WORDS: Rows<Self> = &[("move", Self::Move), ("stay", Self::Stay)];
}

impl Words for Profile {
    const WORDS: Rows<Self> = &[
        (Self::Fast.name(), Self::Fast),
        (Self::Aws.name(), Self::Aws),
        (Self::AwsHighResolution.name(), Self::AwsHighResolution),
    ];
}

impl Words for Metric {
    const WORDS: Rows<Self> = &[
        ("cpu", Self::Cpu),
        ("memory", Self::Memory),
        ("requests_per_target", Self::RequestsPerTarget),
        ("in_flight_per_target", Self::InFlightPerTarget),
        ("queue_length", Self::QueueLength),
        ("latency_p95", Self::LatencyP95),
    ];

    const ALIASES: Rows<Self> = &[
        ("ECSServiceAverageCPUUtilization", Self::Cpu),
        ("ECSServiceAverageMemoryUtilization", Self::Memory),
    ];
}

impl Words for Comparison {
    const WORDS: Rows<Self> = &[
        (">", Self::Greater),
        (">=", Self::GreaterOrEqual),
        ("<", Self::Less),
        ("<=", Self::LessOrEqual),
    ];

    const ALIASES: Rows<Self> = &[
        ("GreaterThanThreshold", Self::Greater),
        ("GreaterThanOrEqualToThreshold", Self::GreaterOrEqual),
        ("LessThanThreshold", Self::Less),
        ("LessThanOrEqualToThreshold", Self::LessOrEqual),
    ];
}

impl Words for Adjustment {
    const WORDS: Rows<Self> = &[
        ("change", Self::Change),
        ("exact", Self::Exact),
        ("percent", Self::Percent),
    ];

    const ALIASES: Rows<Self> = &[
        ("ChangeInCapacity", Self::Change),
        ("ExactCapacity", Self::Exact),
        ("PercentChangeInCapacity", Self::Percent),
    ];
}

impl Words for PredictiveMode {
    const WORDS: Rows<Self> = &[
        ("forecast_only", Self::ForecastOnly),
        ("forecast_and_scale", Self::ForecastAndScale),
    ];
}
