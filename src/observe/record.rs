//! One request, from its head to the last byte of its response.

use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use http::{HeaderValue, Method, StatusCode, Uri};

use super::access_log::AccessLog;
use super::metrics::{OpenTunnel, WorkerMetrics};
use crate::model::{Failure, ListenerId, ListenerSlot, Target, TargetGroupId};

/// What the log says about a request's head. Cheap to keep: all parts are shared.
#[derive(Clone, Debug)]
pub struct RequestHead {
    /// As sent.
    pub method: Method,
    /// As sent.
    pub uri: Uri,
    /// The `Host` field, if there was one.
    pub host: Option<HeaderValue>,
}

/// One of several attempts at a request.
#[derive(Clone, Copy, Debug)]
pub struct Attempt {
    /// Where.
    pub target: SocketAddr,
    /// From the end of the attempt before, or from the request's head.
    pub elapsed: Duration,
    /// Why it was not the last, or why it failed; empty if it brought the response.
    pub reason: &'static str,
}

/// One request on its way. Dropping it counts and logs it: whatever happens to the
/// request, it is recorded once.
///
/// A record that is dropped neither complete nor failed is a client that went away, or
/// one that Weir did not wait for when it ended.
#[derive(Debug)]
pub struct Record {
    metrics: Rc<WorkerMetrics>,
    log: AccessLog,
    started: Instant,
    /// Where it came in.
    pub listener: (ListenerSlot, ListenerId),
    /// The client, as trusted proxies report it.
    pub client: std::net::IpAddr,
    /// The id in the `x-request-id` field.
    pub request_id: Option<HeaderValue>,
    /// Kept while the access log may need it.
    pub head: Option<RequestHead>,
    /// Whether the method is `HEAD`: the response has no body.
    pub is_head: bool,
    /// The rule that matched, by priority; `None` for the default action.
    pub rule: Option<u32>,
    /// The group the request was forwarded to.
    pub group: Option<TargetGroupId>,
    /// The last target that was tried.
    pub target: Option<Arc<Target>>,
    /// Times it was sent to a target, or was to be.
    pub attempts: u32,
    /// What it spent in its group's queue.
    queued: Queued,
    /// Each of them, if there was more than one.
    pub tried: Vec<Attempt>,
    /// What the client got, once its head is decided.
    pub status: Option<StatusCode>,
    /// Why no target answered, or not to the end.
    pub failure: Option<Failure>,
    /// Whether the response was relayed, or given by Weir, to its end.
    pub complete: bool,
    /// Body bytes from the client.
    pub received: u64,
    /// Body bytes to the client.
    pub sent: u64,
}

/// What a request spent in a queue.
#[derive(Clone, Copy, Debug)]
enum Queued {
    Never,
    /// It is in line; so long as if it had come at this time and never left.
    Since(Instant),
    For(Duration),
}

impl Record {
    /// Starts the record of a request that came in by a listener.
    pub fn begin(
        metrics: &Rc<WorkerMetrics>,
        log: AccessLog,
        listener: (ListenerSlot, ListenerId),
        client: std::net::IpAddr,
    ) -> Self {
        Self {
            metrics: Rc::clone(metrics),
            log,
            started: Instant::now(),
            listener,
            client,
            request_id: None,
            head: None,
            is_head: false,
            rule: None,
            group: None,
            target: None,
            attempts: 0,
            queued: Queued::Never,
            tried: Vec::new(),
            status: None,
            failure: None,
            complete: false,
            received: 0,
            sent: 0,
        }
    }

    /// Whether it may end up in the access log.
    pub fn is_logged(&self) -> bool {
        self.log != AccessLog::Off
    }

    /// It joins a queue.
    pub fn waits(&mut self) {
        let now = Instant::now();
        let earlier = self.queued().unwrap_or_default();
        self.queued = Queued::Since(now.checked_sub(earlier).unwrap_or(now));
    }

    /// It leaves the queue.
    pub fn waits_no_more(&mut self) {
        self.queued = self.queued().map_or(Queued::Never, Queued::For);
    }

    /// What it has spent in queues, if it was in any.
    pub(super) fn queued(&self) -> Option<Duration> {
        match self.queued {
            Queued::Never => None,
            Queued::Since(since) => Some(since.elapsed()),
            Queued::For(time) => Some(time),
        }
    }

    /// Takes in the end of the attempt at the target it is on: only if there is more than
    /// one, so that most requests need no memory for it.
    pub fn attempt_ended(&mut self, reason: &'static str) {
        let Some(target) = &self.target else { return };
        let before: Duration = self.tried.iter().map(|attempt| attempt.elapsed).sum();
        self.tried.push(Attempt {
            target: target.id.addr,
            elapsed: self.started.elapsed().saturating_sub(before),
            reason,
        });
    }

    /// The request has become a tunnel: counts it as long as the guard lives.
    pub fn tunnel(&self) -> OpenTunnel {
        OpenTunnel::new(&self.metrics)
    }

    /// When the request head was complete.
    pub fn started(&self) -> Instant {
        self.started
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        if !self.complete && self.failure.is_none() {
            self.failure = Some(self.metrics.abandoned());
        }
        self.waits_no_more();
        let elapsed = self.started.elapsed();
        self.metrics.record(self, elapsed);
        self.log.write(self, elapsed);
    }
}
