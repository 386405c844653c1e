//! One request on one connection: sent, and answered by the head of a response or an error.

use std::future::poll_fn;
use std::pin::pin;
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use http::header::TRANSFER_ENCODING;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, request};
use http_body::Body;
use hyper::body::Incoming;
use tokio::time::{Instant, timeout_at};

use super::headers::prepare_response;
use super::request_body::{ReplayBody, RequestBody};
use super::response_body::{Relayed, ResponseBody};
use super::upgrade::Upgrade;
use crate::model::{Failure, Stage, UpstreamLimits};
use crate::net::{ClientState, Timer};
use crate::observe::Record;
use crate::target::{Lease, RequestResult};
use crate::upstream::{Checkout, SendError};

/// A request for a target, with what is needed to send it again.
#[derive(Debug)]
pub struct Outgoing {
    /// Rewritten for targets; `None` once it was sent and not kept.
    head: Option<request::Parts>,
    body: Option<Rc<ReplayBody>>,
    /// The deadline of the whole request, if it has one.
    until: Option<Instant>,
    /// The protocols it asks to switch to.
    upgrade: Option<Upgrade>,
}

/// The head of a target's response, and all that lives until its body has ended.
#[derive(Debug)]
pub struct UpstreamResponse {
    pub(super) head: Response<Incoming>,
    pub(super) checkout: Checkout<RequestBody>,
    pub(super) lease: Lease,
    body: Option<Rc<ReplayBody>>,
    pub(super) idle: Duration,
    until: Option<Instant>,
}

/// An attempt that got no response.
#[derive(Debug)]
pub struct AttemptError {
    /// The reason.
    pub failure: Failure,
    /// How far the attempt came.
    pub progress: Progress,
    /// The lease on the target, which another attempt there may use.
    pub lease: Lease,
}

/// How far an attempt came. Whether it may be repeated depends on this.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// No byte of the request was written.
    Unwritten,
    /// The request was written, perhaps in part, and no byte came back.
    NoResponse {
        /// Whether the connection had served before: then its target may just have closed it
        /// for being idle.
        reused: bool,
    },
    /// A part of a response came.
    ResponseBegun,
}

impl UpstreamResponse {
    /// The status that the target answered with.
    pub fn status(&self) -> StatusCode {
        self.head.status()
    }

    /// The response's fields, to which Weir adds its own.
    pub fn headers_mut(&mut self) -> &mut HeaderMap {
        self.head.headers_mut()
    }

    /// How the status counts in the target's statistics.
    pub fn verdict(&self) -> RequestResult {
        match self.status().as_u16() {
            502..=504 => RequestResult::GatewayError,
            500.. => RequestResult::ServerError,
            _ => RequestResult::Served,
        }
    }

    /// The lease on the target that answered.
    pub fn lease(&self) -> &Lease {
        &self.lease
    }

    /// Whether the target speaks another protocol from now on: see [`super::Tunnel`].
    pub fn switches(&self) -> bool {
        self.head.status() == StatusCode::SWITCHING_PROTOCOLS
    }

    /// Turns it into the response for the client; the record and the lease end with its body.
    pub fn into_response(
        self,
        mut record: Record,
        client_state: Rc<ClientState>,
    ) -> Response<ResponseBody> {
        if let Some(body) = &self.body {
            body.forget_sent();
        }
        record.status = Some(self.status());
        let verdict = self.verdict();
        let (mut parts, incoming) = self.head.into_parts();
        prepare_response(&mut parts, record.request_id.clone());
        let relayed = Relayed {
            incoming,
            checkout: Some(self.checkout),
            lease: self.lease,
            verdict,
            request: self.body,
            idle: self.idle,
            until: self.until,
            timer: Timer::default(),
            deadline: None,
        };
        Response::from_parts(parts, ResponseBody::relayed(relayed, record, client_state))
    }
}

impl Outgoing {
    /// `head` is rewritten for targets already.
    pub fn new(
        head: request::Parts,
        body: Option<Rc<ReplayBody>>,
        until: Option<Instant>,
        upgrade: Option<Upgrade>,
    ) -> Self {
        Self {
            head: Some(head),
            body,
            until,
            upgrade,
        }
    }

    /// The method and the fields; `None` once they were sent and not kept.
    pub fn head(&self) -> Option<(&Method, &HeaderMap)> {
        let head = self.head.as_ref()?;
        Some((&head.method, &head.headers))
    }

    /// Keeps the body while it is sent, up to `limit` bytes. A longer one cannot be sent again.
    pub fn keep_body(&self, limit: usize) {
        if let Some(body) = &self.body {
            body.keep(limit);
        }
    }

    /// Whether head and body are complete, so that the request can be sent (again).
    pub fn is_whole(&self) -> bool {
        self.head.is_some() && self.body.as_ref().is_none_or(|body| body.is_whole())
    }

    /// The deadline of the whole request, if it has one.
    pub fn until(&self) -> Option<Instant> {
        self.until
    }

    /// Body bytes read from the client.
    pub fn received(&self) -> u64 {
        self.body.as_ref().map_or(0, |body| body.received())
    }

    /// Waits for a step, within the deadline of the whole request.
    pub async fn in_time<T>(&self, step: impl Future<Output = T>) -> Result<T, Failure> {
        let Some(until) = self.until else {
            return Ok(step.await);
        };
        let done = timeout_at(until, step).await;
        done.map_err(|_| Failure::TargetTimeout(Stage::Request))
    }

    /// The request for one target. `again` keeps a copy of the head.
    fn request(&mut self, again: bool) -> Option<Request<RequestBody>> {
        let head = if again {
            self.head.clone()
        } else {
            self.head.take()
        };
        let body = self.body.as_ref().map(RequestBody::of);
        Some(Request::from_parts(head?, body.unwrap_or_default()))
    }

    /// The end of the wait for a response head that began or went on at `since`.
    fn head_end(&self, since: Instant, within: Duration) -> (Instant, Stage) {
        let head_end = since + within;
        match self.until {
            Some(until) if until < head_end => (until, Stage::Request),
            Some(_) | None => (head_end, Stage::ResponseHead),
        }
    }
}

/// Sends a request on a connection and waits for the head of the response.
///
/// When it fails, [`Outgoing::is_whole`] tells whether the request can be sent again: it can
/// if no byte of it was written, or if `again` asked for it and its body was kept.
pub async fn forward(
    mut checkout: Checkout<RequestBody>,
    lease: Lease,
    outgoing: &mut Outgoing,
    policy: &UpstreamLimits,
    again: bool,
) -> Result<UpstreamResponse, AttemptError> {
    let reused = checkout.is_reused();
    let Some(request) = outgoing.request(again) else {
        return Err(AttemptError {
            failure: Failure::Internal,
            progress: Progress::Unwritten,
            lease,
        });
    };
    let sending = checkout.send(request);
    let sent = wait(sending, checkout.timer(), outgoing, policy.response_timeout).await;
    let (failure, progress) = match sent {
        Ok(Ok(head)) => match check(&head, outgoing.upgrade.as_ref()) {
            Ok(()) => {
                checkout.learn(head.headers());
                let idle = match head.status() {
                    StatusCode::SWITCHING_PROTOCOLS => policy.tunnel_timeout,
                    _ => policy.body_timeout,
                };
                return Ok(UpstreamResponse {
                    head,
                    checkout,
                    lease,
                    body: outgoing.body.clone(),
                    idle,
                    until: outgoing.until,
                });
            }
            Err(failure) => (failure, Progress::ResponseBegun),
        },
        Ok(Err(SendError { unsent, source })) => {
            let (failure, received) = (outgoing.cause(&source), checkout.has_received());
            if failure == Failure::TargetClosed && !received {
                checkout.closed(unsent.is_none());
            }
            (failure, outgoing.take_back(unsent, reused, received))
        }
        Err(failure) if checkout.has_received() => (failure, Progress::ResponseBegun),
        Err(failure) => (failure, Progress::NoResponse { reused }),
    };
    Err(AttemptError {
        failure,
        progress,
        lease,
    })
}

impl Outgoing {
    /// Why there is no response. A client that broke its request off is the cause even if the
    /// connection to the target failed as well.
    fn cause(&self, error: &hyper::Error) -> Failure {
        let client_fault = self.body.as_ref().and_then(|body| body.failure());
        match client_fault {
            Some(failure) => failure,
            None if error.is_parse() => Failure::MalformedResponse,
            None => Failure::TargetClosed,
        }
    }

    /// Takes the head back if it was not sent, and says how far the attempt came.
    fn take_back(
        &mut self,
        unsent: Option<Request<RequestBody>>,
        reused: bool,
        received: bool,
    ) -> Progress {
        match unsent {
            Some(request) => {
                self.head = Some(request.into_parts().0);
                Progress::Unwritten
            }
            None if received => Progress::ResponseBegun,
            None => Progress::NoResponse { reused },
        }
    }
}

/// Waits for a response head. The target's timeout begins when it has the whole request; it
/// does not run while the client sends, however long that takes.
async fn wait<T>(
    sending: impl Future<Output = T>,
    timer: &mut Timer,
    outgoing: &Outgoing,
    within: Duration,
) -> Result<T, Failure> {
    let mut sending = pin!(sending);
    let (mut deadline, mut stage) = outgoing.head_end(Instant::now(), within);
    poll_fn(|cx| {
        loop {
            if let Poll::Ready(sent) = sending.as_mut().poll(cx) {
                return Poll::Ready(Ok(sent));
            }
            if timer.poll(cx, deadline).is_pending() {
                return Poll::Pending;
            }
            let body = outgoing.body.as_deref();
            match body.and_then(ReplayBody::waiting_on_target_since) {
                Some(since) if stage == Stage::ResponseHead && since + within > deadline => {
                    (deadline, stage) = outgoing.head_end(since, within);
                }
                Some(_) | None => return Poll::Ready(Err(Failure::TargetTimeout(stage))),
            }
        }
    })
    .await
}

/// Refuses a response that its target and the client would understand differently.
fn check(head: &Response<Incoming>, upgrade: Option<&Upgrade>) -> Result<(), Failure> {
    if head.status() == StatusCode::SWITCHING_PROTOCOLS {
        // A client cannot follow to a protocol that it did not ask for.
        let is_asked = upgrade.is_some_and(|upgrade| upgrade.allows(head.headers()));
        return is_asked.then_some(()).ok_or(Failure::MalformedResponse);
    }
    // Without a length the body is chunked, or ends with the connection. hyper decodes no
    // other coding, and the field does not reach the client.
    if head.body().size_hint().exact().is_none() {
        let mut codings = head.headers().get_all(TRANSFER_ENCODING).iter();
        let is_chunked = |value: &HeaderValue| value.as_bytes().eq_ignore_ascii_case(b"chunked");
        if !codings.next().is_none_or(is_chunked) || codings.next().is_some() {
            return Err(Failure::MalformedResponse);
        }
    }
    Ok(())
}
