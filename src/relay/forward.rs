//! One request on one connection.

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
use super::request_body::{RequestBody, Upload};
use super::response_body::{Relayed, ResponseBody};
use super::upgrade::Upgrade;
use crate::model::{Failure, Lease, Stage, Upstream, Verdict};
use crate::net::{Timer, Watch};
use crate::observe::Record;
use crate::upstream::{Checkout, SendError};

/// A request on its way out, and what must be known to send it again.
#[derive(Debug)]
pub struct Outgoing {
    /// Rewritten for targets; `None` once it was sent and not kept.
    head: Option<request::Parts>,
    body: Option<Rc<Upload>>,
    /// The end of the whole request, if it has one.
    until: Option<Instant>,
    /// The protocols it asks to switch to.
    upgrade: Option<Upgrade>,
}

/// The head of a target's response, and what its body needs.
#[derive(Debug)]
pub struct Answered {
    pub(super) head: Response<Incoming>,
    pub(super) checkout: Checkout<RequestBody>,
    pub(super) lease: Lease,
    body: Option<Rc<Upload>>,
    pub(super) idle: Duration,
    until: Option<Instant>,
}

/// An attempt that brought no response.
#[derive(Debug)]
pub struct Lost {
    /// Why.
    pub failure: Failure,
    /// How far it came.
    pub reached: Reached,
    /// The place on the target, which another attempt there may use.
    pub lease: Lease,
}

/// How far an attempt came: what may be done about a failure depends on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reached {
    /// No byte of the request was written.
    Nothing,
    /// The request was written, perhaps in part, and not a byte came back.
    Silence {
        /// On a connection that had served before: its target may have closed it for
        /// being idle, just then.
        reused: bool,
    },
    /// A part of a response came.
    Response,
}

impl Answered {
    /// The target's verdict.
    pub fn status(&self) -> StatusCode {
        self.head.status()
    }

    /// Its fields, for what the client must be told beside them.
    pub fn headers_mut(&mut self) -> &mut HeaderMap {
        self.head.headers_mut()
    }

    /// What that says of the target.
    pub fn verdict(&self) -> Verdict {
        match self.status().as_u16() {
            502..=504 => Verdict::GatewayError,
            500.. => Verdict::ServerError,
            _ => Verdict::Served,
        }
    }

    /// The target that answered.
    pub fn lease(&self) -> &Lease {
        &self.lease
    }

    /// Whether the target speaks another protocol from now on: see [`super::Tunnel`].
    pub fn switches(&self) -> bool {
        self.head.status() == StatusCode::SWITCHING_PROTOCOLS
    }

    /// The response for the client; the record and the lease end with its body.
    pub fn into_response(self, mut record: Record, watch: Rc<Watch>) -> Response<ResponseBody> {
        if let Some(body) = &self.body {
            body.settle();
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
        Response::from_parts(parts, ResponseBody::relayed(relayed, record, watch))
    }
}

impl Outgoing {
    /// A request with its head rewritten for targets.
    pub fn new(
        head: request::Parts,
        body: Option<Rc<Upload>>,
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

    /// The method and the fields, until they are sent.
    pub fn head(&self) -> Option<(&Method, &HeaderMap)> {
        let head = self.head.as_ref()?;
        Some((&head.method, &head.headers))
    }

    /// Keeps the body as it is sent, up to so many bytes.
    pub fn keep_body(&self, limit: usize) {
        if let Some(body) = &self.body {
            body.keep(limit);
        }
    }

    /// Whether all of it is there to be sent (again).
    pub fn is_whole(&self) -> bool {
        self.head.is_some() && self.body.as_ref().is_none_or(|body| body.is_whole())
    }

    /// The end of the whole request, if it has one.
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
    policy: &Upstream,
    again: bool,
) -> Result<Answered, Lost> {
    let reused = checkout.is_reused();
    let lost = |failure, reached, lease| Lost {
        failure,
        reached,
        lease,
    };
    let Some(request) = outgoing.request(again) else {
        return Err(lost(Failure::Internal, Reached::Nothing, lease));
    };
    let sending = checkout.send(request);
    let sent = wait(sending, checkout.timer(), outgoing, policy.response_timeout).await;
    let (failure, reached) = match sent {
        Ok(Ok(head)) => match check(&head, outgoing.upgrade.as_ref()) {
            Ok(()) => {
                checkout.answered(head.headers());
                let idle = match head.status() {
                    StatusCode::SWITCHING_PROTOCOLS => policy.tunnel_timeout,
                    _ => policy.body_timeout,
                };
                return Ok(Answered {
                    head,
                    checkout,
                    lease,
                    body: outgoing.body.clone(),
                    idle,
                    until: outgoing.until,
                });
            }
            Err(failure) => (failure, Reached::Response),
        },
        Ok(Err(SendError { unsent, source })) => {
            let (failure, heard) = (outgoing.cause(&source), checkout.heard());
            if failure == Failure::TargetClosed && !heard {
                checkout.closed(unsent.is_none());
            }
            (failure, outgoing.take_back(unsent, reused, heard))
        }
        Err(failure) if checkout.heard() => (failure, Reached::Response),
        Err(failure) => (failure, Reached::Silence { reused }),
    };
    Err(lost(failure, reached, lease))
}

impl Outgoing {
    /// If the client broke the request off, that is why there is no response.
    fn cause(&self, error: &hyper::Error) -> Failure {
        let client_fault = self.body.as_ref().and_then(|body| body.failure());
        match client_fault {
            Some(failure) => failure,
            None if error.is_parse() => Failure::MalformedResponse,
            None => Failure::TargetClosed,
        }
    }

    /// Takes back what was not sent.
    fn take_back(
        &mut self,
        unsent: Option<Request<RequestBody>>,
        reused: bool,
        heard: bool,
    ) -> Reached {
        match unsent {
            Some(request) => {
                self.head = Some(request.into_parts().0);
                Reached::Nothing
            }
            None if heard => Reached::Response,
            None => Reached::Silence { reused },
        }
    }
}

/// Waits for a response head. The target's time begins when it has the request: it
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
            match body.and_then(Upload::targets_turn_since) {
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
        // To what the client did not ask for, it could not follow.
        let asked = upgrade.is_some_and(|upgrade| upgrade.allows(head.headers()));
        return asked.then_some(()).ok_or(Failure::MalformedResponse);
    }
    // Without a length the body is chunked, or ends with the connection. hyper undoes no
    // other coding, and the client would not be told of it.
    if head.body().size_hint().exact().is_none() {
        let mut codings = head.headers().get_all(TRANSFER_ENCODING).iter();
        let chunked = |value: &HeaderValue| value.as_bytes().eq_ignore_ascii_case(b"chunked");
        if !codings.next().is_none_or(chunked) || codings.next().is_some() {
            return Err(Failure::MalformedResponse);
        }
    }
    Ok(())
}
