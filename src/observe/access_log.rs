//! The access log: one event per exchange, with the target `access`.

use std::fmt;
use std::time::Duration;

use tracing::info;

use super::exchange::{Attempt, ExchangeFacts};
use super::log;
use super::request_head::RequestHead;
use super::request_id::RequestId;
use crate::model::{AccessLog, Protocol};

/// Writes an exchange if `logged` includes it.
pub(super) fn record(logged: AccessLog, exchange: &ExchangeFacts, elapsed: Duration) {
    let is_logged = match logged {
        AccessLog::Off => false,
        AccessLog::Failures => exchange.failure.is_some_and(|failure| {
            let group = exchange.group.as_ref().map(|group| &*group.0);
            log::admits(failure, group)
        }),
        AccessLog::All => true,
    };
    if is_logged {
        write(exchange, elapsed);
    }
}

fn write(exchange: &ExchangeFacts, elapsed: Duration) {
    let head = exchange.head.as_ref();
    // A connection has no status, whatever became of it.
    let is_http = exchange.protocol == Protocol::Http1;
    let failed = exchange.failure.filter(|_| is_http);
    let failed = failed.map(|failure| failure.status().as_u16());
    info!(
        target: log::ACCESS,
        client = %exchange.client,
        method = head.map(RequestHead::method),
        host = head.and_then(RequestHead::host),
        path = head.map(RequestHead::path),
        query = head.and_then(RequestHead::query),
        status = exchange.status.or(failed),
        reason = exchange.reason(),
        class = exchange.desync.map(|desync| desync.class),
        desync_reason = exchange.desync.map(|desync| desync.reason),
        ms = millis(elapsed),
        queued_ms = exchange.queued().map(millis),
        received = exchange.received,
        sent = exchange.sent,
        listener = %exchange.listener.1,
        rule = exchange.rule,
        group = exchange.group.as_ref().map(|group| &*group.0),
        target = exchange.target.as_ref().map(|t| tracing::field::display(&t.id.addr)),
        attempts = exchange.attempts,
        tried = (!exchange.tried.is_empty()).then(|| tracing::field::display(Tried(&exchange.tried))),
        request_id = exchange.request_id.as_ref().map(RequestId::as_str),
        "{}", Summary(exchange)
    );
}

/// Milliseconds with three decimals: enough to tell a local hop from a slow one.
fn millis(elapsed: Duration) -> f64 {
    elapsed.as_micros() as f64 / 1000.0
}

/// The attempts at a request: target, milliseconds, reason.
struct Tried<'a>(&'a [Attempt]);

impl fmt::Display for Tried<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, attempt) in self.0.iter().enumerate() {
            let comma = if n > 0 { ", " } else { "" };
            let space = if attempt.reason.is_empty() { "" } else { " " };
            let (target, reason) = (&attempt.target, attempt.reason);
            let ms = millis(attempt.elapsed);
            write!(f, "{comma}{target} {ms}ms{space}{reason}")?;
        }
        Ok(())
    }
}

/// The message of the event.
struct Summary<'a>(&'a ExchangeFacts);

impl fmt::Display for Summary<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.failure {
            Some(failure) => f.write_str(failure.explanation()),
            None => f.write_str(match self.0.protocol {
                Protocol::Http1 => "request",
                Protocol::Tcp => "connection",
            }),
        }
    }
}
