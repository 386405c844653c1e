//! The vocabulary of Weir as plain data and pure state machines: names, settings, rules,
//! health states, failures.
//!
//! Everything else in Weir is built from these types. Nothing here does I/O, reads a clock,
//! knows about tokio or is shared between threads; what needs time or randomness takes it as
//! an argument. The crates named here are `http`, `ipnet`, `regex` and `serde`, which are data too.
//! Live state of targets is in `target`.

mod access_log;
mod algorithm;
mod client_address;
mod ejection;
mod endpoint;
mod escape;
mod failure;
mod filter;
#[cfg(test)]
pub(crate) mod fixture;
mod health;
mod http_policy;
mod id;
mod limits;
mod log_sink;
mod maintenance;
mod path;
mod pattern;
mod protocol;
mod proxy_protocol;
mod registration;
mod rule;
mod sticky;
mod template;
mod tls;
mod trace;

pub use access_log::{AccessFormat, AccessLog, AccessPolicy, Share};
pub use algorithm::{Algorithm, HashKey, HashPolicy};
pub use client_address::{ClientAddress, Peer};
pub use ejection::{Ejection, EjectionCounts, EjectionReason};
pub use endpoint::{Endpoint, EndpointError, UnixPath};
pub use escape::{Escaped, Escaping, escape_json, escape_lines, is_unsafe};
pub use failure::{Blame, Failure, Stage};
pub use filter::{FieldEdit, Filters, PathRewrite, ReplacementPart, Rewrite};
pub use health::{
    CheckFailure, CheckResult, Health, HealthReason, HealthRecord, HealthState, Thresholds,
};
pub use http_policy::{DesyncMitigation, EncodedSlashes, FieldNames, HttpPolicy, NormalizePath};
pub use id::{GroupIndex, ListenerId, ListenerSlot, SocketId, TargetGroupId, TargetId};
pub use limits::{
    BODY_MIN_RATE_GRACE, ClientLimits, Forwarded, ForwardedFormat, ForwardedMode, Outlier,
    Overload, RateKey, RateLimit, Retry, UpstreamLimits,
};
pub use log_sink::{LogFile, LogSink, SyslogAddress};
pub use maintenance::Maintenance;
pub use path::normalize_path;
pub use pattern::{HostPattern, Pattern, PatternError, Regex};
pub use protocol::{Protocol, TargetProtocol};
pub use proxy_protocol::{AcceptProxy, ProxyFacts, ProxyTls, ProxyVersion};
pub use registration::{DrainReason, Draining, Registration};
pub use rule::{
    Action, Condition, FixedResponse, Forward, Priority, QueryMatch, Redirect, RedirectPart, Rule,
};
pub use sticky::{CookieSource, Sticky, StickyDraining, StickyFull};
pub use template::{Placeholder, Template, TemplatePart};
pub use tls::{ClientCertificate, TlsFacts, TlsSession};
pub use trace::{TraceContext, Traceparent};
