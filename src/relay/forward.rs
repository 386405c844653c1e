//! One request on one connection.

use std::pin::pin;
use std::rc::Rc;
use std::time::Duration;

use http::header::TRANSFER_ENCODING;
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode};
use http_body::Body;
use hyper::body::Incoming;
use tokio::time::{Instant, timeout_at};

use super::request_body::{BodyProgress, RequestBody};
use super::response_body::{Relayed, ResponseBody};
use crate::model::{Failure, Lease, Stage, Upstream};
use crate::observe::Record;
use crate::transport::Watch;
use crate::upstream::{Checkout, SendError};

/// A request on its way out, and what must be known to send it again.
#[derive(Debug)]
pub struct Outgoing {
    /// Heads rewritten; `None` once it has been written, in whole or in part.
    pub request: Option<Request<RequestBody>>,
    /// How far the body has come; `None` when there is none.
    pub progress: Option<Rc<BodyProgress>>,
    /// The end of the whole request, if it has one.
    pub until: Option<Instant>,
}

/// The head of a target's response, and what its body needs.
#[derive(Debug)]
pub struct Answered {
    head: Response<Incoming>,
    relayed: (Checkout<RequestBody>, Lease, Option<Rc<BodyProgress>>),
    idle: Duration,
    until: Option<Instant>,
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

    /// The response for the client; the record and the lease end with its body.
    pub fn into_response(self, record: Record, watch: Rc<Watch>) -> Response<ResponseBody> {
        let (parts, incoming) = self.head.into_parts();
        let (checkout, lease, request) = self.relayed;
        let relayed = Relayed::new(incoming, checkout, lease, request, self.idle, self.until);
        Response::from_parts(parts, ResponseBody::relayed(relayed, record, watch))
    }
}

impl Outgoing {
    /// Waits for a step, within the deadline of the whole request.
    pub async fn in_time<T>(&self, step: impl Future<Output = T>) -> Result<T, Failure> {
        let Some(until) = self.until else {
            return Ok(step.await);
        };
        let done = timeout_at(until, step).await;
        done.map_err(|_| Failure::TargetTimeout(Stage::Request))
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
/// When it fails and no byte of the request was written, the request is back in
/// `outgoing`: it may go elsewhere, whatever its method.
pub async fn forward(
    mut checkout: Checkout<RequestBody>,
    lease: Lease,
    outgoing: &mut Outgoing,
    policy: &Upstream,
) -> Result<Answered, Failure> {
    let request = outgoing.request.take().ok_or(Failure::Internal)?;
    let sent = wait(checkout.send(request), outgoing, policy.response_timeout).await?;
    match sent {
        Ok(head) => {
            check(&head)?;
            Ok(Answered {
                head,
                relayed: (checkout, lease, outgoing.progress.clone()),
                idle: policy.body_timeout,
                until: outgoing.until,
            })
        }
        Err(SendError { unsent, source }) => {
            outgoing.request = unsent;
            let progress = outgoing.progress.as_deref();
            Err(match progress.and_then(BodyProgress::failure) {
                Some(client_fault) => client_fault,
                None if source.is_parse() => Failure::MalformedResponse,
                None => Failure::TargetClosed,
            })
        }
    }
}

/// Waits for a response head. The target's time begins when it has the request: it
/// does not run while the client sends, however long that takes.
async fn wait<T>(
    sending: impl Future<Output = T>,
    outgoing: &Outgoing,
    within: Duration,
) -> Result<T, Failure> {
    let mut sending = pin!(sending);
    let (mut deadline, mut stage) = outgoing.head_end(Instant::now(), within);
    loop {
        if let Ok(sent) = timeout_at(deadline, &mut sending).await {
            return Ok(sent);
        }
        let progress = outgoing.progress.as_deref();
        let since = progress.and_then(BodyProgress::targets_turn_since);
        match since {
            Some(since) if stage == Stage::ResponseHead && since + within > deadline => {
                (deadline, stage) = outgoing.head_end(since, within);
            }
            Some(_) | None => return Err(Failure::TargetTimeout(stage)),
        }
    }
}

/// Refuses a response that its target and the client would understand differently.
fn check(head: &Response<Incoming>) -> Result<(), Failure> {
    // Weir asks nobody to switch protocols, so what follows is not for the client.
    if head.status() == StatusCode::SWITCHING_PROTOCOLS {
        return Err(Failure::MalformedResponse);
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
