//! The replicas of one group: its providers, its targets, and the handover from one provider
//! to the next.
//!
//! A group has one provider, except while a reload changes its kind: then the one before goes
//! on until the new one serves. The reconciler is one task that owns them both and goes by
//! what they saw last, so it never waits for a provider.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::select_all;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep_until};
use tracing::{info, warn};

use super::managed::ManagedProvider;
use super::membership::{TargetView, Targets};
use super::state::{Purpose, Wanted};
use crate::config::{self, Metric, Replicas, Runner};
use crate::model::TargetGroupId;
use crate::observe::kind;
use crate::replicas::{
    GroupReplicas, Provider, ReplicaId, Status, StopHistory, StopReason, Stopped,
};
use crate::state::{Change, Publisher, Reader, Source};

/// How long Weir waits at its end for a provider that fails to stop its replicas.
const STOP_TIMEOUT: Duration = Duration::from_secs(20);

/// In which time half of what is known of a target's sessions is forgotten: a client that has
/// been away for some minutes will hardly notice another target.
const SESSION_HALF_LIFE: Duration = Duration::from_secs(60);

/// Replicas all take the same share of the requests.
const WEIGHT: u16 = 1;

/// What is to become of a group's replicas.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Order {
    /// Run as configured, so many; `None` leaves the number as the provider has it.
    Run(Box<Replicas>, Option<u32>),
    /// The group has no replicas any more: drain those that Weir runs, leave an engine's.
    Retire,
    /// Weir ends, and has drained: stop those that it runs.
    Stop,
}

/// Makes the provider of a group.
pub(crate) type StartProvider =
    Arc<dyn Fn(&TargetGroupId, &Runner) -> Box<dyn Provider> + Send + Sync>;

/// Makes the replicas of one group what is ordered.
pub(super) struct GroupReconciler {
    group: TargetGroupId,
    start: StartProvider,
    publisher: Publisher,
    reader: Reader,
    status: watch::Sender<Status>,
    /// The last one is wanted; those before it go once it serves.
    providers: Vec<ManagedProvider>,
    /// The members that the publisher was told last; `None` when it has to be told (again), as
    /// at the start, when it may still list what a reconciler before has left.
    published: Option<Vec<SocketAddr>>,
    /// Members that an engine runs: they stay published until Weir has ended.
    left: Vec<SocketAddr>,
    /// The targets behind the replicas. Those of replicas that drain are with their provider.
    targets: Targets,
    /// Whether there will be more snapshots.
    is_followed: bool,
    /// When it was told to stop.
    stopped: Option<Instant>,
    /// When to forget sessions next.
    forget_at: Instant,
    /// Replicas that are to be replaced.
    restarts: mpsc::Receiver<ReplicaId>,
    /// Replicas that have stopped.
    history: Arc<StopHistory>,
}

impl GroupReconciler {
    pub(super) fn new(
        group: TargetGroupId,
        start: StartProvider,
        publisher: Publisher,
        reader: Reader,
        status: watch::Sender<Status>,
        restarts: mpsc::Receiver<ReplicaId>,
    ) -> Self {
        Self {
            group,
            start,
            publisher,
            reader,
            status,
            providers: Vec::new(),
            published: None,
            left: Vec::new(),
            targets: Targets::new(),
            is_followed: true,
            stopped: None,
            forget_at: Instant::now() + SESSION_HALF_LIFE,
            restarts,
            history: Arc::default(),
        }
    }

    /// Follows orders until the last replica is gone after one to retire or stop.
    pub(super) async fn run(mut self, mut orders: watch::Receiver<Order>) {
        let mut order = orders.borrow_and_update().clone();
        let mut has_supervisor = true;
        self.follow(&order);
        loop {
            self.reconcile().await;
            if self.is_done(&order) {
                break;
            }
            let give_up = self.stopped.map(|stopped| stopped + STOP_TIMEOUT);
            // Every arm is cancel-safe: each either waits or took what it waited for.
            tokio::select! {
                open = orders.changed(), if has_supervisor => {
                    has_supervisor = open.is_ok();
                    // Without a supervisor Weir ends.
                    order = match open {
                        Ok(()) => orders.borrow_and_update().clone(),
                        Err(_) => Order::Stop,
                    };
                    self.follow(&order);
                }
                () = progress(&mut self.providers) => {}
                Some(replica) = self.restarts.recv() => self.replace(replica),
                more = self.reader.changed(), if self.is_followed => self.is_followed = more,
                () = sleep_until(self.forget_at) => self.forget_sessions(),
                () = until(give_up), if give_up.is_some_and(|at| at > Instant::now()) => {}
            }
        }
        self.status.send_modify(|status| {
            status.remove(&self.group);
        });
    }

    fn follow(&mut self, order: &Order) {
        match order {
            Order::Run(settings, count) => self.run_with(settings, *count),
            Order::Retire => {
                self.providers.retain(|provider| provider.state.is_own);
                self.providers.iter_mut().for_each(|p| p.state.retire());
            }
            Order::Stop => {
                self.stopped = Some(Instant::now());
                for engine in self.providers.extract_if(.., |p| !p.state.is_own) {
                    self.left.extend(engine.state.membership.members);
                }
                self.providers.iter_mut().for_each(|p| p.state.stop());
            }
        }
    }

    /// Goes on with the provider of this kind, the last or one that has not gone yet, or begins
    /// with a new one.
    fn run_with(&mut self, settings: &Replicas, count: Option<u32>) {
        let mut providers = self.providers.iter();
        if let Some(index) = providers.position(|provider| provider.is_of(&settings.runner)) {
            let mut wanted = self.providers.remove(index);
            wanted.state.serve(settings, count);
            self.providers.push(wanted);
            return;
        }
        let wanted = Wanted {
            settings: settings.clone(),
            count,
            purpose: Purpose::Serve,
            is_measured: false,
        };
        let provider = (self.start)(&self.group, &settings.runner);
        self.providers
            .push(ManagedProvider::new(&self.group, provider, wanted));
    }

    /// Only the last provider is to go on.
    fn replace(&mut self, replica: ReplicaId) {
        if let Some(provider) = self.providers.last_mut() {
            provider.state.replace(replica);
        }
    }

    fn is_done(&self, order: &Order) -> bool {
        if matches!(order, Order::Run(..)) {
            return false;
        }
        let is_late = self.stopped.is_some_and(|at| at.elapsed() >= STOP_TIMEOUT);
        if is_late && self.providers.iter().any(|p| p.state.is_stuck()) {
            warn!(
                group = %self.group, timeout = ?STOP_TIMEOUT,
                "replicas are left behind: their provider does not stop them"
            );
            return true;
        }
        self.providers.is_empty()
    }

    /// Brings targets, drains, calls and status in line with what is wanted and seen.
    async fn reconcile(&mut self) {
        self.remember_targets();
        let snapshot = self.reader.load_full();
        let group = snapshot
            .group_config(&self.group)
            .filter(|group| group.replicas.is_some());
        let view = TargetView {
            targets: &self.targets,
            is_checked: group.is_some_and(|group| group.health.is_some()),
        };
        for provider in &mut self.providers {
            provider.state.wanted.is_measured = group.is_some_and(needs_usage);
            provider.choose_members(&view);
        }
        hand_over(&mut self.providers, &view);
        self.publish(group.is_some()).await;
        for provider in &mut self.providers {
            provider.advance(&mut self.targets);
        }
        self.note_stopped();
        self.show();
        self.providers.retain(|provider| !provider.state.is_gone());
    }

    /// Keeps hold of the targets that were published: once removed, no snapshot has them.
    fn remember_targets(&mut self) {
        let used: HashSet<SocketAddr> = self
            .providers
            .iter()
            .flat_map(|provider| provider.state.addresses())
            .collect();
        self.targets.retain(|addr, _| used.contains(addr));
        let snapshot = self.reader.load_full();
        let group = snapshot.group_named(&self.group);
        let listed: Targets = group
            .iter()
            .flat_map(|group| group.targets.iter())
            .filter(|t| !t.registration.is_leaving())
            .filter_map(|t| Some((t.target.id.addr.address()?, t.target.clone())))
            .collect();
        let published = self.published.iter().flatten();
        let found: Option<Vec<_>> = published
            .map(|addr| Some((*addr, listed.get(addr)?.clone())))
            .collect();
        match found {
            Some(found) => self.targets.extend(found),
            // Not visible yet, or lost by a group that was removed and came back between two
            // looks: publishing it twice does no harm.
            None => self.published = None,
        }
    }

    async fn publish(&mut self, is_configured: bool) {
        let mut seen = HashSet::new();
        let members: Vec<SocketAddr> = self
            .providers
            .iter()
            .flat_map(|provider| &provider.state.membership.members)
            .chain(&self.left)
            .copied()
            .filter(|addr| seen.insert(*addr))
            .collect();
        let is_blind =
            self.published.is_none() && self.providers.iter().all(|p| p.state.fleet().is_none());
        if self.published.as_ref() == Some(&members) || is_blind {
            return;
        }
        // A reload that takes the replicas out of a group takes their members out too;
        // publishing more would bring back the dead when the replicas come back.
        if is_configured {
            let change = Change::Members {
                group: self.group.clone(),
                source: Source::Replicas,
                members: members.iter().map(|&addr| (addr.into(), WEIGHT)).collect(),
            };
            // Without a publisher no target is sent requests.
            let _ = self.publisher.send(change).await;
        }
        self.published = Some(members);
    }

    fn forget_sessions(&mut self) {
        self.forget_at = Instant::now() + SESSION_HALF_LIFE;
        self.targets.values().for_each(|t| t.sessions().halve());
    }

    /// Keeps and logs which replicas have stopped. Whatever ran them has logged those that ended by
    /// themselves, and the end of Weir needs no line for each.
    fn note_stopped(&mut self) {
        let providers = self.providers.iter_mut();
        let stopped: Vec<Stopped> = providers.flat_map(|one| one.state.take_stopped()).collect();
        for stopped in stopped {
            if !matches!(stopped.reason, StopReason::Exited | StopReason::Shutdown) {
                let (replica, reason) = (stopped.id.0, stopped.reason.name());
                let (name, exit) = (stopped.name.as_deref(), stopped.exit.as_deref());
                info!(event = kind::REPLICA, group = %self.group, replica, name, reason, exit, "replica has stopped");
            }
            Arc::make_mut(&mut self.history).add(stopped);
        }
    }

    fn show(&self) {
        let last = self.providers.last();
        let Some(shown) = last.and_then(|provider| provider.state.status()) else {
            return;
        };
        let shown = GroupReplicas {
            stopped: Arc::clone(&self.history),
            ..shown
        };
        self.status.send_if_modified(|status| {
            let group = status.entry(self.group.clone()).or_default();
            let is_other = *group != shown;
            *group = shown;
            is_other
        });
    }
}

/// Retires the providers that the last one has taken over from, and parts with engines among
/// them: their replicas go on running.
fn hand_over(providers: &mut Vec<ManagedProvider>, view: &TargetView<'_>) {
    if providers.len() < 2 {
        return;
    }
    let Some(last) = providers.pop_if(|last| last.state.can_take_over(view)) else {
        return;
    };
    providers.retain(|provider| provider.state.is_own);
    for provider in providers.iter_mut() {
        provider.state.retire();
    }
    providers.push(last);
}

/// Waits until one of the providers may have to be advanced; for ever if there is none.
/// Cancel-safe.
async fn progress(providers: &mut [ManagedProvider]) {
    if providers.is_empty() {
        return std::future::pending().await;
    }
    select_all(providers.iter_mut().map(|p| Box::pin(p.progress()))).await;
}

/// Whether the number of replicas follows what they use.
fn needs_usage(group: &config::TargetGroup) -> bool {
    let Some(scaling) = &group.autoscaling else {
        return false;
    };
    let tracked = scaling.target_tracking.iter().map(|policy| &policy.metric);
    let stepped = scaling.step_scaling.iter().map(|policy| &policy.metric);
    let predicted = scaling.predictive.iter().map(|policy| &policy.metric);
    let mut metrics = tracked.chain(stepped).chain(predicted);
    metrics.any(|metric| matches!(metric, Metric::Cpu | Metric::Memory))
}

async fn until(at: Option<Instant>) {
    match at {
        Some(at) => sleep_until(at).await,
        None => std::future::pending().await,
    }
}
