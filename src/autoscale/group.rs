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
use crate::observe::kind;
use crate::replicas::{ChangedBy, DesiredCount, Fault, GroupReplicas};
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
    at_zero: AtZero,
}

/// Whether a group has no replicas, so that a waiting request has to start the first one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum AtZero {
    No,
    /// The next request causes an evaluation at once.
    Waiting,
    /// A request has caused one, which has not started a replica: another one can only after
    /// the next regular evaluation.
    Requested,
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
            at_zero: AtZero::No,
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
        match observed.changed_by {
            ChangedBy::Itself => {}
            ChangedBy::Provider => self.scaler.follow_provider(),
            ChangedBy::AdminApi => self.scaler.follow(observed.count, clocks.now.uptime),
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
        self.at_zero = match (decision.desired, self.at_zero) {
            (0, AtZero::Requested) => AtZero::Requested,
            (0, AtZero::No | AtZero::Waiting) => AtZero::Waiting,
            (_, _) => AtZero::No,
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

    /// Begins a regular evaluation: after it a request can cause another one.
    pub(super) fn begin_regular(&mut self) {
        if self.at_zero == AtZero::Requested {
            self.at_zero = AtZero::Waiting;
        }
    }

    /// Whether a request waits for the first replica and has not caused an evaluation yet. It
    /// has then.
    pub(super) fn take_request(&mut self, group: &state::Group) -> bool {
        let is_requested = self.awaits_request() && group.admission.waiting() > 0;
        if is_requested {
            self.at_zero = AtZero::Requested;
        }
        is_requested
    }

    /// Whether [`Self::take_request`] may return true before the next evaluation.
    pub(super) fn awaits_request(&self) -> bool {
        self.at_zero == AtZero::Waiting
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
        None => info!(event = kind::SCALING, %group, from, to, running, formula, "{what}"),
        Some(fault) => {
            let fault = &fault.message;
            info!(
                event = kind::SCALING, %group,
                from, to, running, formula, fault, "{what}, when the provider can"
            );
        }
    }
}
