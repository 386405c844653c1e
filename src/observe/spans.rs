//! The spans of requests, on their way to what exports them. A worker leaves what is known of a
//! request in a bounded queue and goes on; a span that finds it full is counted and gone.

use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use tokio::sync::mpsc::{Receiver, Sender, channel};
use tokio::sync::{Mutex, MutexGuard};

use super::exchange::{Attempt, ExchangeFacts, SpanContext};
use super::logged_head::LoggedHead;
use super::request_id::RequestId;
use crate::model::{ClientAddress, ListenerId, Protocol, TargetGroupId};

/// Spans that wait at most, as with OpenTelemetry's own batch processor.
const QUEUE_LENGTH: usize = 2048;

static QUEUE: LazyLock<Queue> = LazyLock::new(|| {
    let (sender, receiver) = channel(QUEUE_LENGTH);
    Queue {
        sender,
        receiver: Mutex::new(receiver),
        exported: AtomicU64::new(0),
        dropped: AtomicU64::new(0),
    }
});

struct Queue {
    sender: Sender<FinishedSpan>,
    receiver: Mutex<Receiver<FinishedSpan>>,
    exported: AtomicU64,
    dropped: AtomicU64,
}

/// What is known of a request that has ended, for its span.
#[derive(Debug)]
pub struct FinishedSpan {
    /// Where it belongs.
    pub context: SpanContext,
    /// When the head of the request was complete.
    pub began: SystemTime,
    /// From there to the end of the response.
    pub elapsed: Duration,
    /// What the client speaks.
    pub protocol: Protocol,
    /// Whether it speaks it in TLS.
    pub is_secure: bool,
    /// The client, as trusted proxies report it.
    pub client: ClientAddress,
    /// The head of the request; `None` if it was not read.
    pub head: Option<LoggedHead>,
    /// The value of the `X-Request-Id` field.
    pub request_id: Option<RequestId>,
    /// The listener that accepted the connection.
    pub listener: ListenerId,
    /// The rule that matched, by priority.
    pub rule: Option<u32>,
    /// The group that it was forwarded to.
    pub group: Option<TargetGroupId>,
    /// The last target that was tried.
    pub target: Option<Box<str>>,
    /// How many times it was sent to a target, or was to be.
    pub attempts: u32,
    /// Each attempt, if there was more than one.
    pub tried: Vec<Attempt>,
    /// The time in queues.
    pub queued: Option<Duration>,
    /// The time that a new connection to a target took.
    pub connecting: Option<Duration>,
    /// From the beginning to the head of the target's response.
    pub first_byte: Option<Duration>,
    /// The status that the client has got.
    pub status: Option<u16>,
    /// The status of a call of gRPC.
    pub grpc_status: Option<u16>,
    /// Why no target answered, or not to the end.
    pub failure: Option<&'static str>,
    /// The system's error, if there was no connection to a target.
    pub error: Option<Box<str>>,
    /// Body bytes from the client.
    pub received: u64,
    /// The same to the client.
    pub sent: u64,
}

/// How many spans have gone where.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SpanCounts {
    /// Taken by the collector.
    pub exported: u64,
    /// Lost: the queue was full, or the collector did not take them.
    pub dropped: u64,
}

/// The spans that wait. One task takes them.
#[derive(Debug)]
pub struct Spans(MutexGuard<'static, Receiver<FinishedSpan>>);

impl Spans {
    /// Waits until no other task takes them.
    pub async fn take() -> Self {
        Self(QUEUE.receiver.lock().await)
    }

    /// Waits for spans, and adds up to `most` of them to a batch.
    pub async fn receive(&mut self, batch: &mut Vec<FinishedSpan>, most: usize) {
        // The sender is never dropped, so there is at least one.
        self.0.recv_many(batch, most).await;
    }

    /// How many wait.
    pub fn waiting(&self) -> usize {
        self.0.len()
    }
}

/// How many spans have been exported, and lost, since the process began.
pub fn span_counts() -> SpanCounts {
    SpanCounts {
        exported: QUEUE.exported.load(Ordering::Relaxed),
        dropped: QUEUE.dropped.load(Ordering::Relaxed),
    }
}

/// Counts spans that the collector has taken.
pub fn spans_exported(count: usize) {
    QUEUE.exported.fetch_add(count as u64, Ordering::Relaxed);
}

/// Counts spans that are lost.
pub fn spans_dropped(count: usize) {
    QUEUE.dropped.fetch_add(count as u64, Ordering::Relaxed);
}

/// Leaves the span of an exchange that has ended, if it is to be exported. Takes from its facts what
/// nothing reads after this.
#[inline]
pub(super) fn finish(exchange: &mut ExchangeFacts, elapsed: Duration) {
    let context = exchange.trace.as_ref().and_then(|trace| trace.span);
    if let Some(context) = context {
        leave(context, exchange, elapsed);
    }
}

#[cold]
fn leave(context: SpanContext, exchange: &mut ExchangeFacts, elapsed: Duration) {
    let now = SystemTime::now();
    let span = FinishedSpan {
        context,
        began: now.checked_sub(elapsed).unwrap_or(now),
        elapsed,
        protocol: exchange.protocol,
        is_secure: exchange.transport.is_secure(),
        client: exchange.client,
        request_id: exchange.request_id.take(),
        listener: exchange.listener.1.clone(),
        rule: exchange.rule,
        group: exchange.group.clone(),
        target: exchange
            .target
            .as_ref()
            .map(|target| target.address.clone()),
        attempts: exchange.attempts,
        tried: std::mem::take(&mut exchange.tried),
        queued: exchange.queued(),
        connecting: exchange.connecting,
        first_byte: exchange.time_to(exchange.answered),
        status: exchange.sent_status(),
        grpc_status: exchange.grpc_status,
        failure: exchange.reason(),
        error: exchange.connect_error.take(),
        received: exchange.received,
        sent: exchange.sent,
        head: exchange.head.take(),
    };
    if QUEUE.sender.try_send(span).is_err() {
        spans_dropped(1);
    }
}
