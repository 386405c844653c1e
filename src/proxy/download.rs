//! The response of a target on its way to the client.

use std::future::poll_fn;
use std::task::{Context, Poll};

use super::deadline::Deadline;
use super::forward::verdict;
use super::grpc;
use super::replay_body::ReplayBody;
use super::reported::Reported;
use crate::clock;
use crate::message::{Exchange, Fields};
use crate::model::{Failure, Stage};
use crate::net::{Pace, Timer};
use crate::upstream::Connection;

/// A response whose head was given to the exchange, and whose body is passed on.
#[allow(clippy::struct_excessive_bools, reason = "independent facts")]
pub(super) struct Download<'a, E> {
    pub(super) exchange: &'a mut E,
    pub(super) upload: &'a mut ReplayBody,
    /// `None` once it has gone back to its pool.
    pub(super) connection: Option<Connection>,
    /// The lease, which ends when the last byte was read: what is left to be sent to the client is
    /// no load of the target.
    pub(super) reported: Option<Reported>,
    /// Where the status of a call of gRPC goes; `None` of another request.
    pub(super) grpc_status: Option<&'a mut Option<u16>>,
    /// How slowly the target may send.
    pub(super) pace: Pace,
    /// The deadline of the whole request, if it has one.
    pub(super) until: Option<Deadline>,
    /// Body bytes given to the client.
    pub(super) sent: &'a mut u64,
    /// Whether the response refuses the request.
    pub(super) is_refusal: bool,
    /// Whether the client sends no more of it.
    pub(super) is_upload_over: bool,
    /// Whether the client is waited for, so that a deadline that passes is no fault of the target.
    pub(super) is_blocked_by_client: bool,
    /// For what the clock was read last.
    pub(super) clock: Reading,
}

/// A reading of the clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reading {
    /// For what happens now.
    Fresh,
    /// Something was waited for since.
    Old,
}

/// Most parts that are passed on before other connections have their turn: a target that sends a
/// byte at a time must not keep the worker.
const MAX_PARTS: u32 = 1024;

impl<E: Exchange> Download<'_, E> {
    /// Passes the response on, and the rest of the request up, until the client has the last byte.
    pub(super) async fn run(&mut self, timer: &mut Timer) -> Result<(), Failure> {
        poll_fn(|cx| self.poll(cx, timer)).await?;
        poll_fn(|cx| self.poll_flush(cx, timer)).await
    }

    fn poll(&mut self, cx: &mut Context<'_>, timer: &mut Timer) -> Poll<Result<(), Failure>> {
        let Some(mut connection) = self.connection.take() else {
            return Poll::Ready(Ok(()));
        };
        let polled = self.poll_with(cx, timer, &mut connection);
        match polled {
            // Given back as soon as the last byte is read, not when the client has it: another
            // request can use it meanwhile.
            Poll::Ready(Ok(())) => {
                if self.clock == Reading::Old {
                    clock::now();
                }
                connection.recycle();
                self.reported = None;
            }
            Poll::Ready(Err(_)) => {}
            Poll::Pending => {
                self.clock = Reading::Old;
                self.connection = Some(connection);
            }
        }
        polled
    }

    fn poll_with(
        &mut self,
        cx: &mut Context<'_>,
        timer: &mut Timer,
        connection: &mut Connection,
    ) -> Poll<Result<(), Failure>> {
        self.is_blocked_by_client = false;
        self.poll_upload(cx, connection)?;
        for _ in 0..MAX_PARTS {
            match connection.poll_data(cx) {
                Poll::Ready(Ok(Some(data))) => {
                    self.pace.arrived();
                    match self.exchange.poll_send(cx, data) {
                        Poll::Ready(Ok(count)) => {
                            connection.consume(count);
                            *self.sent += count as u64;
                            self.pace.moved(count);
                        }
                        Poll::Ready(Err(failure)) => return Poll::Ready(Err(failure)),
                        Poll::Pending => return self.poll_blocked(cx, timer),
                    }
                }
                Poll::Ready(Ok(None)) => {
                    let trailers = connection.trailers();
                    self.exchange.end(trailers);
                    self.note_grpc_status(trailers);
                    return Poll::Ready(Ok(()));
                }
                Poll::Ready(Err(_)) => return Poll::Ready(Err(Failure::TargetBodyBroken)),
                Poll::Pending => return self.poll_idle(cx, timer),
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// Takes the status of a call of gRPC into the record and the target's statistics.
    fn note_grpc_status(&mut self, trailers: Option<&Fields>) {
        if let Some(known) = &mut self.grpc_status
            && let Some(status) = trailers.and_then(grpc::status)
        {
            **known = Some(status);
            if let Some(reported) = &mut self.reported {
                reported.set(verdict(grpc::http_status(status)));
            }
        }
    }

    /// Sends more of the request. A client that stops sending a request which is refused still
    /// hears why; nothing is reused then.
    fn poll_upload(
        &mut self,
        cx: &mut Context<'_>,
        connection: &mut Connection,
    ) -> Result<(), Failure> {
        if self.is_upload_over || connection.is_sent() || self.upload.awaits_continue() {
            return Ok(());
        }
        match self.upload.poll(cx, self.exchange, connection) {
            Poll::Ready(Err(failure)) if !self.is_refusal => Err(failure),
            Poll::Ready(Err(_)) => {
                self.is_upload_over = true;
                Ok(())
            }
            Poll::Ready(Ok(())) | Poll::Pending => Ok(()),
        }
    }

    /// The target has nothing more at the moment.
    fn poll_idle(&mut self, cx: &mut Context<'_>, timer: &mut Timer) -> Poll<Result<(), Failure>> {
        self.is_blocked_by_client = self.upload.is_waiting_on_client();
        if let Poll::Ready(Err(failure)) = self.exchange.poll_flush(cx) {
            return Poll::Ready(Err(failure));
        }
        if let Poll::Ready(failure) = self.exchange.poll_gone(cx) {
            return Poll::Ready(Err(failure));
        }
        if self.pace.poll_too_slow(cx).is_ready() {
            return Poll::Ready(Err(Failure::TargetTimeout(Stage::ResponseBody)));
        }
        self.poll_until(cx, timer)
    }

    /// The client takes nothing more at the moment, for which the exchange has its own deadline.
    fn poll_blocked(
        &mut self,
        cx: &mut Context<'_>,
        timer: &mut Timer,
    ) -> Poll<Result<(), Failure>> {
        self.is_blocked_by_client = true;
        self.poll_until(cx, timer)
    }

    fn poll_until(&mut self, cx: &mut Context<'_>, timer: &mut Timer) -> Poll<Result<(), Failure>> {
        let Some(until) = self.until else {
            return Poll::Pending;
        };
        timer.poll(cx, until.at).map(|()| Err(until.failure))
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>, timer: &mut Timer) -> Poll<Result<(), Failure>> {
        match self.exchange.poll_flush(cx) {
            Poll::Pending => self.poll_blocked(cx, timer),
            Poll::Ready(flushed) => Poll::Ready(flushed),
        }
    }
}
