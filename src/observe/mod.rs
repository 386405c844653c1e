//! What Weir tells about itself: metrics and the access log.
//!
//! Each worker counts into its own [`WorkerMetrics`]; a scrape sums them. A series
//! is found once per worker and then only added to: no lock, no shared cache line.

mod access_log;
pub(crate) mod exposition;
mod metrics;
pub(crate) mod names;
#[cfg(test)]
pub(crate) mod openmetrics;
mod record;
mod scrape;

pub use access_log::AccessLog;
pub use metrics::{Metrics, OpenTunnel, WorkerMetrics};
pub use record::{Record, RequestHead};
