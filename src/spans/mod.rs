//! Sends the spans of requests to a collector: OTLP over HTTP, in protobuf
//! (<https://opentelemetry.io/docs/specs/otlp/>).
//!
//! Nothing here is waited for by a request. What workers leave in the queue of [`observe`](crate::observe)
//! is taken a batch at a time, becomes one request, and is gone when the collector has taken it. One that
//! does not answer, or asks to be left alone for a moment, is asked again with growing pauses; meanwhile
//! the queue fills, and what finds it full is counted. The configuration of the newest snapshot says
//! where spans go, so a reload changes it at once.

mod encode;
mod export;

use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout};
use tracing::{info, warn};

use crate::observe::{FinishedSpan, Spans, spans_dropped, spans_exported};
use crate::state::Reader;
use export::{Refusal, export};

/// Spans of one request, as with OpenTelemetry's own batch processor.
const BATCH: usize = 512;

/// How long the first span of a batch waits for others.
const LINGER: Duration = Duration::from_secs(1);

/// Between two tries: doubling from the first to the last.
const PAUSE: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));

/// How long a batch is kept for a collector that does not take it.
const KEPT_FOR: Duration = Duration::from_secs(60);

/// For what is left when the process ends.
const LAST_FLUSH: Duration = Duration::from_secs(2);

/// Exports until `ending` says that the process ends, and then what is left.
pub async fn run(reader: Reader, mut ending: watch::Receiver<bool>) {
    let mut spans = Spans::take().await;
    let mut collector = Collector {
        reader,
        is_failing: false,
    };
    let mut batch = Vec::with_capacity(BATCH);
    let is_ending = async move { ending.wait_for(|is_ending| *is_ending).await.map(drop) };
    tokio::pin!(is_ending);
    loop {
        let round = async {
            if batch.is_empty() {
                spans.receive(&mut batch, BATCH).await;
            }
            if batch.len() < BATCH {
                sleep(LINGER).await;
                take_waiting(&mut spans, &mut batch).await;
            }
            collector.send(&mut batch).await;
        };
        tokio::select! {
            () = round => {}
            _ = &mut is_ending => break,
        }
    }
    let flush = async {
        while spans.waiting() > 0 || !batch.is_empty() {
            take_waiting(&mut spans, &mut batch).await;
            collector.send(&mut batch).await;
        }
    };
    if timeout(LAST_FLUSH, flush).await.is_err() {
        let left = spans.waiting() + batch.len();
        warn!("{left} spans are lost: the collector has not taken them before the end");
        spans_dropped(left);
    }
}

async fn take_waiting(spans: &mut Spans, batch: &mut Vec<FinishedSpan>) {
    let room = BATCH - batch.len();
    if spans.waiting() > 0 && room > 0 {
        spans.receive(batch, room).await;
    }
}

/// Where spans go, and whether it takes them.
struct Collector {
    reader: Reader,
    is_failing: bool,
}

impl Collector {
    /// Returns when a batch is taken or lost, and leaves it empty. A call that is dropped leaves it as
    /// it was.
    async fn send(&mut self, batch: &mut Vec<FinishedSpan>) {
        let begun = Instant::now();
        let mut pause = PAUSE.0;
        loop {
            let settings = self.reader.load().config.span_export.clone();
            let Some(settings) = settings else {
                // No one wants them any more.
                batch.clear();
                return;
            };
            let refusal = match export(&settings, batch).await {
                Ok(rejected) => {
                    self.succeeded(&settings.endpoint);
                    count(batch, rejected);
                    return;
                }
                Err(refusal) => refusal,
            };
            self.failed(&settings.endpoint, &refusal);
            let wait = refusal.wait.unwrap_or(pause).min(PAUSE.1);
            if !refusal.may_retry || begun.elapsed() + wait > KEPT_FOR {
                spans_dropped(batch.len());
                batch.clear();
                return;
            }
            sleep(wait).await;
            pause = (pause * 2).min(PAUSE.1);
        }
    }

    fn failed(&mut self, url: &str, refusal: &Refusal) {
        if !self.is_failing {
            let text = &refusal.text;
            warn!(
                "spans are not exported: {url}: {text}; those that do not fit the queue are lost"
            );
        }
        self.is_failing = true;
    }

    fn succeeded(&mut self, url: &str) {
        if self.is_failing {
            info!("spans are exported again to {url}");
        }
        self.is_failing = false;
    }
}

/// Counts a batch of which so many were rejected, and empties it.
fn count(batch: &mut Vec<FinishedSpan>, rejected: usize) {
    let rejected = rejected.min(batch.len());
    spans_dropped(rejected);
    spans_exported(batch.len() - rejected);
    batch.clear();
}
