//! The tasks that run replicas and decide how many there are.
//!
//! They are ended before the others and never aborted: the replicas have processes to stop,
//! the autoscaler has its history to write.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tracing::{error, warn};

use super::parts::ControlParts;
use crate::autoscale;
use crate::replicas::{self, DesiredCount, DesiredCounts, ReplicaControl, ReplicaCounts};
use crate::state::Reader;

/// How long the autoscaler has to write its history when the process ends.
const JOURNAL_TIMEOUT: Duration = Duration::from_secs(5);

/// The tasks of the replicas and of the autoscaler.
#[derive(Debug)]
pub(super) struct Scaling {
    replicas: JoinHandle<()>,
    stop_replicas: oneshot::Sender<()>,
    status: watch::Receiver<replicas::Status>,
    /// The desired counts that the autoscaler has decided.
    desired: watch::Sender<DesiredCounts>,
    /// Changes what is wanted of the replicas.
    control: ReplicaControl,
    /// Lets the autoscaler decide; sent when this process is the one that scales.
    begin: Option<oneshot::Sender<()>>,
    /// Ended before the replicas, so that it starts no others while they stop.
    autoscaler: JoinHandle<()>,
    stop_autoscaler: Option<watch::Sender<()>>,
    journal: Arc<autoscale::Journal>,
}

/// What the autoscaler's task needs.
struct Autoscaler {
    parts: ControlParts,
    status: watch::Receiver<replicas::Status>,
    desired: watch::Sender<DesiredCounts>,
    journal: Arc<autoscale::Journal>,
    begun: oneshot::Receiver<()>,
    stopped: watch::Receiver<()>,
}

impl Scaling {
    /// Runs the replicas, `counts` of them. The autoscaler waits for [`Self::begin`].
    pub(super) fn start(parts: &ControlParts, counts: ReplicaCounts) -> Self {
        let (desired, wanted) = watch::channel(
            counts
                .into_iter()
                .map(|(id, count)| (id, DesiredCount::of(count)))
                .collect(),
        );
        let (control, restarts) = ReplicaControl::new(desired.clone());
        let (sender, status) = watch::channel(replicas::Status::default());
        let (stop_replicas, stopped) = oneshot::channel();
        let replicas = replicas::run(
            parts.reader.clone(),
            parts.publisher.clone(),
            wanted,
            sender,
            restarts,
            parts.guardian,
            async {
                // Never sent: the sender is dropped.
                let _ = stopped.await;
            },
        );
        let journal = Arc::new(autoscale::Journal::default());
        let (release, begun) = oneshot::channel();
        let (stop_autoscaler, stopped) = watch::channel(());
        let autoscaler = Autoscaler {
            parts: parts.clone(),
            status: status.clone(),
            desired: desired.clone(),
            journal: Arc::clone(&journal),
            begun,
            stopped,
        };
        Self {
            replicas: tokio::spawn(parts.supervision.clone().require("replicas", replicas)),
            stop_replicas,
            status,
            desired,
            control,
            begin: Some(release),
            autoscaler: tokio::spawn(autoscaler.run()),
            stop_autoscaler: Some(stop_autoscaler),
            journal,
        }
    }

    /// The state of all replicas.
    pub(super) fn status(&self) -> &watch::Receiver<replicas::Status> {
        &self.status
    }

    /// Changes what is wanted of the replicas.
    pub(super) fn control(&self) -> &ReplicaControl {
        &self.control
    }

    /// The decisions of the autoscaler.
    pub(super) fn journal(&self) -> &Arc<autoscale::Journal> {
        &self.journal
    }

    /// The desired count of each group: the autoscaler's decision, which a provider follows
    /// with a delay, and in other groups the provider's own count.
    pub(super) fn counts(&self) -> ReplicaCounts {
        let status = self.status.borrow();
        let desired = self.desired.borrow();
        status
            .iter()
            // The number of a provider that has never answered is not known.
            .filter(|(_, group)| group.fault.is_none() || group.desired > 0)
            .map(|(id, group)| (id.clone(), group.desired))
            .chain(
                desired
                    .iter()
                    .filter_map(|(id, desired)| Some((id.clone(), desired.count()?))),
            )
            .collect()
    }

    /// Lets the autoscaler decide from now on.
    pub(super) fn begin(&mut self) {
        if let Some(begin) = self.begin.take() {
            // Fails only if the autoscaler has panicked.
            let _ = begin.send(());
        }
    }

    /// Stops the autoscaler: another process scales from now on. The replicas of this one run
    /// until it ends.
    pub(super) fn leave(&mut self) {
        self.stop_autoscaler = None;
    }

    /// Ends the autoscaler, stops the replicas and waits for their processes.
    pub(super) async fn stop(mut self) {
        drop((self.begin, self.stop_autoscaler));
        match timeout(JOURNAL_TIMEOUT, &mut self.autoscaler).await {
            Ok(Ok(())) => {}
            Ok(Err(_)) => error!("the autoscaler's task ended in a panic"),
            Err(_) => {
                warn!(
                    "the autoscaler's history is not written: the disk takes longer than {JOURNAL_TIMEOUT:?}"
                );
                self.autoscaler.abort();
            }
        }
        drop(self.stop_replicas);
        if self.replicas.await.is_err() {
            error!("the replicas' task ended in a panic");
        }
    }
}

impl Autoscaler {
    async fn run(self) {
        let reader = self.parts.reader.clone();
        let desired = self.desired.clone();
        // An error means that the process ends and never was to scale.
        if self.begun.await.is_ok() {
            let supervision = self.parts.supervision.clone();
            let task = move || {
                let mut stopped = self.stopped.clone();
                autoscale::run(
                    self.parts.reader.clone(),
                    Arc::clone(&self.parts.metrics),
                    self.status.clone(),
                    self.desired.clone(),
                    Arc::clone(&self.journal),
                    async move { while stopped.changed().await.is_ok() {} },
                )
            };
            supervision.restart("autoscaler", task).await;
        }
        release_engines(&desired, &reader);
    }
}

/// Withdraws the desired counts of groups with replicas that an engine runs: while this process
/// drains, another may scale them.
fn release_engines(desired: &watch::Sender<DesiredCounts>, reader: &Reader) {
    let snapshot = reader.load_full();
    let groups = snapshot.config.target_groups.iter();
    let own: Vec<_> = groups
        .filter(|group| group.replicas.as_ref().is_some_and(|r| r.runner.is_own()))
        .map(|group| &group.id)
        .collect();
    desired.send_modify(|desired| desired.retain(|group, _| own.contains(&group)));
}
