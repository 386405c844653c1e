//! One group that scales: from its sample to a wish, an entry in the journal, a line in the
//! record and a line in the log.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tracing::info;

use super::archive::Archive;
use super::gaps::Gaps;
use super::record::{Loss, Recorder, label};
use super::signal::{Moment, Signal, Subject};
use super::wish::Wish;
use super::{Decision, Journal, Outcome, Scaler};
use crate::config::Autoscaling;
use crate::model::TargetGroupId;
use crate::replicas::{Fault, GroupReplicas};
use crate::state::Snapshot;

/// All that is remembered of one group.
#[derive(Debug)]
pub(super) struct Group {
    id: TargetGroupId,
    policy: Autoscaling,
    scaler: Scaler,
    signal: Signal,
    wish: Wish,
    gaps: Gaps,
    recorder: Option<Recorder>,
    /// Of all recorders it has had.
    loss: Arc<Loss>,
    archive: Option<Archive>,
    /// Whether the provider has ever said how many there are.
    is_known: bool,
    sleep: Sleep,
}

/// Whether a group has no replicas, and somebody may have to wake it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sleep {
    Awake,
    Asleep,
    /// It was called, and did not wake: not before the next regular look.
    Called,
}

impl Group {
    /// `places` bounds how many pages all groups read at a time; `wish` is what the provider
    /// has been asked for.
    pub(super) fn new(
        id: &TargetGroupId,
        policy: &Autoscaling,
        places: Arc<Semaphore>,
        wish: Option<u32>,
    ) -> Self {
        let scaler = Scaler::new(&id.0, policy.clone());
        let mut signal = Signal::new(places);
        signal.want(scaler.metrics());
        Self {
            id: id.clone(),
            policy: policy.clone(),
            scaler,
            signal,
            wish: Wish::resumed(wish),
            gaps: Gaps::default(),
            recorder: None,
            loss: Arc::default(),
            archive: None,
            is_known: false,
            sleep: Sleep::Awake,
        }
    }

    /// Follows a configuration that was loaded. `writers` gets the tasks that write records
    /// and histories.
    pub(super) fn configure(&mut self, policy: &Autoscaling, writers: &mut JoinSet<()>) {
        if self.policy != *policy {
            self.policy = policy.clone();
            self.scaler.configure(policy.clone());
            self.signal.want(self.scaler.metrics());
        }
        self.configure_archive();
        self.configure_recorder(writers);
    }

    fn configure_archive(&mut self) {
        let history = self.policy.predictive.as_ref();
        let path = history.and_then(|predictive| predictive.history.as_deref());
        if self.archive.as_ref().map(Archive::path) != path {
            self.archive = path.map(|path| Archive::open(path.to_owned()));
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
                let loss = Arc::clone(&self.loss);
                let (recorder, task) = Recorder::new(path.clone(), &metrics, loss);
                writers.spawn(task);
                self.recorder = Some(recorder);
            }
        }
    }

    /// What the provider is to be asked for; `None` leaves it the configuration's number.
    pub(super) fn wish(&self) -> Option<u32> {
        self.wish.count()
    }

    /// Writes down what the forecast has learned, if that is due.
    pub(super) fn keep(&mut self, now: Duration, writers: &mut JoinSet<()>) {
        let Some(archive) = &mut self.archive else {
            return;
        };
        archive.load(&mut self.scaler);
        if archive.is_due(now)
            && let Some(task) = archive.keep(&self.scaler)
        {
            writers.spawn(task);
        }
    }

    /// Writes down what is left to write.
    pub(super) async fn end(mut self) {
        if let Some(mut archive) = self.archive.take() {
            archive.loaded(&mut self.scaler).await;
            if let Some(task) = archive.keep(&self.scaler) {
                task.await;
            }
        }
    }

    /// Takes a sample and decides.
    pub(super) fn evaluate(&mut self, subject: Subject<'_>, moment: Moment, journal: &Journal) {
        let replicas = subject.replicas;
        if !self.is_told(replicas) {
            return;
        }
        let desired = self.wish.desired(replicas, moment.now.uptime);
        if desired.is_foreign {
            self.scaler.follow_engine();
        }
        let mut sample = self.signal.sample(subject, moment);
        sample.capacity.desired = desired.count;
        self.gaps.look(&self.id.0, &sample);
        let readings = sample.readings.clone();
        let decision = self.scaler.decide(sample, replicas.is_scaler);
        if replicas.is_scaler && decision.desired != desired.count {
            self.wish.ask(decision.desired, replicas, moment.now.uptime);
        }
        tell(&decision, replicas.fault.as_ref());
        if let Some(recorder) = &self.recorder {
            recorder.write(&decision, &readings);
        }
        self.sleep = match (decision.desired, self.sleep) {
            (0, Sleep::Called) => Sleep::Called,
            (0, Sleep::Awake | Sleep::Asleep) => Sleep::Asleep,
            (_, _) => Sleep::Awake,
        };
        let readings = readings.into_iter();
        let named = readings.map(|(metric, reading)| (label(&metric), reading));
        journal.record(&self.id, decision, named.collect());
        journal.lost(&self.id, self.loss.lines());
        if self.policy.predictive.is_some() {
            journal.foresee(&self.id, self.scaler.forecast());
        }
    }

    /// It is looked at anyway, and may be called again after that.
    pub(super) fn is_due(&mut self) -> bool {
        if self.sleep == Sleep::Called {
            self.sleep = Sleep::Asleep;
        }
        true
    }

    /// Whether the group has no replicas and requests wait for one, and this was not so a
    /// moment ago: it should be evaluated at once.
    pub(super) fn is_called(&mut self, snapshot: &Snapshot, index: usize) -> bool {
        let is_called = self.is_asleep() && snapshot.groups()[index].admission.waiting() > 0;
        if is_called {
            self.sleep = Sleep::Called;
        }
        is_called
    }

    /// Whether [`Self::is_called`] may say yes before the next evaluation.
    pub(super) fn is_asleep(&self) -> bool {
        self.sleep == Sleep::Asleep
    }

    /// As long as the provider has said nothing, nothing is known: to ask for the least number
    /// then might take replicas away from an engine that cannot be reached yet.
    fn is_told(&mut self, replicas: &GroupReplicas) -> bool {
        let says_something = replicas.desired > 0 || !replicas.replicas.is_empty();
        self.is_known |= replicas.fault.is_none() || says_something;
        self.is_known
    }
}

/// Says a change, once.
fn tell(decision: &Decision, fault: Option<&Fault>) {
    let what = match decision.outcome {
        Outcome::ScaleOut => "scaling out",
        Outcome::ScaleIn => "scaling in",
        Outcome::Hold(_) => return,
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
