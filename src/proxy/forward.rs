//! Sends a request to one target after another until one has answered it.

use std::sync::Arc;
use std::time::Instant;

use super::Proxy;
use super::preference::Preference;
use super::queue::wait_for_slot;
use super::retry::{Retries, Retry, reason};
use crate::model::{Blame, Failure};
use crate::observe::Record;
use crate::relay::{AttemptError, Outgoing, Progress, UpstreamResponse};
use crate::target::{Lease, RequestResult};
use crate::target_group::{Permit, PickRequest, TargetGroup, Tried, Unavailable};

/// One request while it is sent to one target after another.
struct Forwarding<'a> {
    proxy: &'a Proxy,
    group: &'a TargetGroup,
    preference: Preference,
    outgoing: &'a mut Outgoing,
    record: &'a mut Record,
    retries: Retries<'a>,
    tried: Tried,
}

/// The next attempt after one that does not stand.
enum NextAttempt<'a> {
    /// On another target. The permit counts the retry in the budget while it is in progress.
    OtherTarget(Lease, Option<Permit<'a>>),
    /// On the same target, over a new connection.
    SameTarget,
    /// On the next target of the group that has capacity; the request waits for it.
    Queue,
}

type AttemptResult = Result<UpstreamResponse, AttemptError>;

impl Proxy {
    /// Tries targets until one has answered, or until another attempt could execute the
    /// request twice.
    pub(super) async fn forward(
        &self,
        group: &TargetGroup,
        preference: Preference,
        outgoing: &mut Outgoing,
        record: &mut Record,
    ) -> Result<UpstreamResponse, Failure> {
        let (method, fields) = outgoing.head().ok_or(Failure::Internal)?;
        let retries = Retries::new(&group.retry, method, fields);
        if retries.may_rewrite() {
            outgoing.keep_body(group.retry.max_body);
        }
        if group.retry.attempts > 1 {
            group.live.budget.request(record.started());
        }
        let forwarding = Forwarding {
            proxy: self,
            group,
            preference,
            outgoing,
            record,
            retries,
            tried: Tried::default(),
        };
        forwarding.run().await
    }
}

impl<'a> Forwarding<'a> {
    async fn run(mut self) -> Result<UpstreamResponse, Failure> {
        let mut lease = match self.acquire() {
            Err(Unavailable::Full) => self.wait_for_slot().await?,
            Err(Unavailable::NoTarget) if self.awaits_another() => self.wait_for_slot().await?,
            acquired => acquired?,
        };
        let mut _permit = None;
        loop {
            self.record.attempts += 1;
            self.record.target = Some(Arc::clone(lease.target()));
            let begun = self.group.measures_time.then(Instant::now);
            let result = self.attempt(lease).await;
            _permit = None;
            if let Some(begun) = begun {
                measure(&result, begun);
            }
            lease = match (self.next(&result), result) {
                (Some(NextAttempt::OtherTarget(other, permit)), _) => {
                    _permit = permit;
                    other
                }
                (Some(NextAttempt::SameTarget), Err(error)) => error.lease,
                (Some(NextAttempt::Queue), Err(AttemptError { failure, lease, .. })) => {
                    // A request that waits for capacity must not occupy some.
                    drop(lease);
                    self.wait_for_slot().await.map_err(|_| failure)?
                }
                (Some(NextAttempt::SameTarget | NextAttempt::Queue) | None, result) => {
                    return result.map_err(|error| error.failure);
                }
            };
        }
    }

    fn acquire(&mut self) -> Result<Lease, Unavailable> {
        let request = PickRequest {
            key: self.preference.key,
            session: self.session(),
            entropy: self.proxy.entropy.next(),
            now: self.record.started(),
        };
        self.group.acquire(&request, &mut self.tried)
    }

    /// The target of the session, which counts for the first attempt only.
    fn session(&self) -> Option<u64> {
        self.preference
            .session
            .filter(|_| self.record.attempts == 0)
    }

    /// Whether the group, which has no eligible target, is about to get one.
    fn awaits_another(&self) -> bool {
        self.group.waits_when_empty(&self.tried)
    }

    async fn wait_for_slot(&mut self) -> Result<Lease, Failure> {
        let (session, until) = (self.session(), self.outgoing.until());
        wait_for_slot(self.group, session, &mut self.tried, until, self.record).await
    }

    /// Sends the request to one target: on a kept-alive connection if there is one, on the
    /// next if the target had closed that one already.
    async fn attempt(&mut self, mut lease: Lease) -> AttemptResult {
        let group = self.group;
        loop {
            let learned = &group.live.keep_alive;
            let pool = &self.proxy.pool;
            let checkout = pool.checkout(lease.target(), &group.upstream, learned);
            let checkout = match self.outgoing.in_time(checkout).await {
                Ok(Ok(checkout)) => checkout,
                Ok(Err(error)) => {
                    self.proxy.shortages.note(&lease.target().id, &error);
                    return Err(unwritten((&error).into(), lease));
                }
                Err(failure) => return Err(unwritten(failure, lease)),
            };
            let reused = checkout.is_reused();
            // The head is kept only if a retry is likely to find a target. Without the copy a
            // retry is impossible after the request was written.
            let has_next = reused || group.has_another(&self.tried);
            let again = has_next && self.retries.may_rewrite() && self.outgoing.is_whole();
            let upstream = &group.upstream;
            match crate::relay::forward(checkout, lease, self.outgoing, upstream, again).await {
                Err(error) if reused && error.progress == Progress::Unwritten => {
                    lease = error.lease;
                }
                result => return result,
            }
        }
    }

    /// The next attempt; `None` if this result stands.
    fn next(&mut self, result: &AttemptResult) -> Option<NextAttempt<'a>> {
        let (retry, reason) = match result {
            Ok(response) => {
                let status = response.status();
                (self.retries.after_response(status), reason(status))
            }
            Err(error) => {
                report(error);
                let retry = self.retries.after_error(error.failure, error.progress);
                (retry, error.failure.code())
            }
        };
        let next = retry
            .filter(|_| self.outgoing.is_whole())
            .and_then(|retry| self.find(retry));
        if next.is_some() {
            self.proxy.metrics.retried(&self.group.id, reason);
            self.record.attempt_ended(reason);
            if let Ok(response) = result {
                response.lease().target().report(response.verdict());
            }
        } else if self.record.attempts > 1 {
            // The last of several attempts is in the record like the others.
            let reason = if result.is_ok() { "" } else { reason };
            self.record.attempt_ended(reason);
        }
        next
    }

    /// A target for another attempt. Returns `None` if there is none; then the result of the
    /// last attempt stands.
    fn find(&mut self, retry: Retry) -> Option<NextAttempt<'a>> {
        let permit = match retry {
            Retry::Free | Retry::Reconnect => None,
            Retry::Budgeted if self.group.has_another(&self.tried) => Some(self.permit()?),
            Retry::Budgeted => return None,
        };
        match self.acquire() {
            Ok(lease) => Some(NextAttempt::OtherTarget(lease, permit)),
            Err(Unavailable::Full) if retry == Retry::Free => Some(NextAttempt::Queue),
            Err(Unavailable::NoTarget) if retry == Retry::Free && self.awaits_another() => {
                Some(NextAttempt::Queue)
            }
            Err(_) => (retry == Retry::Reconnect).then_some(NextAttempt::SameTarget),
        }
    }

    fn permit(&self) -> Option<Permit<'a>> {
        let group = self.group;
        let permit = group.live.budget.retry(&group.retry, Instant::now());
        if permit.is_none() {
            self.proxy.metrics.retried(&group.id, "budget_exhausted");
        }
        permit
    }
}

/// The error of an attempt that got no connection.
fn unwritten(failure: Failure, lease: Lease) -> AttemptError {
    AttemptError {
        failure,
        progress: Progress::Unwritten,
        lease,
    }
}

/// Counts a request that the target did not answer in its statistics.
fn report(error: &AttemptError) {
    if error.failure.blame() == Blame::Target {
        error.lease.target().report(RequestResult::GatewayError);
    }
}

/// Adds the time to the response head to the target's latency, which the group's algorithm
/// uses.
fn measure(result: &AttemptResult, begun: Instant) {
    let (lease, verdict) = match result {
        Ok(response) => (response.lease(), response.verdict()),
        Err(error) if error.failure.blame() == Blame::Target => {
            (&error.lease, RequestResult::GatewayError)
        }
        // A failure of the client or of Weir says nothing about the target.
        Err(_) => return,
    };
    lease
        .target()
        .latency()
        .record(begun, Instant::now(), verdict.is_failure());
}
