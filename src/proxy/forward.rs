//! Sends a request to one target after another until one has answered it.

use std::sync::Arc;

use tokio::time::Instant;

use super::attempt::{Attempt, AttemptError, Progress, UpstreamResponse};
use super::deadline::Deadline;
use super::filters::{RequestFacts, apply_to_request};
use super::grpc;
use super::preference::Preference;
use super::presence::unless_gone;
use super::replay_body::ReplayBody;
use super::retry::{Retries, Retry, reason};
use super::search::Search;
use super::upgrade::Upgrade;
use super::worker::Proxy;
use crate::clock;
use crate::http1::{Hop, Persistence};
use crate::message::{Exchange, RequestHead, ResponseHead};
use crate::model::{Blame, Failure, Filters, TargetProtocol};
use crate::net::{Prelude, Timer};
use crate::observe::Record;
use crate::target::{Lease, RequestResult};
use crate::target_group::{Permit, TargetGroup};
use crate::upstream::Connection;

/// A request for a group, with what is needed to send it again.
pub(super) struct Outgoing<'a, E> {
    pub(super) exchange: &'a mut E,
    pub(super) upload: &'a mut ReplayBody,
    /// As targets get it, without what `filters` changes.
    pub(super) head: &'a RequestHead,
    /// Whether the client takes trailers.
    pub(super) te_trailers: bool,
    /// The protocols it asks to switch to.
    pub(super) upgrade: Option<&'a Upgrade>,
    /// Filters that depend on the target, to be applied to a copy of the head for each attempt.
    pub(super) filters: Option<&'a (Arc<Filters>, RequestFacts)>,
    /// Whether the target's connection is to end with it.
    pub(super) closes: bool,
    /// What the target's connection begins with, which is a new one then.
    pub(super) proxy_header: Option<Vec<u8>>,
    /// The deadline of the whole request, if it has one.
    pub(super) until: Option<Deadline>,
    pub(super) preference: Preference,
    /// Where the head of the response goes.
    pub(super) response: &'a mut ResponseHead,
    pub(super) timer: &'a mut Timer,
}

/// One request while it is sent to one target after another.
pub(super) struct Forwarding<'a, E> {
    proxy: &'a Proxy,
    group: &'a TargetGroup,
    outgoing: Outgoing<'a, E>,
    record: &'a mut Record,
    retries: Retries<'a>,
    search: Search<'a>,
    /// How often a target has said that it had not looked at the request when it ended a
    /// connection, and got it again.
    repeated: u32,
}

/// How often a request goes to the same target again at once, because the connection ended before
/// the target looked at it: it may end one connection after another.
const MAX_REPEATED: u32 = 4;

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

impl<'a, E: Exchange> Forwarding<'a, E> {
    pub(super) fn new(
        proxy: &'a Proxy,
        group: &'a TargetGroup,
        outgoing: Outgoing<'a, E>,
        record: &'a mut Record,
    ) -> Self {
        let retries = Retries::new(&group.retry, outgoing.head);
        // HTTP/2 says of a request that was written that it was not executed.
        if retries.may_rewrite() || group.upstream.protocol.is_http2() {
            outgoing.upload.keep(group.retry.max_body);
        }
        if group.retry.attempts > 1 {
            group.live.budget.request(record.started());
        }
        let search = Search::new(proxy, group, outgoing.preference, outgoing.until);
        Self {
            proxy,
            group,
            outgoing,
            record,
            retries,
            search,
            repeated: 0,
        }
    }

    /// Tries targets until one has answered, or until another attempt could execute the
    /// request twice.
    pub(super) async fn run(&mut self) -> Result<UpstreamResponse, Failure> {
        let first = self.search.first(self.record, self.outgoing.exchange);
        let mut lease = first.await?;
        // When the attempt began, as far as something was waited for.
        let mut begun = clock::last();
        let mut _permit = None;
        loop {
            self.record.attempts += 1;
            self.record.target = Some(Arc::clone(lease.target()));
            let result = self.attempt(lease, begun).await;
            let now = clock::now();
            _permit = None;
            if self.group.measures_time {
                self.measure(&result, begun, now);
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
                    let (record, exchange) = (&mut *self.record, &mut *self.outgoing.exchange);
                    self.search.wait_after(failure, record, exchange).await?
                }
                (Some(NextAttempt::SameTarget | NextAttempt::Queue) | None, result) => {
                    if result.is_ok() {
                        self.record.answered = Some(now.into_std());
                    }
                    return result.map_err(|error| error.failure);
                }
            };
            begun = clock::now();
        }
    }

    /// Sends the request to one target: on a kept-alive connection if there is one, on the
    /// next if the target had closed that one already.
    async fn attempt(&mut self, mut lease: Lease, begun: Instant) -> AttemptResult {
        loop {
            let (connection, since) = match self.connect(&lease, begun).await {
                Ok(connected) => connected,
                Err(failure) => return Err(unwritten(failure, lease)),
            };
            let reused = connection.is_reused();
            self.record.dispatched = Some(since.into_std());
            match self.send(connection, lease, since).await {
                Err(error)
                    if error.failure == Failure::TargetClosed
                        && self.is_repeated(error.progress, reused) =>
                {
                    lease = error.lease;
                }
                result => return result,
            }
        }
    }

    /// Whether a request goes to the same target once more, over another connection, because the
    /// target closed the one it was sent on before it looked at it.
    fn is_repeated(&mut self, progress: Progress, reused: bool) -> bool {
        let is_untouched = match progress {
            Progress::Unwritten => reused,
            Progress::Refused => {
                self.repeated += 1;
                self.repeated <= MAX_REPEATED
            }
            Progress::NoResponse { .. } | Progress::ResponseBegun => false,
        };
        is_untouched && self.outgoing.upload.is_whole()
    }

    /// A connection, and since when it is there: an attempt that began at `begun` finds one in the
    /// pool at once.
    async fn connect(
        &mut self,
        lease: &Lease,
        begun: Instant,
    ) -> Result<(Connection, Instant), Failure> {
        let (group, pool) = (self.group, &self.proxy.pool);
        let learned = &group.live.keep_alive;
        let target = lease.target();
        let header = self.outgoing.proxy_header.as_deref();
        let tls = group.tls.as_ref();
        if header.is_none() {
            let pooled = pool.take(target, &group.upstream, learned, tls, begun.into_std());
            if let Some(connection) = pooled.await {
                return Ok((connection, begun));
            }
        }
        let prelude = Prelude {
            header: header.unwrap_or_default(),
            tls,
        };
        let connecting = pool.connect(target, &group.upstream, learned, prelude);
        let exchange = &mut *self.outgoing.exchange;
        let connected = unless_gone(connecting, exchange, self.outgoing.until).await?;
        let now = clock::now();
        self.record.connecting = Some(now - begun);
        let metrics = self.proxy.metrics();
        metrics.connect_took(&target.id.group, connected.is_ok(), now - begun);
        match connected {
            Ok(connection) => Ok((connection, now)),
            Err(error) => {
                self.record.connect_error = Some(error.to_string().into());
                self.proxy.shortages.note(&target.id, &error);
                Err((&error).into())
            }
        }
    }

    async fn send(
        &mut self,
        connection: Connection,
        lease: Lease,
        since: Instant,
    ) -> AttemptResult {
        let outgoing = &mut self.outgoing;
        let mut for_target = outgoing.filters.map(|(filters, facts)| {
            let mut head = outgoing.head.clone();
            apply_to_request(filters, &mut head, facts, &lease.target().address);
            head
        });
        if let Some(until) = outgoing
            .until
            .filter(|_| passes_deadline(self.group, outgoing.head))
        {
            let left = until.at.saturating_duration_since(since);
            let head = for_target.get_or_insert_with(|| outgoing.head.clone());
            grpc::set_timeout(&mut head.fields, left);
        }
        let mut attempt = Attempt {
            exchange: &mut *outgoing.exchange,
            upload: &mut *outgoing.upload,
            head: for_target.as_ref().unwrap_or(outgoing.head),
            hop: Hop {
                persistence: if outgoing.closes {
                    Persistence::Close
                } else {
                    Persistence::Implied
                },
                upgrade: outgoing.upgrade.map(Upgrade::as_bytes),
                te_trailers: outgoing.te_trailers,
            },
            response: &mut *outgoing.response,
            policy: &self.group.upstream,
            until: outgoing.until,
            is_prompt: since.into_std() == self.record.started(),
        };
        let answered = attempt
            .run(connection, lease, since, outgoing.timer)
            .await?;
        if outgoing.response.status() != 101 || self.is_switch_asked_for() {
            return Ok(answered);
        }
        // A client cannot follow to a protocol that it did not ask for.
        Err(AttemptError {
            failure: Failure::MalformedResponse,
            progress: Progress::ResponseBegun,
            lease: answered.lease,
        })
    }

    fn is_switch_asked_for(&self) -> bool {
        let chosen = Upgrade::chosen(&self.outgoing.response.fields);
        let asked = self.outgoing.upgrade;
        asked.is_some_and(|asked| chosen.is_some_and(|chosen| asked.allows(&chosen)))
    }

    /// The next attempt; `None` if this result stands.
    fn next(&mut self, result: &AttemptResult) -> Option<NextAttempt<'a>> {
        let (retry, reason) = match result {
            Ok(_) => {
                let status = answered_status(self.group, self.outgoing.response);
                let is_call = status != self.outgoing.response.status();
                (self.retries.after_response(status, is_call), reason(status))
            }
            Err(error) => {
                report(error);
                let retry = self.retries.after_error(error.failure, error.progress);
                (retry, error.failure.code())
            }
        };
        let next = retry
            .filter(|_| self.outgoing.upload.is_whole())
            .and_then(|retry| self.find(retry));
        if next.is_some() {
            self.proxy.metrics.retried(&self.group.id, reason);
            self.record.attempt_ended(reason);
            if let Ok(response) = result {
                let status = answered_status(self.group, self.outgoing.response);
                response.lease.target().report(verdict(status));
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
            Retry::Budgeted if self.search.has_another() => Some(self.permit()?),
            Retry::Budgeted => return None,
        };
        match self.search.acquire(self.record) {
            Ok(lease) => Some(NextAttempt::OtherTarget(lease, permit)),
            Err(unavailable) if retry == Retry::Free && self.search.may_wait(unavailable) => {
                Some(NextAttempt::Queue)
            }
            Err(_) => (retry == Retry::Reconnect).then_some(NextAttempt::SameTarget),
        }
    }

    /// Adds the time to the response head to the target's latency, which the group's algorithm
    /// uses.
    fn measure(&self, result: &AttemptResult, begun: Instant, now: Instant) {
        let (lease, verdict) = match result {
            Ok(response) => {
                let status = answered_status(self.group, self.outgoing.response);
                (&response.lease, verdict(status))
            }
            Err(error) if error.failure.blame() == Blame::Target => {
                (&error.lease, RequestResult::GatewayError)
            }
            // A failure of the client or of Weir says nothing about the target.
            Err(_) => return,
        };
        lease
            .target()
            .latency()
            .record(begun.into_std(), now.into_std(), verdict.is_failure());
    }

    fn permit(&self) -> Option<Permit<'a>> {
        let group = self.group;
        let permit = group
            .live
            .budget
            .retry(&group.retry, clock::now().into_std());
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

/// Whether the target is told how long the client of a call still waits.
fn passes_deadline(group: &TargetGroup, head: &RequestHead) -> bool {
    group.upstream.protocol == TargetProtocol::Grpc && grpc::timeout(&head.fields).is_some()
}

/// The status of a response; of a call of gRPC that ends with its head, the one that means the same
/// as its own.
pub(super) fn answered_status(group: &TargetGroup, response: &ResponseHead) -> u16 {
    let of_call = match group.upstream.protocol {
        TargetProtocol::Grpc => grpc::status(&response.fields),
        TargetProtocol::Http1 | TargetProtocol::Http2 | TargetProtocol::Tcp => None,
    };
    of_call.map_or(response.status(), grpc::http_status)
}

/// How a status counts in its target's statistics.
pub(super) fn verdict(status: u16) -> RequestResult {
    match status {
        502..=504 => RequestResult::GatewayError,
        500.. => RequestResult::ServerError,
        _ => RequestResult::Served,
    }
}
