//! Metrics, the log and the access log.
//!
//! Each worker counts into its own [`WorkerMetrics`]; a scrape adds them up. A series is looked up
//! once per worker and then only added to: no lock, no shared cache line.

mod access_log;
mod alb;
mod collector;
mod common_log;
mod durations;
mod exchange;
pub(crate) mod exposition;
mod log;
mod logged_head;
mod metrics;
pub(crate) mod names;
#[cfg(test)]
pub(crate) mod openmetrics;
mod panics;
mod record;
mod request_id;
mod response_times;
mod route_fields;
mod text_format;

pub use durations::Durations;
pub use exchange::{Desync, ExchangeFacts, Outcome, Ports, Side, Trace, Transport};
pub use log::{Log, LogFormat, keep_access_lines, take_access_lines};
pub use logged_head::LoggedHead;
pub use metrics::{Metrics, OpenTunnel, WorkerMetrics};
pub use panics::panic_message;
pub use record::Record;
pub use request_id::RequestId;
pub use response_times::ResponseTimes;
pub use text_format::prometheus;
