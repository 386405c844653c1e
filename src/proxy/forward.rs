//! From target to target until one has taken the request.

use std::sync::Arc;
use std::time::Instant;

use super::Proxy;
use super::queue::wait_in_line;
use crate::model::{Blame, Failure, Lease, Target, Verdict};
use crate::observe::Record;
use crate::relay::{Answered, Outgoing};
use crate::target_group::{TargetGroup, Tried, Unavailable, Wish};

impl Proxy {
    /// Tries targets until one has taken the request. Only a request of which no byte
    /// was written goes on to the next target, so none is ever executed twice.
    pub(super) async fn forward(
        &self,
        group: &TargetGroup,
        key: Option<u64>,
        session: Option<u64>,
        outgoing: &mut Outgoing,
        record: &mut Record,
    ) -> Result<Answered, Failure> {
        let mut tried = Tried::default();
        let mut last = None;
        loop {
            let wish = Wish {
                key,
                session: session.filter(|_| record.attempts == 0),
                entropy: self.entropy.next(),
                now: record.started(),
            };
            let lease = match group.acquire(&wish, &mut tried) {
                Err(Unavailable::Full) => {
                    wait_in_line(group, &mut tried, outgoing.until, record).await
                }
                acquired => acquired.map_err(Failure::from),
            };
            let lease = lease.map_err(|unavailable| last.unwrap_or(unavailable))?;
            record.attempts += 1;
            record.target = Some(Arc::clone(lease.target()));
            let begun = group.measures_time.then(Instant::now);
            let outcome = self.attempt(group, lease, outgoing).await;
            if let Some(target) = &record.target {
                report(target, &outcome, begun);
            }
            match outcome {
                Err(failure) if outgoing.request.is_some() && !failure.is_out_of_time() => {
                    last = Some(failure);
                }
                outcome => return outcome,
            }
        }
    }

    /// Sends the request to one target: on a kept-alive connection if there is one,
    /// on the next if its target had closed that one already.
    async fn attempt(
        &self,
        group: &TargetGroup,
        mut lease: Lease,
        outgoing: &mut Outgoing,
    ) -> Result<Answered, Failure> {
        let target = Arc::clone(lease.target());
        loop {
            let checkout = self.pool.checkout(&target, &group.upstream);
            let checkout = outgoing.in_time(checkout).await?;
            let checkout = checkout.map_err(|error| Failure::from(&error))?;
            let reused = checkout.is_reused();
            match crate::relay::forward(checkout, lease, outgoing, &group.upstream).await {
                Err(_) if reused && outgoing.request.is_some() => lease = target.lease(),
                outcome => return outcome,
            }
        }
    }
}

/// Tells the target's counters what became of a request, and how long its answer took if
/// its group goes by that.
fn report(target: &Target, outcome: &Result<Answered, Failure>, begun: Option<Instant>) {
    let verdict = match outcome {
        Ok(answered) => match answered.status().as_u16() {
            502..=504 => Verdict::GatewayError,
            500.. => Verdict::ServerError,
            _ => Verdict::Served,
        },
        Err(failure) if failure.blame() == Blame::Target => Verdict::GatewayError,
        // Says nothing about the target.
        Err(_) => return,
    };
    target.report(verdict);
    if let Some(begun) = begun {
        target.answered(begun, Instant::now(), verdict);
    }
}
