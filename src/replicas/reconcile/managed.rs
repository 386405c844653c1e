//! One provider of a group: its state, its call in flight and its warm-ups.

use std::mem::{Discriminant, discriminant};
use std::net::SocketAddr;

use tokio::time::{Instant, sleep_until};

use super::driver::Driver;
use super::membership::{TargetView, Targets};
use super::plan::Next;
use super::state::{ProviderState, Purpose, Wanted};
use super::warming::Warming;
use crate::config::Runner;
use crate::model::TargetGroupId;
use crate::replicas::Provider;

/// A provider that is reconciled. Dropping it ends that: what Weir runs itself is killed, what
/// an engine runs goes on running.
pub(super) struct ManagedProvider {
    kind: Discriminant<Runner>,
    pub(super) state: ProviderState,
    driver: Driver,
    /// What the replicas were for when the call in flight was started.
    called_for: Purpose,
    warming: Warming,
    /// When something is due, and from when on to watch for changes; while no call is in
    /// flight.
    wake_at: Instant,
    watch_from: Option<Instant>,
}

impl ManagedProvider {
    pub(super) fn new(group: &TargetGroupId, provider: Box<dyn Provider>, wanted: Wanted) -> Self {
        let now = Instant::now();
        Self {
            kind: discriminant(&wanted.settings.runner),
            called_for: wanted.purpose,
            state: ProviderState::new(group.clone(), provider.is_own(), wanted, now),
            driver: Driver::new(provider),
            warming: Warming::new(group.clone()),
            wake_at: now,
            watch_from: None,
        }
    }

    /// Whether it is of the kind of a runner.
    pub(super) fn is_of(&self, runner: &Runner) -> bool {
        self.kind == discriminant(runner)
    }

    /// Warms new replicas up, and decides which are targets.
    pub(super) fn choose_members(&mut self, view: &TargetView<'_>) {
        let ProviderState {
            wanted,
            seen,
            membership,
            ..
        } = &self.state;
        let requests = wanted.settings.warm_up.as_ref();
        self.warming
            .follow(&seen.listing, &membership.members, requests);
        let (needs_warm_up, warming) = (requests.is_some(), &self.warming);
        self.state
            .choose_members(view, |replica| !needs_warm_up || warming.is_warm(replica));
    }

    /// Drains what is to go, and starts the call that is due. A call in flight is cancelled
    /// when the replicas are for something else now.
    pub(super) fn advance(&mut self, targets: &mut Targets) {
        self.state.drain(targets);
        if !self.driver.is_idle() {
            if self.called_for != self.state.wanted.purpose {
                self.driver.cancel();
            }
            return;
        }
        let clients = |addr: SocketAddr| targets.get(&addr).map_or(0, |target| target.clients());
        match self.state.next(Instant::now(), clients) {
            Next::Call(call) => {
                self.called_for = self.state.wanted.purpose;
                self.driver.start(call);
            }
            Next::Wait { until, watch_from } => {
                (self.wake_at, self.watch_from) = (until, watch_from);
            }
        }
    }

    /// Waits until the provider may have to be advanced. Cancel-safe: what has happened is noted
    /// when this returns.
    pub(super) async fn progress(&mut self) {
        let is_idle = self.driver.is_idle();
        tokio::select! {
            answer = self.driver.answer(self.watch_from) => self.state.note(answer, Instant::now()),
            () = self.warming.progress() => {}
            () = self.state.membership.drained() => {}
            () = sleep_until(self.wake_at), if is_idle => {}
        }
    }
}
