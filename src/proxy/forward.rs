//! From target to target until one has taken the request.

use std::sync::Arc;
use std::time::Instant;

use super::Proxy;
use super::queue::wait_in_line;
use super::retry::{Again, Retries, reason};
use crate::model::{Blame, Failure, Lease, Verdict};
use crate::observe::Record;
use crate::relay::{Answered, Lost, Outgoing, Reached};
use crate::target_group::{Permit, TargetGroup, Tried, Unavailable, Wish};

/// One request on its way from target to target.
struct Course<'a> {
    proxy: &'a Proxy,
    group: &'a TargetGroup,
    /// What `consistent_hash` goes by, and the target its session is on.
    wanted: (Option<u64>, Option<u64>),
    outgoing: &'a mut Outgoing,
    record: &'a mut Record,
    retries: Retries<'a>,
    tried: Tried,
}

/// Where the request goes next.
enum Next<'a> {
    /// Another target. The permit counts the retry as long as it is under way.
    Elsewhere(Lease, Option<Permit<'a>>),
    /// The same target, on a new connection.
    Here,
    /// The queue, until another target has a place.
    InLine,
}

/// What came of an attempt.
type Outcome = Result<Answered, Lost>;

impl Proxy {
    /// Tries targets until one has taken the request, or until trying again could execute
    /// it twice.
    pub(super) async fn forward(
        &self,
        group: &TargetGroup,
        wanted: (Option<u64>, Option<u64>),
        outgoing: &mut Outgoing,
        record: &mut Record,
    ) -> Result<Answered, Failure> {
        let (method, fields) = outgoing.head().ok_or(Failure::Internal)?;
        let retries = Retries::new(&group.retry, method, fields);
        if retries.may_rewrite() {
            outgoing.keep_body(group.retry.max_body);
        }
        if group.retry.attempts > 1 {
            group.live.budget.request(record.started());
        }
        let course = Course {
            proxy: self,
            group,
            wanted,
            outgoing,
            record,
            retries,
            tried: Tried::default(),
        };
        course.run().await
    }
}

impl<'a> Course<'a> {
    async fn run(mut self) -> Result<Answered, Failure> {
        let mut lease = match self.acquire() {
            Err(Unavailable::Full) => self.wait_in_line().await?,
            Err(Unavailable::NoTarget) if self.awaits_another() => self.wait_in_line().await?,
            acquired => acquired?,
        };
        let mut _permit = None;
        loop {
            self.record.attempts += 1;
            self.record.target = Some(Arc::clone(lease.target()));
            let begun = self.group.measures_time.then(Instant::now);
            let outcome = self.attempt(lease).await;
            _permit = None;
            if let Some(begun) = begun {
                measure(&outcome, begun);
            }
            lease = match (self.next(&outcome), outcome) {
                (Some(Next::Elsewhere(other, permit)), _) => {
                    _permit = permit;
                    other
                }
                (Some(Next::Here), Err(lost)) => lost.lease,
                (Some(Next::InLine), Err(Lost { failure, lease, .. })) => {
                    // Nobody waits for one place while holding another.
                    drop(lease);
                    self.wait_in_line().await.map_err(|_| failure)?
                }
                (Some(Next::Here | Next::InLine) | None, outcome) => {
                    return outcome.map_err(|lost| lost.failure);
                }
            };
        }
    }

    fn acquire(&mut self) -> Result<Lease, Unavailable> {
        let wish = Wish {
            key: self.wanted.0,
            session: self.session(),
            entropy: self.proxy.entropy.next(),
            now: self.record.started(),
        };
        self.group.acquire(&wish, &mut self.tried)
    }

    /// The target its session is on counts for the first attempt.
    fn session(&self) -> Option<u64> {
        self.wanted.1.filter(|_| self.record.attempts == 0)
    }

    /// Whether somebody is to come in a group that has nobody.
    fn awaits_another(&self) -> bool {
        self.group.awaits_another(&self.tried)
    }

    async fn wait_in_line(&mut self) -> Result<Lease, Failure> {
        let (session, until) = (self.session(), self.outgoing.until());
        wait_in_line(self.group, session, &mut self.tried, until, self.record).await
    }

    /// Sends the request to one target: on a kept-alive connection if there is one, on the
    /// next if its target had closed that one already.
    async fn attempt(&mut self, mut lease: Lease) -> Outcome {
        let group = self.group;
        loop {
            let learned = &group.live.keep_alive;
            let pool = &self.proxy.pool;
            let checkout = pool.checkout(lease.target(), &group.upstream, learned);
            let checkout = match self.outgoing.in_time(checkout).await {
                Ok(Ok(checkout)) => checkout,
                Ok(Err(error)) => {
                    self.proxy.shortages.note(&lease.target().id, &error);
                    return Err(unreached((&error).into(), lease));
                }
                Err(failure) => return Err(unreached(failure, lease)),
            };
            let reused = checkout.is_reused();
            // Without this a retry would need what is gone by then; with it, it would
            // mostly be made for nothing.
            let elsewhere = reused || group.has_another(&self.tried);
            let again = elsewhere && self.retries.may_rewrite() && self.outgoing.is_whole();
            let upstream = &group.upstream;
            match crate::relay::forward(checkout, lease, self.outgoing, upstream, again).await {
                Err(lost) if reused && lost.reached == Reached::Nothing => lease = lost.lease,
                outcome => return outcome,
            }
        }
    }

    /// Where the request goes next; `None` if this outcome stands.
    fn next(&mut self, outcome: &Outcome) -> Option<Next<'a>> {
        let (again, reason) = match outcome {
            Ok(answered) => {
                let status = answered.status();
                (self.retries.after_response(status), reason(status))
            }
            Err(lost) => {
                report(lost);
                let again = self.retries.after_loss(lost.failure, lost.reached);
                (again, lost.failure.code())
            }
        };
        let next = again
            .filter(|_| self.outgoing.is_whole())
            .and_then(|again| self.find(again));
        if next.is_some() {
            self.proxy.metrics.retried(&self.group.id, reason);
            self.record.attempt_ended(reason);
            if let Ok(answered) = outcome {
                answered.lease().target().report(answered.verdict());
            }
        } else if self.record.attempts > 1 {
            // The last of several is in the record like the others.
            let reason = if outcome.is_ok() { "" } else { reason };
            self.record.attempt_ended(reason);
        }
        next
    }

    /// A place for another attempt: what there is already is given up only for that.
    fn find(&mut self, again: Again) -> Option<Next<'a>> {
        let permit = match again {
            Again::Free | Again::Reconnect => None,
            Again::Budgeted if self.group.has_another(&self.tried) => Some(self.permit()?),
            Again::Budgeted => return None,
        };
        match self.acquire() {
            Ok(lease) => Some(Next::Elsewhere(lease, permit)),
            Err(Unavailable::Full) if again == Again::Free => Some(Next::InLine),
            Err(Unavailable::NoTarget) if again == Again::Free && self.awaits_another() => {
                Some(Next::InLine)
            }
            Err(_) => (again == Again::Reconnect).then_some(Next::Here),
        }
    }

    fn permit(&self) -> Option<Permit<'a>> {
        let (group, now) = (self.group, Instant::now());
        let permit = group.live.budget.retry(&group.retry, now);
        if permit.is_none() {
            let metrics = &self.proxy.metrics;
            metrics.retried(&group.id, "budget_exhausted");
        }
        permit
    }
}

/// An attempt that found no connection.
fn unreached(failure: Failure, lease: Lease) -> Lost {
    Lost {
        failure,
        reached: Reached::Nothing,
        lease,
    }
}

/// Tells the target's counters of a request that it did not answer.
fn report(lost: &Lost) {
    if lost.failure.blame() == Blame::Target {
        lost.lease.target().report(Verdict::GatewayError);
    }
}

/// Tells the target how long it took, in a group that goes by that.
fn measure(outcome: &Outcome, begun: Instant) {
    let (lease, verdict) = match outcome {
        Ok(answered) => (answered.lease(), answered.verdict()),
        Err(lost) if lost.failure.blame() == Blame::Target => (&lost.lease, Verdict::GatewayError),
        // Says nothing about the target.
        Err(_) => return,
    };
    lease.target().answered(begun, Instant::now(), verdict);
}
