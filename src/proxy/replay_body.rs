//! The body of a request on its way to a target, and to another one if the first fails.

use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::Instant;

use crate::message::{BodyLength, Exchange, Fields, NameSet};
use crate::model::Failure;
use crate::net::Timer;
use crate::state::CompiledListener;
use crate::upstream::Connection;

/// How long a client that waits for a 100 waits for it, when the target says nothing: such a target
/// does not know of it (RFC 9110 section 10.1.1).
const CONTINUE_TIMEOUT: Duration = Duration::from_secs(1);

/// Most parts that are passed on before other connections have their turn: a client that sends a
/// byte at a time must not keep the worker.
const MAX_PARTS: u32 = 1024;

/// The body of one request: read from its client once, counted and limited. It can be sent several
/// times as long as every part that was sent is kept.
#[derive(Debug)]
pub(super) struct ReplayBody {
    /// Most bytes; `None` sets no limit.
    limit: Option<u64>,
    received: u64,
    /// The beginning of the body, which is sent again by another attempt.
    kept: Vec<u8>,
    /// How much of it was sent in this attempt.
    position: usize,
    keeping: Keeping,
    /// Whether the head does not say how long the body is.
    is_open_ended: bool,
    /// Whether the client's body was read to its end.
    is_read: bool,
    /// Whether the whole body was given to the target's connection.
    is_over: bool,
    waiting_on: WaitingOn,
    /// Parts that were given to targets.
    given: u32,
    /// Since when the body waits for a 100 of the target; `None` if it does not.
    held: Option<Instant>,
    timer: Timer,
    /// Has the identity fields that are removed from the trailers of an untrusted client; `None` if
    /// the client is trusted.
    distrusts: Option<Arc<CompiledListener>>,
}

/// Whether parts that are sent are kept for another attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Keeping {
    /// They are, as long as they have no more than so many bytes in all.
    UpTo(usize),
    /// They are not, and none was sent yet.
    No,
    /// A part was sent and not kept: there can be no other attempt.
    TooLate,
}

/// Which side the request waits for.
#[derive(Clone, Copy, Debug)]
enum WaitingOn {
    /// Nothing was sent yet.
    Unstarted,
    /// The client, which has not sent the next part.
    Client,
    /// The target, since the last part was given to it.
    Target(Instant),
}

impl ReplayBody {
    /// The body of an exchange of which nothing was read.
    pub(super) fn new(
        exchange: &impl Exchange,
        limit: Option<u64>,
        distrusts: Option<Arc<CompiledListener>>,
    ) -> Self {
        Self {
            limit,
            received: 0,
            kept: Vec::new(),
            position: 0,
            keeping: Keeping::No,
            is_open_ended: exchange.body_length() == BodyLength::Unknown,
            is_read: exchange.body_length().is_empty(),
            is_over: false,
            waiting_on: WaitingOn::Unstarted,
            given: 0,
            held: None,
            timer: Timer::default(),
            distrusts,
        }
    }

    /// Bytes read from the client.
    pub(super) fn received(&self) -> u64 {
        self.received
    }

    /// The length of the whole body, what was read included.
    pub(super) fn length(&self, exchange: &impl Exchange) -> BodyLength {
        match exchange.body_length() {
            _ if self.is_open_ended => BodyLength::Unknown,
            BodyLength::Exact(left) => BodyLength::Exact(left + self.kept.len() as u64),
            BodyLength::Unknown => BodyLength::Unknown,
            BodyLength::Empty if self.kept.is_empty() => BodyLength::Empty,
            BodyLength::Empty => BodyLength::Exact(self.kept.len() as u64),
        }
    }

    /// Reads until the end of the body, or until at least `wanted` bytes are read. What was read
    /// is kept and returned. A client that waits for a 100 gets one from Weir.
    pub(super) async fn read_start(
        &mut self,
        exchange: &mut impl Exchange,
        wanted: usize,
    ) -> Result<&[u8], Failure> {
        if exchange.awaits_continue() {
            exchange.send_continue();
            std::future::poll_fn(|cx| exchange.poll_flush(cx)).await?;
        }
        while self.kept.len() < wanted && !self.is_read {
            let more = std::future::poll_fn(|cx| match exchange.poll_body(cx) {
                Poll::Ready(Ok(Some(data))) => {
                    self.kept.extend_from_slice(data);
                    let count = data.len();
                    exchange.consume_body(count);
                    Poll::Ready(Ok(count))
                }
                Poll::Ready(Ok(None)) => Poll::Ready(Ok(0)),
                Poll::Ready(Err(failure)) => Poll::Ready(Err(failure)),
                Poll::Pending => Poll::Pending,
            });
            let count = more.await?;
            self.is_read = count == 0;
            self.count(count)?;
        }
        Ok(&self.kept)
    }

    /// Keeps parts that are sent, up to `limit` bytes. To be called before anything is sent.
    pub(super) fn keep(&mut self, limit: usize) {
        if self.kept.len() <= limit {
            self.keeping = Keeping::UpTo(limit);
        }
    }

    /// Whether it can be sent from its first byte.
    pub(super) fn is_whole(&self) -> bool {
        self.keeping != Keeping::TooLate
    }

    /// Begins an attempt: the body is sent from its first byte, and waits for a 100 if the client
    /// does.
    pub(super) fn begin(&mut self, exchange: &impl Exchange) {
        self.position = 0;
        self.is_over = self.length(exchange).is_empty();
        self.waiting_on = WaitingOn::Unstarted;
        self.held = exchange.awaits_continue().then(Instant::now);
    }

    /// Notes that a byte of it may have left: what is longer than is to be kept cannot be sent again.
    pub(super) fn note_written(&mut self) {
        if matches!(self.keeping, Keeping::UpTo(limit) if self.kept.len() > limit) {
            self.keeping = Keeping::TooLate;
            self.kept = Vec::new();
            self.position = 0;
        }
    }

    /// Notes a 100 of the target: the body is sent.
    pub(super) fn go_on(&mut self) {
        self.held = None;
    }

    /// Whether it waits for a 100 of the target.
    pub(super) fn awaits_continue(&self) -> bool {
        self.held.is_some()
    }

    /// Since when the target has had all that the client sent: since the last part was given to it,
    /// or now, if the next part has to come from the client. `None` while nothing was sent.
    pub(super) fn waiting_on_target_since(&self) -> Option<Instant> {
        match self.waiting_on {
            WaitingOn::Unstarted => None,
            WaitingOn::Client => Some(Instant::now()),
            WaitingOn::Target(since) => Some(since),
        }
    }

    /// Whether the next part has to come from the client.
    pub(super) fn is_waiting_on_client(&self) -> bool {
        matches!(self.waiting_on, WaitingOn::Client)
    }

    /// Sends what can be sent on the connection `target`. Ready when the whole request was written,
    /// or the target reads no more of it. An error is never the target's fault.
    pub(super) fn poll(
        &mut self,
        cx: &mut Context<'_>,
        exchange: &mut impl Exchange,
        target: &mut Connection,
    ) -> Poll<Result<(), Failure>> {
        let given = self.given;
        let polled = self.poll_parts(cx, exchange, target);
        if self.given != given && !self.is_waiting_on_client() {
            self.waiting_on = WaitingOn::Target(Instant::now());
        }
        polled
    }

    fn poll_parts(
        &mut self,
        cx: &mut Context<'_>,
        exchange: &mut impl Exchange,
        target: &mut Connection,
    ) -> Poll<Result<(), Failure>> {
        let last = self.given.wrapping_add(MAX_PARTS);
        self.waiting_on = match self.waiting_on {
            WaitingOn::Client => WaitingOn::Target(Instant::now()),
            waiting_on => waiting_on,
        };
        loop {
            // The head goes out together with the first part of the body, or alone if that part
            // has not come.
            if (self.is_over || !target.has_room() || self.is_held(cx, exchange))
                && target.poll_flush(cx).is_pending()
            {
                return Poll::Pending;
            }
            if self.is_over || target.is_write_broken() {
                return Poll::Ready(Ok(()));
            }
            if self.held.is_some() {
                return Poll::Pending;
            }
            if self.position < self.kept.len() {
                target.push_body(&self.kept[self.position..]);
                self.position = self.kept.len();
                continue;
            }
            if self.is_read {
                self.end(exchange.trailers(), target);
                continue;
            }
            match exchange.poll_body(cx) {
                Poll::Ready(Ok(Some(data))) => {
                    target.push_body(data);
                    let count = data.len();
                    self.keeping = keep(&mut self.kept, self.keeping, data, target.is_written());
                    self.position = self.kept.len();
                    exchange.consume_body(count);
                    self.count(count)?;
                    self.given = self.given.wrapping_add(1);
                    if self.given == last {
                        cx.waker().wake_by_ref();
                        return Poll::Pending;
                    }
                }
                Poll::Ready(Ok(None)) => {
                    self.is_read = true;
                    self.end(exchange.trailers(), target);
                }
                Poll::Ready(Err(failure)) => return Poll::Ready(Err(failure)),
                Poll::Pending => {
                    self.waiting_on = WaitingOn::Client;
                    // Pending either way: the client is waited for.
                    let _ = target.poll_flush(cx);
                    return Poll::Pending;
                }
            }
        }
    }

    fn end(&mut self, trailers: Option<&Fields>, target: &mut Connection) {
        match (trailers, &self.distrusts) {
            (Some(trailers), Some(listener)) => {
                let mut trailers = trailers.clone();
                listener
                    .identity
                    .remove_from(&mut trailers, NameSet::default());
                target.end_body(Some(&trailers));
            }
            (trailers, _) => target.end_body(trailers),
        }
        self.is_over = true;
        self.given = self.given.wrapping_add(1);
    }

    /// Whether the body waits for the target's 100. A client that sends it nevertheless, or has
    /// waited for long enough, is not held.
    fn is_held(&mut self, cx: &mut Context<'_>, exchange: &mut impl Exchange) -> bool {
        let Some(since) = self.held else { return false };
        // Looks whether the body comes by itself; what was read stays with the exchange.
        if exchange.poll_body(cx).is_ready() {
            self.held = None;
        } else if self.timer.poll(cx, since + CONTINUE_TIMEOUT).is_ready() {
            exchange.send_continue();
            // Pending or not: what follows is read as it comes.
            let _ = exchange.poll_flush(cx);
            self.held = None;
        }
        self.held.is_some()
    }

    fn count(&mut self, count: usize) -> Result<(), Failure> {
        self.received += count as u64;
        if self.limit.is_some_and(|limit| self.received > limit) {
            return Err(Failure::RequestBodyTooLarge);
        }
        Ok(())
    }
}

/// Keeps a part that was given to a target, unless there is no room for it. What cannot have left
/// yet is kept in any case: it is at most what a connection has room for.
fn keep(kept: &mut Vec<u8>, keeping: Keeping, data: &[u8], is_written: bool) -> Keeping {
    match keeping {
        Keeping::UpTo(limit) if kept.len() + data.len() <= limit => kept.extend_from_slice(data),
        Keeping::UpTo(_) | Keeping::No if !is_written => kept.extend_from_slice(data),
        Keeping::UpTo(_) | Keeping::No | Keeping::TooLate => {
            *kept = Vec::new();
            return Keeping::TooLate;
        }
    }
    keeping
}
