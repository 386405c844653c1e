//! The replicas of one group under one kind of runner, and which of them may get requests.
//!
//! A reload that changes the kind begins a new generation; the one before goes when the new
//! one serves.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::mem::{Discriminant, discriminant};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::SystemTime;

use tokio::sync::{Notify, watch};
use tokio::task::{AbortHandle, JoinSet};
use tracing::{info, warn};

use super::listed::Listed;
use super::operator::{Aim, Goal, Operator, View};
use super::{Fault, Fleet, GroupReplicas, Provider, ReplicaId};
use crate::config::{Replicas, Runner, WarmUpRequests};
use crate::model::{Health, TargetGroupId};
use crate::state::Reader;
use crate::target::Target;

/// Who is known by address: the live targets of the group.
pub(super) type Targets = HashMap<SocketAddr, Arc<Target>>;

/// One provider at work. Dropping it ends that; what an engine runs goes on running.
pub(super) struct Generation {
    pub(super) number: u64,
    group: TargetGroupId,
    kind: Discriminant<Runner>,
    is_own: bool,
    goal: watch::Sender<Goal>,
    view: watch::Receiver<View>,
    operator: AbortHandle,
    /// The last list.
    listed: Option<Listed>,
    /// Its part of what was published last.
    pub(super) members: Vec<SocketAddr>,
    /// Those whose last requests are waited for, or that were released.
    draining: HashSet<ReplicaId>,
    /// Since when its list is not believed.
    doubt: Option<Fault>,
}

impl Generation {
    /// Starts an operator among `operators`, which tells `news`.
    pub(super) fn start(
        number: u64,
        group: &TargetGroupId,
        provider: Box<dyn Provider>,
        reader: Reader,
        goal: Goal,
        operators: &mut JoinSet<()>,
        news: &Arc<Notify>,
    ) -> Self {
        let kind = discriminant(&goal.settings.runner);
        let is_own = provider.is_own();
        let (goal, goals) = watch::channel(goal);
        let (views, view) = watch::channel(View::default());
        let operator = Operator::new(group.clone(), provider, reader, goals, views, news.clone());
        Self {
            number,
            group: group.clone(),
            kind,
            is_own,
            goal,
            view,
            operator: operators.spawn(operator.run()),
            listed: None,
            members: Vec::new(),
            draining: HashSet::new(),
            doubt: None,
        }
    }

    pub(super) fn is_of(&self, runner: &Runner) -> bool {
        self.kind == discriminant(runner)
    }

    /// Whether its replicas end with Weir.
    pub(super) fn is_own(&self) -> bool {
        self.is_own
    }

    /// Runs its replicas, with these settings and so many.
    pub(super) fn run(&self, settings: &Replicas, count: Option<u32>) {
        self.set(|goal| {
            goal.settings.clone_from(settings);
            goal.count = count;
            goal.aim = Aim::Run;
        });
    }

    /// Drains its replicas and stops them.
    pub(super) fn retire(&self) {
        self.set(|goal| goal.aim = Aim::Retire);
    }

    /// Stops its replicas now.
    pub(super) fn stop(&mut self) {
        self.draining.clear();
        self.set(|goal| goal.aim = Aim::Stop);
    }

    pub(super) fn measure(&self, is_measured: bool) {
        self.set(|goal| goal.is_measured = is_measured);
    }

    /// Lets a replica go whose last request has ended.
    pub(super) fn release(&self, replica: ReplicaId) {
        self.set(|goal| {
            goal.released.insert(replica);
        });
    }

    fn set(&self, change: impl FnOnce(&mut Goal)) {
        self.goal.send_if_modified(|goal| {
            let before = goal.clone();
            change(goal);
            *goal != before
        });
    }

    /// Whether its last replica is gone after it was told to retire or stop.
    pub(super) fn is_gone(&self) -> bool {
        if self.goal.borrow().aim == Aim::Run {
            return false;
        }
        let view = self.view.borrow();
        let is_empty = |fleet: &Fleet| fleet.replicas.is_empty();
        !view.is_configured || view.asked == Some(0) && view.fleet.as_ref().is_some_and(is_empty)
    }

    /// Whether anything is known of its replicas.
    pub(super) fn has_listed(&self) -> bool {
        self.view.borrow().fleet.is_some()
    }

    /// Whether its provider, told to stop, fails to, or does not even begin.
    pub(super) fn is_stuck(&self) -> bool {
        let view = self.view.borrow();
        let lasts = |fleet: &Fleet| fleet.lasting() > 0;
        view.fault.is_some() || view.fleet.as_ref().is_some_and(lasts)
    }

    /// Whether it can take over from the generation before: somebody serves, or nobody is
    /// to.
    pub(super) fn serves(&self, targets: &Targets, is_checked: bool) -> bool {
        let view = self.view.borrow();
        let Some(fleet) = &view.fleet else {
            return false;
        };
        let is_wanted = self.goal.borrow().count.unwrap_or(fleet.desired) > 0;
        let serves = |addr: &SocketAddr| {
            let target = targets.get(addr);
            target.is_some_and(|target| !is_checked || target.health().is_healthy())
        };
        !is_wanted || self.members.iter().any(serves)
    }

    /// Takes in what the operator has seen last.
    pub(super) fn refresh(&mut self) {
        if self.view.has_changed().unwrap_or(true) {
            let view = self.view.borrow_and_update();
            self.listed = view.fleet.as_ref().map(Listed::of);
        }
    }

    /// Decides who may get requests: of those that are new only who is warm.
    pub(super) fn choose(
        &mut self,
        targets: &Targets,
        is_checked: bool,
        is_warm: impl Fn(ReplicaId, SocketAddr) -> bool,
    ) {
        let Some(listed) = self.listed.take() else {
            return;
        };
        let ready = listed
            .running
            .iter()
            .filter(|(id, addr)| is_warm(*id, *addr));
        let mut members: Vec<SocketAddr> = ready.map(|(_, addr)| *addr).collect();
        let is_new = |addr: &&SocketAddr| {
            let target = targets.get(addr);
            is_checked && target.is_none_or(|target| target.health().now() == Health::Initial)
        };
        let awaited = listed.running.len() - members.len() + members.iter().filter(is_new).count();
        members.extend(self.successors_awaited(&listed, awaited));
        let kept = self.doubted(&listed, targets, is_checked);
        self.say_doubt(&listed, kept.len());
        members.extend(kept);
        self.members = members;
        self.listed = Some(listed);
    }

    /// Those that are to drain and go on for as long as who comes in their place cannot
    /// serve: a place each. An engine has begun to stop its own.
    fn successors_awaited(&self, listed: &Listed, awaited: usize) -> Vec<SocketAddr> {
        if !self.is_own || self.goal.borrow().aim != Aim::Run {
            return Vec::new();
        }
        let draining = listed.draining.iter();
        let draining = draining.filter(|(id, _)| !self.draining.contains(id));
        let serving = draining.filter_map(|(_, addr)| addr.filter(|a| self.members.contains(a)));
        serving.take(awaited).collect()
    }

    /// Those that the list has forgotten, if it cannot be right: it should have somebody who
    /// runs and has nobody, and they pass their checks. What Weir itself runs it knows.
    fn doubted(&self, listed: &Listed, targets: &Targets, is_checked: bool) -> Vec<SocketAddr> {
        let goal = self.goal.borrow();
        let desired = self.view.borrow().fleet.as_ref().map_or(0, |f| f.desired);
        let should_run = desired > 0 || goal.count.is_some_and(|count| count > 0);
        if self.is_own || goal.aim != Aim::Run || !should_run || !listed.running.is_empty() {
            return Vec::new();
        }
        let passes = |addr: &SocketAddr| {
            let target = targets.get(addr);
            is_checked && target.is_some_and(|target| target.health().is_healthy())
        };
        let forgotten = self.members.iter();
        let forgotten = forgotten.filter(|addr| !listed.addresses.contains(addr) && passes(addr));
        forgotten.copied().collect()
    }

    fn say_doubt(&mut self, listed: &Listed, kept: usize) {
        let message = if kept > 0 {
            Some(format!(
                "lists no replica that runs, but {kept} targets pass their checks: not believed"
            ))
        } else {
            let ignored = listed.ignored;
            (ignored > 0).then(|| format!("lists {ignored} replicas more than are believed"))
        };
        match (&mut self.doubt, message) {
            (Some(doubt), Some(message)) => doubt.message = message,
            (doubt @ None, Some(message)) => {
                warn!(group = %self.group, error = %message, "the list of replicas makes no sense");
                let since = SystemTime::now();
                *doubt = Some(Fault { message, since });
            }
            (doubt @ Some(_), None) => {
                info!(group = %self.group, "the list of replicas makes sense again");
                *doubt = None;
            }
            (None, None) => {}
        }
    }

    /// Those that have been told to go, are no members any more, and were not returned here
    /// before, with their addresses.
    pub(super) fn leaving(&mut self) -> Vec<(ReplicaId, Option<SocketAddr>)> {
        let Some(listed) = self.listed.as_ref().filter(|_| self.is_own) else {
            return Vec::new();
        };
        let ids: BTreeSet<ReplicaId> = listed.draining.iter().map(|(id, _)| *id).collect();
        self.draining.retain(|id| ids.contains(id));
        self.set(|goal| goal.released.retain(|id| ids.contains(id)));
        let (members, draining) = (&self.members, &mut self.draining);
        let is_out = |addr: &Option<SocketAddr>| addr.is_none_or(|addr| !members.contains(&addr));
        let leaving = listed.draining.iter();
        leaving
            .filter(|(id, addr)| is_out(addr) && draining.insert(*id))
            .copied()
            .collect()
    }

    /// Replicas that run and are no members yet.
    pub(super) fn new_ones(&self) -> impl Iterator<Item = (ReplicaId, SocketAddr)> {
        let running = self.listed.iter().flat_map(|listed| &listed.running);
        running
            .filter(|(_, addr)| !self.members.contains(addr))
            .copied()
    }

    /// Whether a replica runs.
    pub(super) fn runs(&self, replica: ReplicaId, address: SocketAddr) -> bool {
        let listed = self.listed.as_ref();
        listed.is_some_and(|listed| listed.running.contains(&(replica, address)))
    }

    /// What new replicas are asked first.
    pub(super) fn warm_up(&self) -> Option<WarmUpRequests> {
        self.goal.borrow().settings.warm_up.clone()
    }

    /// Every address it has.
    pub(super) fn addresses(&self) -> impl Iterator<Item = SocketAddr> {
        let listed = self.listed.iter().flat_map(|listed| &listed.addresses);
        listed.chain(&self.members).copied()
    }

    /// What is shown of it; `None` before its first list, unless something is wrong.
    pub(super) fn status(&self) -> Option<GroupReplicas> {
        let view = self.view.borrow();
        let dying = || view.fleet.as_ref().and_then(Fleet::dying);
        let fault = view.fault.as_ref().or(self.doubt.as_ref());
        let fault = fault.cloned().or_else(dying);
        if view.fleet.is_none() && fault.is_none() {
            return None;
        }
        // Whoever has not seen how many there are decides nothing.
        let is_scaler = view.is_scaler && view.fleet.is_some();
        let fleet = view.fleet.clone().unwrap_or_default();
        Some(GroupReplicas {
            desired: fleet.desired,
            replicas: fleet.replicas,
            usage: view.usage.clone(),
            measured: view.measured.map(tokio::time::Instant::into_std),
            fault,
            is_scaler,
        })
    }
}

impl Drop for Generation {
    fn drop(&mut self) {
        self.operator.abort();
    }
}
