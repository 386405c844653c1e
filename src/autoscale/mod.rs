//! How many replicas a group should have: measured, decided, explained.
//!
//! Once a second [`run`] takes a [`Sample`] of each group that scales (`signal`) and gives it
//! to the group's [`Scaler`], which decides. The scaler is pure: samples and times are
//! arguments, so that `weir simulate` and the property tests run the very code that runs in
//! production. What it decides, and why, is a [`Decision`]; the last ones are kept for the
//! admin listener, and the number itself goes to `replicas` as a wish.

mod archive;
mod autoscaler;
mod custom;
mod decision;
mod gaps;
mod group;
mod history;
mod journal;
mod page;
mod predictive;
mod record;
mod sample;
mod scaler;
mod schedule;
mod scrape;
mod service;
mod signal;
mod stepping;
mod tracking;
mod usage;
mod verdict;
mod wish;
mod zero;

use std::future::Future;
use std::sync::Arc;

use tokio::sync::watch;

use crate::observe::Metrics;
use crate::replicas::{Status, Wishes};
use crate::state::Reader;

use autoscaler::Autoscaler;

pub use decision::{AlarmState, Decision, Inputs, Kind, Opinion, Outcome, Reason};
pub use journal::{Entry, Journal, Log};
pub use predictive::{Forecast, HistoryError};
pub use sample::{Capacity, Now, Reading, Sample};
pub use scaler::Scaler;

/// Scales the groups of every snapshot that have replicas and policies, until `shutdown` is
/// done or there will be no more snapshots. Writes to `wishes` what it decides, where this
/// Weir is the one that does; and each evaluation to `journal`.
///
/// Complete `shutdown` before the replicas are stopped: a stopping replica is no reason for
/// another one.
pub async fn run(
    reader: Reader,
    metrics: Arc<Metrics>,
    replicas: watch::Receiver<Status>,
    wishes: watch::Sender<Wishes>,
    journal: Arc<Journal>,
    shutdown: impl Future<Output = ()>,
) {
    Autoscaler::new(metrics, replicas, wishes, journal)
        .run(reader, shutdown)
        .await;
}

#[cfg(test)]
mod tests;
