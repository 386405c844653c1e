//! Metrics, the log and the access log.
//!
//! Each worker counts into its own [`WorkerMetrics`]; a scrape adds them up. A series is looked up
//! once per worker and then only added to: no lock, no shared cache line. What operators look for
//! is kept in the [`Journal`] of events.

mod access_log;
mod alb;
mod collector;
mod common_log;
mod durations;
mod events;
mod exchange;
pub(crate) mod exposition;
mod live_hits;
mod log;
mod logged_head;
mod metrics;
pub(crate) mod names;
#[cfg(test)]
pub(crate) mod openmetrics;
mod panics;
pub(crate) mod protobuf;
mod readings;
mod record;
mod replica_lines;
mod request_id;
mod response_times;
mod route_fields;
mod rule_hits;
mod series;
mod spans;
mod target_traffic;
mod text_format;

pub use collector::dropped_log_lines;
pub use durations::Durations;
pub use events::{Event, Follower, Journal, KEPT_EVENTS, Wanted, journal, kind};
pub use exchange::{
    Attempt, Desync, ExchangeFacts, Outcome, Ports, Side, SpanContext, Trace, Transport,
};
pub use live_hits::RuleName;
pub use log::{
    LevelError, LineFile, Log, LogFormat, keep_access_lines, log_fault, log_levels, set_log_levels,
    take_access_lines,
};
pub use logged_head::LoggedHead;
pub use metrics::{Metrics, OpenTunnel, WorkerMetrics};
pub use panics::panic_message;
pub use readings::{Faults, TargetName, TargetTraffic};
pub use record::Record;
pub use replica_lines::{LineFollower, ReplicaLine, ReplicaLines, WantedLines, replica_lines};
pub use request_id::RequestId;
pub use response_times::ResponseTimes;
pub use rule_hits::RuleHits;
pub use spans::{FinishedSpan, SpanCounts, Spans, span_counts, spans_dropped, spans_exported};
pub use target_traffic::READING_INTERVAL;
pub use text_format::prometheus;
