//! One group that scales: evaluates it, and writes the decision to the journal, the record and
//! the log.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tracing::info;

use super::history_file::HistoryFile;
use super::missing::MissingMetrics;
use super::record::{LostLines, Recorder, label};
use super::sampler::{Clocks, SampleContext, Sampler};
use super::{Decision, Journal, Scaler, ScalingOutcome};
use crate::config::Autoscaling;
use crate::model::TargetGroupId;
use crate::replicas::{DesiredCount, Fault, GroupReplicas};
use crate::state;

/// The state of one group.
#[derive(Debug)]
pub(super) struct Group {
    id: TargetGroupId,
    policy: Autoscaling,
    scaler: Scaler,
    sampler: Sampler,
    missing: MissingMetrics,
    recorder: Option<Recorder>,
    /// Shared by all recorders of the group.
    lost: Arc<LostLines>,
    history: Option<HistoryFile>,
    /// Whether the provider has ever reported its replicas.
    is_known: bool,
    sleep: Sleep,
}

/// Whether a group has no replicas, so that a waiting request has to start the first one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sleep {
    Awake,
    Asleep,
    /// It was called and has not started a replica: it is called again after the next regular
    /// evaluation at the earliest.
    Called,
}

impl Group {
    /// `permits` bounds how many pages all groups read at a time.
    pub(super) fn new(id: &TargetGroupId, policy: &Autoscaling, permits: Arc<Semaphore>) -> Self {
        let scaler = Scaler::new(&id.0, policy.clone());
        let mut sampler = Sampler::new(permits);
        sampler.set_metrics(scaler.metrics());
        Self {
            id: id.clone(),
            policy: policy.clone(),
            scaler,
            sampler,
            missing: MissingMetrics::default(),
            recorder: None,
            lost: Arc::default(),
            history: None,
            is_known: false,
            sleep: Sleep::Awake,
        }
    }

    /// Applies a configuration. The tasks that write records and histories are spawned on
    /// `writers`.
    pub(super) fn configure(&mut self, policy: &Autoscaling, writers: &mut JoinSet<()>) {
        if self.policy != *policy {
            self.policy = policy.clone();
            self.scaler.configure(policy.clone());
            self.sampler.set_metrics(self.scaler.metrics());
        }
        self.configure_history();
        self.configure_recorder(writers);
    }

    fn configure_history(&mut self) {
        let predictive = self.policy.predictive.as_ref();
        let path = predictive.and_then(|predictive| predictive.history.as_deref());
        if self.history.as_ref().map(HistoryFile::path) != path {
            self.history = path.map(|path| HistoryFile::open(path.to_owned()));
        }
    }

    fn configure_recorder(&mut self, writers: &mut JoinSet<()>) {
        let metrics = self.scaler.metrics();
        let Some(path) = &self.policy.record else {
            self.recorder = None;
            return;
        };
        match &self.recorder {
            Some(recorder) if recorder.is_for(path, &metrics) => recorder.reopen(),
            Some(_) | None => {
                let lost = Arc::clone(&self.lost);
                let (recorder, task) = Recorder::new(path.clone(), &metrics, lost);
                writers.spawn(task);
                self.recorder = Some(recorder);
            }
        }
    }

    /// Stores the history of the forecast if that is due.
    pub(super) fn save_history(&mut self, now: Duration, writers: &mut JoinSet<()>) {
        let Some(history) = &mut self.history else {
            return;
        };
        history.load(&mut self.scaler);
        if history.is_due(now)
            && let Some(task) = history.save(&self.scaler)
        {
            writers.spawn(task);
        }
    }

    /// Ends the recorder and stores the history a last time.
    pub(super) async fn end(mut self) {
        if let Some(mut history) = self.history.take() {
            history.wait_and_load(&mut self.scaler).await;
            if let Some(task) = history.save(&self.scaler) {
                task.await;
            }
        }
    }

    /// Takes a sample and decides.
    pub(super) fn evaluate(
        &mut self,
        context: SampleContext<'_>,
        clocks: Clocks,
        desired: &mut DesiredCount,
        journal: &Journal,
    ) {
        let replicas = context.replicas;
        if !self.update_known(replicas) {
            return;
        }
        let observed = desired.observe(replicas, clocks.now.uptime);
        if observed.is_foreign {
            self.scaler.follow_provider();
        }
        let mut sample = self.sampler.sample(context, clocks);
        sample.capacity.desired = observed.count;
        self.missing.record(&self.id.0, &sample);
        let readings = sample.readings.clone();
        let decision = self.scaler.decide(sample, replicas.is_scaler);
        if replicas.is_scaler && decision.desired != observed.count {
            desired.request(decision.desired, replicas, clocks.now.uptime);
        }
        log_change(&decision, replicas.fault.as_ref());
        if let Some(recorder) = &self.recorder {
            recorder.write(&decision, &readings);
        }
        self.sleep = match (decision.desired, self.sleep) {
            (0, Sleep::Called) => Sleep::Called,
            (0, Sleep::Awake | Sleep::Asleep) => Sleep::Asleep,
            (_, _) => Sleep::Awake,
        };
        let readings = readings
            .into_iter()
            .map(|(metric, reading)| (label(&metric), reading));
        journal.record(&self.id, decision, readings.collect());
        journal.set_unrecorded(&self.id, self.lost.lines());
        if self.policy.predictive.is_some() {
            journal.set_forecast(&self.id, self.scaler.forecast());
        }
    }

    /// Whether a regular evaluation is due, which is always so. The group may be called again
    /// after it.
    pub(super) fn is_due(&mut self) -> bool {
        if self.sleep == Sleep::Called {
            self.sleep = Sleep::Asleep;
        }
        true
    }

    /// Whether requests wait for the first replica and the group was not called for them yet: it
    /// must be evaluated at once.
    pub(super) fn is_called(&mut self, group: &state::Group) -> bool {
        let is_called = self.is_asleep() && group.admission.waiting() > 0;
        if is_called {
            self.sleep = Sleep::Called;
        }
        is_called
    }

    /// Whether [`Self::is_called`] may return true before the next evaluation.
    pub(super) fn is_asleep(&self) -> bool {
        self.sleep == Sleep::Asleep
    }

    /// Returns whether the provider has reported its replicas. Before that, asking for the lower
    /// bound might remove replicas of an engine that cannot be reached yet.
    fn update_known(&mut self, replicas: &GroupReplicas) -> bool {
        let has_replicas = replicas.desired > 0 || !replicas.replicas.is_empty();
        self.is_known |= replicas.fault.is_none() || has_replicas;
        self.is_known
    }
}

/// Logs a change of the count.
fn log_change(decision: &Decision, fault: Option<&Fault>) {
    let what = match decision.outcome {
        ScalingOutcome::ScaleOut => "scaling out",
        ScalingOutcome::ScaleIn => "scaling in",
        ScalingOutcome::Hold(_) => return,
    };
    let (group, formula) = (&decision.group, decision.formula());
    let (from, to, running) = (decision.before, decision.desired, decision.capacity.running);
    match fault {
        None => info!(%group, from, to, running, formula, "{what}"),
        Some(fault) => {
            let fault = &fault.message;
            info!(
                %group,
                from, to, running, formula, fault, "{what}, when the provider can"
            );
        }
    }
}
