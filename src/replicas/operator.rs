//! Asks a provider for what a group wants of it.
//!
//! Every call has a deadline, and what failed is asked again, less and less often; meanwhile
//! the last list stands. Nobody waits for the operator: it is told a [`Goal`] and shows a
//! [`View`], both of which always have a newest value. A call that hangs is cut short when
//! the replicas are to go.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Notify, watch};
use tokio::time::{Instant, sleep_until};
use tracing::{info, warn};

use super::call::{CALL, Failure, LIST, MEASURE, limit, within};
use super::panic::caught;
use super::shortfall::Shortfall;
use super::standing::Standing;
use super::trouble::Trouble;
use super::victims::victims;
use super::{Fault, Fleet, Provider, ReplicaId, Usage};
use crate::config::{Replicas, Scaler};
use crate::model::TargetGroupId;
use crate::state::Reader;

/// Between two looks at the lease.
const RENEW: Duration = Duration::from_secs(5);

/// Between two measurements, from start to start.
const MEASURE_AGAIN: Duration = Duration::from_secs(1);

/// Between two lists whatever a provider says: one that reports changes without end must not
/// keep a core busy.
const GAP: Duration = Duration::from_millis(20);

/// A list although nothing is said to have changed: events get lost.
const LOOK_ANYWAY: Duration = Duration::from_secs(30);

/// What is wanted of a provider.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Goal {
    pub(super) settings: Replicas,
    /// How many; `None` leaves the number as the provider has it.
    pub(super) count: Option<u32>,
    pub(super) aim: Aim,
    /// Drained replicas that may be stopped.
    pub(super) released: BTreeSet<ReplicaId>,
    /// Whether somebody wants to know what the replicas use.
    pub(super) is_measured: bool,
}

/// What the replicas are for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Aim {
    /// To serve.
    Run,
    /// To go when they have drained.
    Retire,
    /// To go now.
    Stop,
}

/// How things are with a provider.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct View {
    /// The last list; `None` before the first.
    pub(super) fleet: Option<Fleet>,
    /// Whether it has ever taken in settings: one that has not has no replicas.
    pub(super) is_configured: bool,
    /// The count it accepted last from this Weir.
    pub(super) asked: Option<u32>,
    pub(super) is_scaler: bool,
    pub(super) usage: BTreeMap<ReplicaId, Usage>,
    pub(super) measured: Option<Instant>,
    pub(super) fault: Option<Fault>,
}

/// Owns the provider of one group; dropping it drops that.
pub(super) struct Operator {
    group: TargetGroupId,
    provider: Box<dyn Provider>,
    /// Says how busy the replicas are.
    reader: Reader,
    goal: watch::Receiver<Goal>,
    view: watch::Sender<View>,
    news: Arc<Notify>,
    configured: Option<Replicas>,
    /// What settings and aim were at the last attempt.
    tried: Option<(Replicas, Aim)>,
    standing: Standing,
    asked: Option<u32>,
    released: HashSet<ReplicaId>,
    fleet: Option<Fleet>,
    /// Whether the list may be another one by now.
    is_stale: bool,
    looked: Instant,
    usage: BTreeMap<ReplicaId, Usage>,
    measured: Option<Instant>,
    measure_at: Instant,
    asking: Trouble,
    listing: Trouble,
    measuring: Trouble,
    watching: Trouble,
    shortfall: Shortfall,
}

impl Operator {
    /// `news` is notified whenever the view changes.
    pub(super) fn new(
        group: TargetGroupId,
        provider: Box<dyn Provider>,
        reader: Reader,
        goal: watch::Receiver<Goal>,
        view: watch::Sender<View>,
        news: Arc<Notify>,
    ) -> Self {
        let now = Instant::now();
        Self {
            group,
            provider,
            reader,
            goal,
            view,
            news,
            configured: None,
            tried: None,
            standing: Standing::default(),
            asked: None,
            released: HashSet::new(),
            fleet: None,
            is_stale: true,
            looked: now,
            usage: BTreeMap::new(),
            measured: None,
            measure_at: now,
            asking: Trouble::default(),
            listing: Trouble::default(),
            measuring: Trouble::default(),
            watching: Trouble::default(),
            shortfall: Shortfall::default(),
        }
    }

    /// Pursues the goal until nobody sets one any more.
    pub(super) async fn run(mut self) {
        loop {
            let goal = self.goal.borrow_and_update().clone();
            let is_whole = self.work(&goal).await.is_ok();
            self.show();
            let goes_on = if is_whole {
                self.wait(&goal).await
            } else {
                self.goal.has_changed().is_ok()
            };
            if !goes_on {
                return;
            }
        }
    }

    /// Does all that is due. Fails when it was cut short.
    async fn work(&mut self, goal: &Goal) -> Result<(), Failure> {
        let pursued = (goal.settings.clone(), goal.aim);
        if self.tried.as_ref() != Some(&pursued) {
            self.tried = Some(pursued);
            self.asking.hurry();
        }
        if self.shortfall.is_over(Instant::now()) {
            if let Some(fault) = self.shortfall.fault() {
                warn!(group = %self.group, error = %fault.message, "asking for replicas again");
            }
            self.asked = None;
        }
        if self.asking.is_due(Instant::now()) {
            let done = self.ask(goal).await;
            self.asking.note(done, &self.group)?;
        }
        let now = Instant::now();
        self.is_stale |= now >= self.looked + LOOK_ANYWAY;
        if self.is_stale && self.listing.is_due(now) && self.configured.is_some() {
            let done = self.look(goal).await;
            self.listing.note(done, &self.group)?;
        }
        self.compare(goal);
        self.measure(goal).await
    }

    async fn ask(&mut self, goal: &Goal) -> Result<(), Failure> {
        if goal.aim == Aim::Run {
            self.configure(goal).await?;
            self.renew(goal).await?;
        }
        if self.configured.is_none() {
            return Ok(());
        }
        self.set_count(goal).await?;
        self.release(goal).await
    }

    async fn configure(&mut self, goal: &Goal) -> Result<(), Failure> {
        if self.configured.as_ref() == Some(&goal.settings) {
            return Ok(());
        }
        let (ends, limit) = (self.goal.clone(), limit(&goal.settings.runner, CALL));
        let call = self.provider.configure(&goal.settings);
        within(ends, goal.aim, "apply the settings", limit, call).await?;
        self.configured = Some(goal.settings.clone());
        self.is_stale = true;
        Ok(())
    }

    /// Finds out whether this Weir decides how many replicas there are.
    async fn renew(&mut self, goal: &Goal) -> Result<(), Failure> {
        let is_scaler = match goal.settings.scaler {
            Scaler::Yes => Ok(true),
            Scaler::No => Ok(false),
            Scaler::Lease => {
                let is_about_to_ask = goal.count.is_some_and(|count| self.asked != Some(count));
                if !self.standing.is_due(is_about_to_ask, Instant::now(), RENEW) {
                    return Ok(());
                }
                let (ends, limit) = (self.goal.clone(), limit(&goal.settings.runner, CALL));
                let call = self.provider.may_scale();
                within(ends, goal.aim, "ask for the lease", limit, call).await
            }
        };
        let is_gained = self
            .standing
            .set(matches!(is_scaler, Ok(true)), Instant::now());
        if is_gained {
            // Whoever had it before may have changed the count.
            self.asked = None;
        }
        is_scaler.map(drop)
    }

    async fn set_count(&mut self, goal: &Goal) -> Result<(), Failure> {
        let Some(count) = self.wanted(goal) else {
            return Ok(());
        };
        if self.asked == Some(count) {
            return Ok(());
        }
        let (ends, limit) = (self.goal.clone(), limit(&goal.settings.runner, CALL));
        let victims = self.victims(count);
        let call = self.provider.set_count(count, &victims);
        within(ends, goal.aim, "change the count", limit, call).await?;
        self.asked = Some(count);
        self.is_stale = true;
        Ok(())
    }

    /// In which order replicas should go for so many to be left; empty if none has to.
    fn victims(&self, count: u32) -> Vec<ReplicaId> {
        let fleet = self.fleet.as_ref();
        let Some(fleet) = fleet.filter(|fleet| fleet.lasting() > count) else {
            return Vec::new();
        };
        let snapshot = self.reader.load_full();
        let group = snapshot.group_named(&self.group);
        let targets = group.iter().flat_map(|group| group.targets.iter());
        let clients: HashMap<SocketAddr, u64> = targets
            .map(|t| (t.target.id.addr, t.target.clients()))
            .collect();
        victims(fleet, |addr| clients.get(&addr).copied().unwrap_or(0))
    }

    /// The count this Weir may ask for.
    fn wanted(&self, goal: &Goal) -> Option<u32> {
        match goal.aim {
            Aim::Run => {
                // A Weir that does not scale runs its own replicas all the same.
                let is_alone = self.provider.is_own() && goal.settings.scaler == Scaler::No;
                let may = is_alone || self.standing.may_ask(Instant::now());
                goal.count.filter(|_| may)
            }
            Aim::Retire | Aim::Stop => Some(0),
        }
    }

    async fn release(&mut self, goal: &Goal) -> Result<(), Failure> {
        self.released.retain(|id| goal.released.contains(id));
        for &id in &goal.released {
            if self.released.contains(&id) {
                continue;
            }
            let (ends, limit) = (self.goal.clone(), limit(&goal.settings.runner, CALL));
            let call = self.provider.release(id);
            within(ends, goal.aim, "let a replica go", limit, call).await?;
            self.released.insert(id);
            self.is_stale = true;
        }
        Ok(())
    }

    async fn look(&mut self, goal: &Goal) -> Result<(), Failure> {
        let (ends, limit) = (self.goal.clone(), limit(&goal.settings.runner, LIST));
        let call = self.provider.fleet();
        let fleet = within(ends, goal.aim, "list the replicas", limit, call).await?;
        self.fleet = Some(fleet);
        self.is_stale = false;
        self.looked = Instant::now();
        Ok(())
    }

    /// Compares what was accepted with what has come. Where another Weir decides, its number
    /// is none that was asked for here.
    fn compare(&mut self, goal: &Goal) {
        if self.wanted(goal).is_none() {
            self.shortfall = Shortfall::default();
        } else if let Some(fleet) = &self.fleet {
            self.shortfall
                .note(self.asked, fleet.lasting(), Instant::now());
        }
    }

    async fn measure(&mut self, goal: &Goal) -> Result<(), Failure> {
        if !goal.is_measured || goal.aim != Aim::Run || self.configured.is_none() {
            self.measuring.ended();
            self.usage.clear();
            self.measured = None;
            return Ok(());
        }
        let now = Instant::now();
        if now < self.measure_at || !self.measuring.is_due(now) {
            return Ok(());
        }
        self.measure_at = now + MEASURE_AGAIN;
        let ends = self.goal.clone();
        let call = self.provider.usage();
        let measured = within(ends, goal.aim, "measure the replicas", MEASURE, call).await;
        self.usage.clear();
        let done = measured.map(|usage| {
            self.usage.extend(usage);
            self.measured = Some(Instant::now());
        });
        self.measuring.note(done, &self.group)
    }

    fn show(&mut self) {
        let troubles = [&self.asking, &self.listing].map(Trouble::fault);
        let [asking, listing] = troubles;
        let fault = asking.or(listing).or(self.shortfall.fault());
        let view = View {
            fleet: self.fleet.clone(),
            is_configured: self.configured.is_some(),
            asked: self.asked,
            is_scaler: self.standing.is_scaler(),
            usage: self.usage.clone(),
            measured: self.measured,
            fault: fault
                .or(self.measuring.fault())
                .or(self.watching.fault())
                .cloned(),
        };
        let is_other = self.view.send_if_modified(|shown| {
            let is_other = *shown != view;
            *shown = view;
            is_other
        });
        if is_other {
            self.news.notify_one();
        }
    }

    /// Until there may be something to do; `false` when there never will be.
    async fn wait(&mut self, goal: &Goal) -> bool {
        let timer = self.timer(goal);
        let gap = self.looked + GAP;
        let is_well = self.listing.fault().is_none() && self.watching.is_due(Instant::now());
        let hears = self.configured.is_some() && is_well;
        let provider = &mut self.provider;
        let changed = async {
            sleep_until(gap).await;
            let changed = caught(provider.changed()).await;
            changed.map_err(|panic| Failure::Panic("watch the replicas", panic))
        };
        // Every arm is cancel-safe: each only waits.
        tokio::select! {
            open = self.goal.changed() => return open.is_ok(),
            changed = changed, if hears => {
                self.is_stale = true;
                return self.watching.note(changed, &self.group).is_ok();
            }
            () = sleep_until(timer) => {}
        }
        true
    }

    /// When something is due at the latest.
    fn timer(&self, goal: &Goal) -> Instant {
        let now = Instant::now();
        let is_well = self.configured.is_some() && self.asking.fault().is_none();
        let lease = is_well && goal.aim == Aim::Run && goal.settings.scaler == Scaler::Lease;
        let measures = self.configured.is_some() && goal.aim == Aim::Run && goal.is_measured;
        let lists = self.configured.is_some() && self.listing.fault().is_none();
        let dues = [
            self.asking.retry_at(),
            self.listing.retry_at(),
            lease.then(|| self.standing.due_at(now, RENEW)),
            measures.then(|| self.measuring.retry_at().unwrap_or(self.measure_at)),
            self.standing.settled_at(now),
            self.shortfall.due_at(),
            self.watching.retry_at().filter(|at| *at > now),
            lists.then(|| self.looked + LOOK_ANYWAY),
        ];
        let first = dues.into_iter().flatten().min();
        first.unwrap_or(now + LOOK_ANYWAY)
    }
}

impl Trouble {
    /// Takes in what came of a call, and says aloud when trouble begins and ends. Fails only
    /// when the call was cut short.
    fn note(&mut self, done: Result<(), Failure>, group: &TargetGroupId) -> Result<(), Failure> {
        match done {
            Ok(()) => {
                if self.ended() {
                    info!(%group, "the provider of the replicas is well again");
                }
            }
            Err(failure) => {
                let Some(message) = failure.message() else {
                    return Err(failure);
                };
                if self.failed(message.clone(), Instant::now()) {
                    warn!(%group, error = %message, "replicas stay as they are, trying again");
                }
            }
        }
        Ok(())
    }
}
