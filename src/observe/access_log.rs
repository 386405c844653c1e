//! The access log: one line per exchange.

use std::fmt;
use std::time::Duration;

use super::exchange::{Attempt, ExchangeFacts};
use super::log::{self, AccessLine};
use super::request_head::RequestHead;
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
    log::access(message(exchange), |line| {
        line.client("client", exchange.client);
        if let Some(head) = &exchange.head {
            describe(line, head);
        }
        outcome(line, exchange);
        line.millis("ms", elapsed);
        if let Some(queued) = exchange.queued() {
            line.millis("queued_ms", queued);
        }
        line.number("received", exchange.received);
        line.number("sent", exchange.sent);
        route(line, exchange);
        if let Some(id) = &exchange.request_id {
            line.string("request_id", id.as_str());
        }
    });
}

fn message(exchange: &ExchangeFacts) -> &'static str {
    match (exchange.failure, exchange.protocol) {
        (Some(failure), _) => failure.explanation(),
        (None, Protocol::Http1) => "request",
        (None, Protocol::Tcp) => "connection",
    }
}

fn describe(line: &mut AccessLine<'_>, head: &RequestHead) {
    line.string("method", head.method());
    if let Some(host) = head.host() {
        line.string("host", host);
    }
    line.string("path", head.path());
    if let Some(query) = head.query() {
        line.string("query", query);
    }
}

fn outcome(line: &mut AccessLine<'_>, exchange: &ExchangeFacts) {
    // A connection has no status, whatever became of it.
    let is_http = exchange.protocol == Protocol::Http1;
    let failed = exchange.failure.filter(|_| is_http);
    let failed = failed.map(|failure| failure.status().as_u16());
    if let Some(status) = exchange.status.or(failed) {
        line.number("status", status.into());
    }
    if let Some(reason) = exchange.reason() {
        line.string("reason", reason);
    }
    if let Some(desync) = &exchange.desync {
        line.string("class", desync.class);
        line.string("desync_reason", desync.reason);
    }
}

fn route(line: &mut AccessLine<'_>, exchange: &ExchangeFacts) {
    line.word("listener", &exchange.listener.1.0);
    if let Some(rule) = exchange.rule {
        line.number("rule", rule.into());
    }
    if let Some(group) = &exchange.group {
        line.string("group", &group.0);
    }
    if let Some(target) = &exchange.target {
        line.endpoint("target", &target.id.addr);
    }
    line.number("attempts", exchange.attempts.into());
    if !exchange.tried.is_empty() {
        line.shown("tried", Tried(&exchange.tried));
    }
}

/// The attempts at a request: target, milliseconds, reason.
struct Tried<'a>(&'a [Attempt]);

impl fmt::Display for Tried<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, attempt) in self.0.iter().enumerate() {
            let comma = if n > 0 { ", " } else { "" };
            let space = if attempt.reason.is_empty() { "" } else { " " };
            let (target, reason) = (&attempt.target, attempt.reason);
            let ms = attempt.elapsed.as_micros() as f64 / 1000.0;
            write!(f, "{comma}{target} {ms}ms{space}{reason}")?;
        }
        Ok(())
    }
}
