//! One attempt: a request sent to one target, until the head of its response is there.

use std::future::poll_fn;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::time::Instant;

use super::deadline::Deadline;
use super::hops;
use super::replay_body::ReplayBody;
use crate::http1::Hop;
use crate::message::{Exchange, RequestHead, ResponseHead};
use crate::model::{Failure, Stage, UpstreamLimits};
use crate::net::Timer;
use crate::target::Lease;
use crate::upstream::{Connection, HeadKind, ReadError, ResponseLimits};

/// What lasts until the body of a response has ended. Its head is in [`Attempt::response`].
#[derive(Debug)]
pub(super) struct UpstreamResponse {
    pub(super) connection: Connection,
    pub(super) lease: Lease,
}

/// An attempt that got no response.
#[derive(Debug)]
pub(super) struct AttemptError {
    /// The reason.
    pub(super) failure: Failure,
    /// How far the attempt came.
    pub(super) progress: Progress,
    /// The lease on the target, which another attempt there may use.
    pub(super) lease: Lease,
}

/// How far an attempt came. Whether it may be repeated depends on this.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Progress {
    /// No byte of the request was written.
    Unwritten,
    /// The target says that it has not executed the request (GOAWAY, `REFUSED_STREAM`).
    Refused,
    /// The request was written, perhaps in part, and no byte came back.
    NoResponse {
        /// Whether the connection had served before: then its target may just have closed it
        /// for being idle.
        reused: bool,
    },
    /// A part of a response came.
    ResponseBegun,
}

/// What an attempt sends, and where the head of the response goes.
pub(super) struct Attempt<'a, E> {
    pub(super) exchange: &'a mut E,
    pub(super) upload: &'a mut ReplayBody,
    pub(super) head: &'a RequestHead,
    pub(super) hop: Hop<'a>,
    pub(super) response: &'a mut ResponseHead,
    pub(super) policy: &'a UpstreamLimits,
    /// The deadline of the whole request, if it has one.
    pub(super) until: Option<Deadline>,
    /// Whether it has begun without a wait since the request came.
    pub(super) is_prompt: bool,
}

/// After which time it is looked whether the client has gone, if nothing was waited for before: most
/// responses come sooner, and the look costs as much as a part of the exchange.
const LOOK_AFTER: Duration = Duration::from_millis(250);

/// Until when an attempt waits.
#[derive(Clone, Copy, Debug)]
struct Wait {
    /// When it is looked whether the client has gone; `None` at every poll.
    look_at: Option<Instant>,
    /// For the response, and what it means when that has passed.
    deadline: (Instant, Stage),
}

impl<E: Exchange> Attempt<'_, E> {
    /// Sends the request on a connection, which is there since `since`, and waits for the head of
    /// the response.
    pub(super) async fn run(
        &mut self,
        mut connection: Connection,
        lease: Lease,
        since: Instant,
        timer: &mut Timer,
    ) -> Result<UpstreamResponse, AttemptError> {
        let limits = ResponseLimits {
            max_head: self.policy.max_head,
            max_fields: self.policy.max_fields,
        };
        self.upload.begin(self.exchange);
        let length = self.upload.length(self.exchange);
        if let Err(failure) = connection.begin(self.head, length, &self.hop, limits) {
            return Err(AttemptError {
                failure,
                progress: Progress::Unwritten,
                lease,
            });
        }
        let mut wait = Wait {
            look_at: self.is_prompt.then_some(since + LOOK_AFTER),
            deadline: self.head_end(since),
        };
        let answered = poll_fn(|cx| self.poll(cx, &mut connection, timer, &mut wait)).await;
        if connection.is_written() {
            self.upload.note_written();
        }
        let Err(failure) = answered else {
            connection.learn(&self.response.fields);
            return Ok(UpstreamResponse { connection, lease });
        };
        let progress = if connection.is_refused() {
            Progress::Refused
        } else if connection.is_received() && connection.is_written() {
            Progress::ResponseBegun
        } else if connection.is_written() {
            let reused = connection.is_reused();
            Progress::NoResponse { reused }
        } else {
            Progress::Unwritten
        };
        if failure == Failure::TargetClosed && !connection.is_received() {
            connection.closed();
        }
        Err(AttemptError {
            failure,
            progress,
            lease,
        })
    }

    fn poll(
        &mut self,
        cx: &mut Context<'_>,
        connection: &mut Connection,
        timer: &mut Timer,
        wait: &mut Wait,
    ) -> Poll<Result<(), Failure>> {
        // What the target says comes first: one that has answered may read no more.
        while let Poll::Ready(head) = connection.poll_head(cx, self.response) {
            if !connection.is_written() {
                // It cannot be the answer to a request that has not left.
                if connection.is_received() {
                    connection.note_unsolicited();
                }
                return Poll::Ready(Err(Failure::TargetClosed));
            }
            match head {
                Ok(HeadKind::Final) => return Poll::Ready(Ok(())),
                Ok(HeadKind::Interim) => self.pass_interim(cx),
                Err(ReadError::Closed | ReadError::Reset) => {
                    return Poll::Ready(Err(Failure::TargetClosed));
                }
                Err(ReadError::Refused) => return Poll::Ready(Err(Failure::StreamRefused)),
                Err(ReadError::WantsHttp1) => return Poll::Ready(Err(Failure::NotHttp2)),
                Err(ReadError::Malformed | ReadError::TooManyInterim) => {
                    return Poll::Ready(Err(Failure::MalformedResponse));
                }
            }
        }
        if let Poll::Ready(Err(failure)) = self.upload.poll(cx, self.exchange, connection) {
            return Poll::Ready(Err(failure));
        }
        // An interim response may not have left at once.
        if let Poll::Ready(Err(failure)) = self.exchange.poll_flush(cx) {
            return Poll::Ready(Err(failure));
        }
        let deadline = &mut wait.deadline;
        if let Some(look_at) = wait.look_at {
            ready!(timer.poll(cx, look_at.min(deadline.0)));
            wait.look_at = None;
        }
        if let Poll::Ready(failure) = self.exchange.poll_gone(cx) {
            return Poll::Ready(Err(failure));
        }
        loop {
            if timer.poll(cx, deadline.0).is_pending() {
                return Poll::Pending;
            }
            // The target's time begins when it has the whole request; it does not run while the
            // client sends, however long that takes.
            match self.upload.waiting_on_target_since() {
                Some(since)
                    if deadline.1 == Stage::ResponseHead
                        && since + self.policy.response_timeout > deadline.0 =>
                {
                    *deadline = self.head_end(since);
                }
                Some(_) if deadline.1 == Stage::Request && self.upload.is_waiting_on_client() => {
                    return Poll::Ready(Err(Failure::RequestBodyTimeout));
                }
                Some(_) | None => return Poll::Ready(Err(self.late(deadline.1))),
            }
        }
    }

    fn pass_interim(&mut self, cx: &mut Context<'_>) {
        if self.response.status() == 100 {
            self.upload.go_on();
        }
        hops::strip_response(self.response);
        self.exchange.send_interim(self.response);
        // A client that does not read it has not gone yet.
        let _ = self.exchange.poll_flush(cx);
    }

    /// What it means that the deadline of a stage has passed.
    fn late(&self, stage: Stage) -> Failure {
        match self.until {
            Some(until) if stage == Stage::Request => until.failure,
            Some(_) | None => Failure::TargetTimeout(stage),
        }
    }

    /// The end of the wait for a response head that began or went on at `since`.
    fn head_end(&self, since: Instant) -> (Instant, Stage) {
        let head_end = since + self.policy.response_timeout;
        match self.until {
            Some(until) if until.at < head_end => (until.at, Stage::Request),
            Some(_) | None => (head_end, Stage::ResponseHead),
        }
    }
}
