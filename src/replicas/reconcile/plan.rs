//! The next call to a provider. Pure.
//!
//! Level-triggered, as the controllers of Kubernetes are: each time anything may have changed,
//! what is wanted is compared with what was asked and seen, and the first difference is the one
//! call to make. Nothing is queued, so nothing can be lost or be done for a state that has
//! passed. Calls that fail are made again, less and less often; meanwhile the last list stands.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::time::Instant;

use super::driver::Call;
use super::state::{ProviderState, Purpose, RELIST_INTERVAL, Retries, note_success};
use super::victims::victims;
use crate::config::Scaler;
use crate::replicas::ReplicaId;

/// Between two measurements, from start to start.
const MEASURE_INTERVAL: Duration = Duration::from_secs(1);

/// At least between two lists: a provider that reports changes without end must not keep a
/// core busy.
const LIST_PAUSE: Duration = Duration::from_millis(20);

/// What to do next.
#[derive(Debug, PartialEq)]
pub(super) enum Next {
    Call(Call),
    /// Nothing before `until`, unless the fleet changes, which is to be watched for from
    /// `watch_from` on.
    Wait {
        until: Instant,
        watch_from: Option<Instant>,
    },
}

impl ProviderState {
    /// What to do next. A call counts as made. `clients` is how many clients the target at an
    /// address has.
    pub(super) fn next(&mut self, now: Instant, clients: impl Fn(SocketAddr) -> u64) -> Next {
        self.pass_time(now);
        let next = plan(self, now, clients);
        if self.retries.requests.is_due(now) && !next.is_request() {
            note_success(&mut self.retries.requests, &self.group);
        }
        match next {
            Next::Call(Call::Measure) => self.measure_at = now + MEASURE_INTERVAL,
            Next::Call(_) => {}
            Next::Wait { .. } => self.leadership.age(),
        }
        next
    }
}

impl Next {
    /// Whether it is one of the calls that [`Retries::requests`] counts.
    fn is_request(&self) -> bool {
        match self {
            Self::Call(call) => match call {
                Call::Configure(_)
                | Call::MayScale
                | Call::SetCount { .. }
                | Call::Release(_)
                | Call::Replace(_) => true,
                Call::List | Call::Measure => false,
            },
            Self::Wait { .. } => false,
        }
    }
}

fn plan(state: &ProviderState, now: Instant, clients: impl Fn(SocketAddr) -> u64) -> Next {
    let retries = &state.retries;
    if retries.requests.is_due(now)
        && let Some(request) = next_request(state, now, clients)
    {
        return Next::Call(request);
    }
    if state.is_configured() && state.seen.is_stale && retries.lists.is_due(now) {
        return Next::Call(Call::List);
    }
    if state.is_measured() && now >= state.measure_at && retries.measurements.is_due(now) {
        return Next::Call(Call::Measure);
    }
    Next::Wait {
        until: next_due(state, now),
        watch_from: watch_from(state, now),
    }
}

/// The first difference between what is wanted and what was asked for.
fn next_request(
    state: &ProviderState,
    now: Instant,
    clients: impl Fn(SocketAddr) -> u64,
) -> Option<Call> {
    let (wanted, asked) = (&state.wanted, &state.asked);
    if wanted.purpose == Purpose::Serve {
        if asked.settings.as_deref() != Some(&wanted.settings) {
            return Some(Call::Configure(Box::new(wanted.settings.clone())));
        }
        // A count that may not be asked for yet needs no renewal: it would be made without end.
        let count = state.count_to_ask(now);
        let is_about_to_scale = count.is_some_and(|count| asked.count != Some(count));
        let has_lease = wanted.settings.scaler == Scaler::Lease;
        if has_lease && state.leadership.is_due(is_about_to_scale, now) {
            return Some(Call::MayScale);
        }
    }
    if !state.is_configured() {
        return None;
    }
    let count = state.count_to_ask(now);
    if let Some(count) = count.filter(|count| asked.count != Some(*count)) {
        let victims = victims_for(state, count, clients);
        return Some(Call::SetCount { count, victims });
    }
    let release = state.membership.next_release().map(Call::Release);
    release.or_else(|| state.replaced.first().copied().map(Call::Replace))
}

/// In which order replicas should go for so many to be left; empty if none has to.
fn victims_for(
    state: &ProviderState,
    count: u32,
    clients: impl Fn(SocketAddr) -> u64,
) -> Vec<ReplicaId> {
    state
        .fleet()
        .filter(|fleet| fleet.staying() > count)
        .map_or_else(Vec::new, |fleet| victims(fleet, clients))
}

fn watch_from(state: &ProviderState, now: Instant) -> Option<Instant> {
    let retries = &state.retries;
    let is_well = retries.lists.fault().is_none() && retries.watches.is_due(now);
    (state.is_configured() && is_well).then_some(state.seen.listed_at + LIST_PAUSE)
}

/// When something is due at the latest.
fn next_due(state: &ProviderState, now: Instant) -> Instant {
    let Retries {
        requests,
        lists,
        measurements,
        watches,
    } = &state.retries;
    let has_lease = state.is_configured()
        && requests.fault().is_none()
        && state.wanted.purpose == Purpose::Serve
        && state.wanted.settings.scaler == Scaler::Lease;
    let is_listed = state.is_configured() && lists.fault().is_none();
    let dues = [
        requests.retry_at(),
        lists.retry_at(),
        watches.retry_at().filter(|at| *at > now),
        has_lease.then(|| state.leadership.renew_at(now)),
        state.leadership.settled_at(now),
        state.mismatch.due_at(),
        state
            .is_measured()
            .then(|| measurements.retry_at().unwrap_or(state.measure_at)),
        is_listed.then(|| state.seen.listed_at + RELIST_INTERVAL),
    ];
    let first = dues.into_iter().flatten().min();
    first.unwrap_or(now + RELIST_INTERVAL)
}

#[cfg(test)]
mod tests {
    use super::super::driver::Answer;
    use super::super::state::Wanted;
    use super::*;
    use crate::config::Replicas;
    use crate::replicas::fixture::{processes, replica};
    use crate::replicas::{Fleet, ReplicaState};

    fn settings() -> Replicas {
        processes(2, &["replica"])
    }

    fn state(count: Option<u32>, now: Instant) -> ProviderState {
        let wanted = Wanted {
            settings: settings(),
            count,
            purpose: Purpose::Serve,
            is_measured: false,
        };
        ProviderState::new("todo".into(), true, wanted, now)
    }

    fn fleet(states: &[ReplicaState]) -> Fleet {
        let replicas = (0..).zip(states);
        Fleet {
            desired: 2,
            stopped: Vec::new(),
            replicas: replicas
                .map(|(id, state)| replica(id, &format!("127.0.0.1:{}", 6400 + id), *state))
                .collect(),
        }
    }

    /// Answers every call as a provider would that has these replicas, until none is due.
    fn settle(state: &mut ProviderState, has: &Fleet, now: Instant) -> Vec<Call> {
        let mut calls = Vec::new();
        while let Next::Call(call) = state.next(now, |_| 0) {
            let answer = match call.clone() {
                Call::Configure(settings) => Answer::Configured(settings),
                Call::MayScale => Answer::MayScale(true),
                Call::SetCount { count, .. } => Answer::CountSet(count),
                Call::Release(replica) => Answer::Released(replica),
                Call::Replace(replica) => Answer::Replaced(replica),
                Call::List => Answer::Listed(has.clone()),
                Call::Measure => Answer::Measured(Vec::new()),
            };
            state.note(Ok(answer), now);
            calls.push(call);
            assert!(calls.len() < 100, "does not end: {calls:?}");
        }
        calls
    }

    fn set_count(count: u32, victims: &[u64]) -> Call {
        Call::SetCount {
            count,
            victims: victims.iter().copied().map(ReplicaId).collect(),
        }
    }

    const RUNNING: ReplicaState = ReplicaState::Running;

    #[tokio::test(start_paused = true)]
    async fn settings_come_first_then_the_lease_then_the_count_and_then_a_list() {
        let now = Instant::now();
        let mut state = state(Some(2), now);
        let has = fleet(&[RUNNING, RUNNING]);
        let expected = [
            Call::Configure(Box::new(settings())),
            Call::MayScale,
            set_count(2, &[]),
            Call::List,
        ];
        assert_eq!(settle(&mut state, &has, now), expected);
        assert_eq!(settle(&mut state, &has, now), [], "nothing is asked twice");
    }

    #[tokio::test(start_paused = true)]
    async fn a_count_that_is_not_wanted_is_left_to_the_provider() {
        let now = Instant::now();
        let mut state = state(None, now);
        let calls = settle(&mut state, &fleet(&[RUNNING]), now);
        assert!(
            calls
                .iter()
                .all(|call| !matches!(call, Call::SetCount { .. }))
        );
    }

    #[tokio::test(start_paused = true)]
    async fn each_change_of_the_count_renews_the_lease_and_names_the_victims() {
        let now = Instant::now();
        let mut state = state(Some(2), now);
        let has = fleet(&[RUNNING, RUNNING]);
        settle(&mut state, &has, now);
        state.serve(&settings(), Some(1));
        let calls = settle(&mut state, &has, now);
        assert_eq!(calls, [Call::MayScale, set_count(1, &[1, 0]), Call::List]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_provider_that_is_to_retire_is_asked_for_none_and_is_gone_when_it_has_none() {
        let now = Instant::now();
        let mut state = state(Some(2), now);
        settle(&mut state, &fleet(&[RUNNING, RUNNING]), now);
        state.retire();
        assert!(!state.is_gone());
        let calls = settle(&mut state, &fleet(&[]), now);
        assert_eq!(calls, [set_count(0, &[1, 0]), Call::List]);
        assert!(state.is_gone());
    }

    #[tokio::test(start_paused = true)]
    async fn a_replica_is_replaced_once_and_only_while_it_is_to_serve() {
        let now = Instant::now();
        let mut state = state(Some(2), now);
        let has = fleet(&[RUNNING, RUNNING]);
        settle(&mut state, &has, now);
        state.replace(ReplicaId(1));
        state.replace(ReplicaId(7));
        let calls = settle(&mut state, &has, now);
        assert_eq!(calls, [Call::Replace(ReplicaId(1)), Call::List]);
        state.replace(ReplicaId(1));
        state.retire();
        let calls = settle(&mut state, &fleet(&[]), now);
        assert_eq!(calls, [set_count(0, &[1, 0]), Call::List]);
    }

    #[tokio::test(start_paused = true)]
    async fn planning_again_makes_no_call_while_a_gained_lease_settles() {
        let now = Instant::now();
        let mut state = state(Some(3), now);
        let has = fleet(&[RUNNING, RUNNING]);
        settle(&mut state, &has, now);
        let later = now + RELIST_INTERVAL;
        state.note(Ok(Answer::MayScale(false)), later);
        state.note(Ok(Answer::MayScale(true)), later);
        settle(&mut state, &has, later);
        for _ in 0..3 {
            let next = state.next(later, |_| 0);
            assert!(matches!(next, Next::Wait { .. }), "{next:?}");
        }
        let settled = later + Duration::from_secs(3);
        let calls = settle(&mut state, &has, settled);
        assert_eq!(calls[..2], [Call::MayScale, set_count(3, &[])]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_wait_ends_when_the_lease_is_to_be_renewed_and_a_list_gets_old() {
        let now = Instant::now();
        let mut state = state(Some(0), now);
        settle(&mut state, &fleet(&[]), now);
        let Next::Wait { until, watch_from } = state.next(now, |_| 0) else {
            panic!("nothing is due");
        };
        assert_eq!(watch_from, Some(now + LIST_PAUSE));
        assert_eq!(settle(&mut state, &fleet(&[]), until), [Call::MayScale]);
        let old = now + RELIST_INTERVAL;
        let calls = settle(&mut state, &fleet(&[]), old);
        assert_eq!(calls, [Call::MayScale, Call::List]);
    }
}
