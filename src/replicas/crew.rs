//! The replicas of one group as targets: who runs is registered, who drains is taken
//! out and let go once its requests have ended.
//!
//! The crew never waits for a provider: operators ask them, and the crew goes by what they
//! saw last.

use std::collections::{BTreeSet, HashSet};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Notify, watch};
use tokio::task::{JoinError, JoinSet};
use tokio::time::{Instant, sleep, sleep_until};
use tracing::{info, warn};

use super::generation::{Generation, Targets};
use super::operator::{Aim, Goal};
use super::warming::Warming;
use super::{Provider, ReplicaId, Status};
use crate::config::{self, Metric, Replicas, Runner};
use crate::model::TargetGroupId;
use crate::state::{Change, Publisher, Reader, Source};

/// Between looks at whether a draining replica's target has been released.
const LOOK_AGAIN: Duration = Duration::from_millis(50);

/// How long Weir waits at its end for a provider that fails to stop its replicas.
const PATIENCE: Duration = Duration::from_secs(20);

/// In which time half of what is known of a target's sessions is forgotten: who has been
/// away for some minutes will hardly notice another target.
const HALF_LIFE: Duration = Duration::from_secs(60);

/// Configured replicas all take the same share.
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
pub(super) type Start = Arc<dyn Fn(&TargetGroupId, &Runner) -> Box<dyn Provider> + Send + Sync>;

/// Runs the replicas of one group.
pub(super) struct Crew {
    group: TargetGroupId,
    start: Start,
    publisher: Publisher,
    reader: Reader,
    status: watch::Sender<Status>,
    /// The last one is wanted; those before it go once it serves.
    generations: Vec<Generation>,
    begun: u64,
    operators: JoinSet<()>,
    /// Notified when a provider has something new.
    news: Arc<Notify>,
    /// What the publisher was told last; `None` when it has to be told (again), as at
    /// the start, when it may still list what an earlier crew has left.
    published: Option<Vec<SocketAddr>>,
    /// What an engine runs stays published until Weir ends.
    left: Vec<SocketAddr>,
    /// The targets behind running replicas: once removed, no snapshot has them.
    targets: Targets,
    /// Of a generation's replica.
    drains: JoinSet<(u64, ReplicaId)>,
    warming: Warming,
    /// Whether there will be more snapshots.
    is_followed: bool,
    /// When it was told to stop.
    stopped: Option<Instant>,
    /// When to forget sessions next.
    forget_at: Instant,
}

/// What the newest snapshot says of the group.
#[derive(Clone, Copy, Debug)]
struct Group {
    /// Whether it is to have replicas.
    is_configured: bool,
    /// Whether its targets are checked.
    is_checked: bool,
    /// Whether its number of replicas follows what they use.
    is_measured: bool,
}

impl Crew {
    pub(super) fn new(
        group: TargetGroupId,
        start: Start,
        publisher: Publisher,
        reader: Reader,
        status: watch::Sender<Status>,
    ) -> Self {
        Self {
            warming: Warming::new(group.clone()),
            group,
            start,
            publisher,
            reader,
            status,
            generations: Vec::new(),
            begun: 0,
            operators: JoinSet::new(),
            news: Arc::default(),
            published: None,
            left: Vec::new(),
            targets: Targets::new(),
            drains: JoinSet::new(),
            is_followed: true,
            stopped: None,
            forget_at: Instant::now() + HALF_LIFE,
        }
    }

    /// Follows orders until the last replica is gone after one to retire or stop.
    pub(super) async fn run(mut self, mut orders: watch::Receiver<Order>) {
        let mut order = orders.borrow_and_update().clone();
        let mut has_supervisor = true;
        self.obey(&order).await;
        loop {
            self.sync(&order).await;
            if self.is_done(&order) {
                break;
            }
            let patience = self.stopped.map(|stopped| stopped + PATIENCE);
            // Every arm is cancel-safe: each either waits or took what it waited for.
            tokio::select! {
                open = orders.changed(), if has_supervisor => {
                    has_supervisor = open.is_ok();
                    // Without a supervisor Weir ends.
                    order = match open {
                        Ok(()) => orders.borrow_and_update().clone(),
                        Err(_) => Order::Stop,
                    };
                    self.obey(&order).await;
                }
                () = self.news.notified() => {}
                Some(drained) = self.drains.join_next() => if let Ok((number, replica)) = drained {
                    self.release(number, replica);
                },
                () = self.warming.progress() => {}
                Some(ended) = self.operators.join_next() => check(ended),
                more = self.reader.changed(), if self.is_followed => self.is_followed = more,
                () = sleep_until(self.forget_at) => self.forget_sessions(),
                () = until(patience), if patience.is_some_and(|at| at > Instant::now()) => {}
            }
        }
        self.status.send_modify(|status| {
            status.remove(&self.group);
        });
    }

    async fn obey(&mut self, order: &Order) {
        match order {
            Order::Run(settings, count) => self.run_with(settings, *count),
            Order::Retire => {
                self.generations.retain(Generation::is_own);
                self.generations.iter().for_each(Generation::retire);
            }
            Order::Stop => {
                self.stopped = Some(Instant::now());
                self.drains.shutdown().await;
                let engines = self.generations.extract_if(.., |all| !all.is_own());
                self.left
                    .extend(engines.flat_map(|all| all.members.clone()));
                self.generations.iter_mut().for_each(Generation::stop);
            }
        }
    }

    /// Goes on with the generation of this kind, the last or one that has not gone yet, or
    /// begins one.
    fn run_with(&mut self, settings: &Replicas, count: Option<u32>) {
        let mut generations = self.generations.iter();
        match generations.position(|all| all.is_of(&settings.runner)) {
            Some(index) => {
                let wanted = self.generations.remove(index);
                wanted.run(settings, count);
                self.generations.push(wanted);
            }
            None => self.begin(settings, count),
        }
    }

    /// Begins with a provider of another kind.
    fn begin(&mut self, settings: &Replicas, count: Option<u32>) {
        let goal = Goal {
            settings: settings.clone(),
            count,
            aim: Aim::Run,
            released: BTreeSet::new(),
            is_measured: false,
        };
        self.begun += 1;
        self.generations.push(Generation::start(
            self.begun,
            &self.group,
            (self.start)(&self.group, &settings.runner),
            self.reader.clone(),
            goal,
            &mut self.operators,
            &self.news,
        ));
    }

    fn is_done(&self, order: &Order) -> bool {
        if matches!(order, Order::Run(..)) {
            return false;
        }
        let is_late = self.stopped.is_some_and(|at| at.elapsed() >= PATIENCE);
        if is_late && self.generations.iter().any(Generation::is_stuck) {
            warn!(group = %self.group, "replicas are left behind: they cannot be stopped");
            return true;
        }
        self.generations.is_empty()
    }

    /// Brings targets, drains and status in line with what the providers have.
    async fn sync(&mut self, order: &Order) {
        let group = self.group();
        self.remember_targets();
        for generation in &mut self.generations {
            generation.measure(group.is_measured);
            generation.refresh();
        }
        self.warming.follow(&self.generations);
        for generation in &mut self.generations {
            let (warming, number) = (&self.warming, generation.number);
            let is_cold = generation.warm_up().is_some();
            generation.choose(&self.targets, group.is_checked, |id, addr| {
                !is_cold || warming.is_warm(&(number, id, addr))
            });
        }
        self.hand_over(group.is_checked);
        self.publish(group.is_configured).await;
        self.let_go(order);
        self.show();
        self.generations.retain(|generation| !generation.is_gone());
    }

    fn group(&self) -> Group {
        let snapshot = self.reader.load_full();
        let group = snapshot.group_config(&self.group);
        let group = group.filter(|group| group.replicas.is_some());
        Group {
            is_configured: group.is_some(),
            is_checked: group.is_some_and(|group| group.health.is_some()),
            is_measured: group.is_some_and(wants_usage),
        }
    }

    /// Sends the generations home that the last one has taken over from.
    fn hand_over(&mut self, is_checked: bool) {
        let Some((last, before)) = self.generations.split_last() else {
            return;
        };
        if before.is_empty() || !last.serves(&self.targets, is_checked) {
            return;
        }
        before.iter().for_each(Generation::retire);
        let last = last.number;
        self.generations
            .retain(|generation| generation.is_own() || generation.number == last);
    }

    /// Keeps hold of the targets that were published, and notices when they got lost.
    fn remember_targets(&mut self) {
        let used: HashSet<SocketAddr> = self
            .generations
            .iter()
            .flat_map(Generation::addresses)
            .collect();
        self.targets.retain(|addr, _| used.contains(addr));
        let snapshot = self.reader.load_full();
        let listed = snapshot
            .group_named(&self.group)
            .map(|group| group.targets.iter());
        let listed = listed.into_iter().flatten();
        let listed = listed.filter(|t| !t.registration.is_leaving());
        let listed: Targets = listed
            .map(|t| (t.target.id.addr, t.target.clone()))
            .collect();
        let published = self.published.iter().flatten();
        let found: Option<Vec<_>> = published
            .map(|addr| Some((*addr, listed.get(addr)?.clone())))
            .collect();
        match found {
            Some(found) => self.targets.extend(found),
            // Not visible yet, or lost by a group that was removed and came back before
            // anybody looked: saying it twice does no harm.
            None => self.published = None,
        }
    }

    async fn publish(&mut self, is_configured: bool) {
        let mut seen = HashSet::new();
        let generations = self.generations.iter();
        let addresses = generations.flat_map(|generation| &generation.members);
        let addresses: Vec<SocketAddr> = addresses
            .chain(&self.left)
            .copied()
            .filter(|addr| seen.insert(*addr))
            .collect();
        let is_blind = self.published.is_none() && self.generations.iter().all(|g| !g.has_listed());
        if self.published.as_ref() == Some(&addresses) || is_blind {
            return;
        }
        // A reload that takes the replicas out of a group takes their members out too;
        // saying more would bring back the dead when the replicas come back.
        if is_configured {
            let members = addresses.iter().map(|&addr| (addr, WEIGHT)).collect();
            let change = Change::Members {
                group: self.group.clone(),
                source: Source::Replicas,
                members,
            };
            // Without a publisher nobody is sent requests.
            let _ = self.publisher.send(change).await;
        }
        self.published = Some(addresses);
    }

    /// Releases replicas once their targets have left the group and have drained, or have
    /// had the group's deregistration delay.
    fn let_go(&mut self, order: &Order) {
        for generation in &mut self.generations {
            let number = generation.number;
            for (id, addr) in generation.leaving() {
                let target = addr.and_then(|addr| self.targets.remove(&addr));
                match target {
                    Some(target) if *order != Order::Stop => {
                        info!(group = %self.group, address = %target.id.addr, "replica drains");
                        self.drains.spawn(async move {
                            while !target.is_released() {
                                sleep(LOOK_AGAIN).await;
                            }
                            (number, id)
                        });
                    }
                    Some(_) | None => generation.release(id),
                }
            }
        }
    }

    fn release(&self, number: u64, replica: ReplicaId) {
        let mut generations = self.generations.iter();
        if let Some(generation) = generations.find(|all| all.number == number) {
            generation.release(replica);
        }
    }

    fn forget_sessions(&mut self) {
        self.forget_at = Instant::now() + HALF_LIFE;
        self.targets.values().for_each(|t| t.sessions().halve());
    }

    fn show(&self) {
        let Some(shown) = self.generations.last().and_then(Generation::status) else {
            return;
        };
        self.status.send_if_modified(|status| {
            let group = status.entry(self.group.clone()).or_default();
            let is_other = *group != shown;
            *group = shown;
            is_other
        });
    }
}

/// Whether the number of replicas follows what they use.
fn wants_usage(group: &config::TargetGroup) -> bool {
    let Some(scaling) = &group.autoscaling else {
        return false;
    };
    let tracked = scaling.target_tracking.iter().map(|policy| &policy.metric);
    let stepped = scaling.step_scaling.iter().map(|policy| &policy.metric);
    let predicted = scaling.predictive.iter().map(|policy| &policy.metric);
    let mut metrics = tracked.chain(stepped).chain(predicted);
    metrics.any(|metric| matches!(metric, Metric::Cpu | Metric::Memory))
}

/// A crew without its operator could do nothing: it panics with it, and is begun again, see
/// [`super::supervisor`].
fn check(ended: Result<(), JoinError>) {
    if let Err(error) = ended
        && let Ok(panic) = error.try_into_panic()
    {
        std::panic::resume_unwind(panic);
    }
}

async fn until(at: Option<Instant>) {
    match at {
        Some(at) => sleep_until(at).await,
        None => std::future::pending().await,
    }
}
