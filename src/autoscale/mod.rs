//! How many replicas a group should have: measured, decided, explained.
//!
//! Once a second [`run`] takes a [`Sample`] of each group that scales (`sampler`) and gives it
//! to the group's [`Scaler`], which decides. The scaler is pure: samples and times are
//! arguments, so that `weir simulate` and the property tests run the code that runs in
//! production. Its result is a [`Decision`] with the reasons. The last decisions are kept in
//! the [`Journal`] for the admin listener; the count goes to `replicas`.

mod autoscaler;
mod candidate;
mod custom;
mod datapoints;
mod decision;
mod group;
mod history_file;
mod journal;
mod missing;
mod observer;
mod predictive;
mod prometheus_text;
mod record;
mod sample;
mod sampler;
mod scale_to_zero;
mod scaler;
mod schedule;
mod scrape;
mod stepping;
mod tracking;
mod usage;

use std::future::Future;
use std::sync::Arc;

use tokio::sync::watch;

use crate::observe::Metrics;
use crate::replicas::{DesiredCounts, Status};
use crate::state::Reader;

use autoscaler::Autoscaler;

pub use decision::{
    AlarmState, Decision, Inputs, PolicyKind, PolicyResult, Reason, ScalingOutcome,
};
pub use journal::{GroupJournal, Journal, JournalEntry};
pub use predictive::{Forecast, HistoryError};
pub use sample::{Capacity, Now, Reading, Sample};
pub use scaler::Scaler;

/// Scales the groups that have replicas and policies, until `shutdown` completes or no further
/// snapshot can follow. Writes each evaluation to `journal`, and the decided counts of the
/// groups which this process scales to `desired`.
///
/// Complete `shutdown` before the replicas are stopped, or the autoscaler would replace the
/// replicas that stop.
pub async fn run(
    reader: Reader,
    metrics: Arc<Metrics>,
    replicas: watch::Receiver<Status>,
    desired: watch::Sender<DesiredCounts>,
    journal: Arc<Journal>,
    shutdown: impl Future<Output = ()>,
) {
    Autoscaler::new(metrics, replicas, desired, journal)
        .run(reader, shutdown)
        .await;
}

#[cfg(test)]
pub(crate) mod fixture;
#[cfg(test)]
mod tests;
