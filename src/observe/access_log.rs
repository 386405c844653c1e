//! The access log: one line per exchange. The fields of its own formats are here; `alb` and
//! `common_log` are those of other servers.

use std::fmt;
use std::time::Duration;

use xxhash_rust::xxh3::xxh3_64;

use super::exchange::{Attempt, ExchangeFacts, Trace};
use super::log::{self, AccessLine, LogFormat, field_name};
use super::logged_head::LoggedHead;
use super::route_fields;
use super::{alb, common_log};
use crate::model::{AccessFormat, AccessLog, AccessPolicy, Protocol, ProxyFacts, Share};

/// Writes an exchange if the policy includes it.
#[inline]
pub(super) fn record(policy: AccessPolicy, exchange: &ExchangeFacts, elapsed: Duration) {
    let is_logged = match policy.logged {
        AccessLog::Off => false,
        AccessLog::Failures => exchange.failure.is_some_and(|failure| {
            let group = exchange.group.as_ref().map(|group| &*group.0);
            log::admits(failure, group)
        }),
        AccessLog::All => policy.successes.is_all() || is_chosen(policy.successes, exchange),
    };
    if is_logged {
        write(policy.format, exchange, elapsed);
    }
}

/// Whether an exchange has failed, or is one of the share of those that have not.
#[cold]
fn is_chosen(share: Share, exchange: &ExchangeFacts) -> bool {
    let has_failed = exchange.failure.is_some() || exchange.sent_status() >= Some(500);
    // The lower half: every hash of the lower bits is as likely as the others.
    let hash = match &exchange.request_id {
        Some(id) => xxh3_64(id.as_bytes()) as u32,
        None => fastrand::u32(..),
    };
    has_failed || share.has(hash)
}

fn write(format: Option<AccessFormat>, exchange: &ExchangeFacts, elapsed: Duration) {
    match format {
        None => write_fields(None, exchange, elapsed),
        Some(AccessFormat::Json) => write_fields(Some(LogFormat::Json), exchange, elapsed),
        Some(AccessFormat::Pretty) => write_fields(Some(LogFormat::Pretty), exchange, elapsed),
        Some(AccessFormat::Alb) => alb::write(exchange, elapsed),
        Some(AccessFormat::Combined) => common_log::write(exchange, elapsed, true),
        Some(AccessFormat::Common) => common_log::write(exchange, elapsed, false),
    }
}

fn write_fields(format: Option<LogFormat>, exchange: &ExchangeFacts, elapsed: Duration) {
    log::access(format, message(exchange), |line| {
        line.client(field_name!("client"), exchange.client);
        if let Some(head) = &exchange.head {
            describe(line, head, exchange.protocol.is_http());
        }
        outcome(line, exchange);
        line.millis(field_name!("ms"), elapsed);
        times(line, exchange);
        line.number(field_name!("received"), exchange.received);
        line.number(field_name!("sent"), exchange.sent);
        route(line, exchange);
        if let Some(tls) = &exchange.transport.tls {
            line.word(field_name!("tls"), tls.session.version);
            line.word(field_name!("cipher"), tls.session.cipher);
        }
        if let Some(id) = &exchange.request_id {
            if id.is_own() {
                line.plain_string(field_name!("request_id"), id.as_bytes());
            } else {
                line.string(field_name!("request_id"), id.as_bytes());
            }
        }
        if let Some(trace) = &exchange.trace {
            traces(line, trace);
        }
        if let Some(facts) = &exchange.transport.proxied {
            proxied(line, facts);
        }
    });
}

fn message(exchange: &ExchangeFacts) -> &'static str {
    match (exchange.failure, exchange.protocol) {
        (Some(failure), _) => failure.explanation(),
        (None, Protocol::Http1 | Protocol::Http2) => "request",
        (None, Protocol::Tcp) => "connection",
    }
}

/// Of a connection that is no exchange of HTTP the host alone is known.
fn describe(line: &mut AccessLine<'_>, head: &LoggedHead, is_http: bool) {
    let mut part = |name, value| {
        if head.is_plain {
            line.plain_string(name, value);
        } else {
            line.string(name, value);
        }
    };
    if is_http {
        part(field_name!("method"), head.method());
    }
    if let Some(host) = head.host() {
        part(field_name!("host"), host);
    }
    if is_http {
        part(field_name!("path"), head.path());
    }
    if let Some(query) = head.query() {
        part(field_name!("query"), query);
    }
    if let Some(agent) = head.agent() {
        part(field_name!("user_agent"), agent);
    }
    if let Some(referer) = head.referer() {
        part(field_name!("referer"), referer);
    }
}

fn outcome(line: &mut AccessLine<'_>, exchange: &ExchangeFacts) {
    if let Some(status) = exchange.sent_status() {
        line.number(field_name!("status"), status);
    }
    if let Some(status) = exchange.grpc_status {
        line.number(field_name!("grpc_status"), status);
    }
    if let Some(reason) = exchange.reason() {
        line.string(field_name!("reason"), reason.as_bytes());
    }
    if let Some(error) = &exchange.connect_error {
        line.string(field_name!("error"), error.as_bytes());
    }
    if let Some(desync) = &exchange.desync {
        line.string(field_name!("class"), desync.class.as_bytes());
        line.string(field_name!("desync_reason"), desync.reason.as_bytes());
    }
}

/// The times of its parts, as far as they were.
fn times(line: &mut AccessLine<'_>, exchange: &ExchangeFacts) {
    if let Some(queued) = exchange.queued() {
        line.millis(field_name!("queued_ms"), queued);
    }
    if let Some(connecting) = exchange.connecting {
        line.millis(field_name!("connect_ms"), connecting);
    }
    if let Some(time) = exchange.time_to(exchange.answered) {
        line.millis(field_name!("first_byte_ms"), time);
    }
}

fn route(line: &mut AccessLine<'_>, exchange: &ExchangeFacts) {
    route_fields::write(line, exchange);
    line.number(field_name!("attempts"), exchange.attempts);
    if !exchange.tried.is_empty() {
        line.shown(field_name!("tried"), Tried(&exchange.tried));
    }
}

fn traces(line: &mut AccessLine<'_>, trace: &Trace) {
    if let Some(id) = &trace.id {
        line.string(field_name!("trace_id"), id.as_bytes());
    }
    if let Some(root) = &trace.amazon {
        line.string(field_name!("amzn_trace_id"), root.as_bytes());
    }
}

/// What a proxy has told about the connection.
fn proxied(line: &mut AccessLine<'_>, facts: &ProxyFacts) {
    let mut tell = |name, text: &Option<Box<str>>| {
        if let Some(text) = text {
            line.string(name, text.as_bytes());
        }
    };
    tell(field_name!("proxy_id"), &facts.unique_id);
    tell(field_name!("proxy_sni"), &facts.authority);
    if let Some(tls) = &facts.tls {
        tell(field_name!("proxy_tls"), &tls.version);
        tell(field_name!("proxy_cipher"), &tls.cipher);
        tell(field_name!("proxy_cert_cn"), &tls.common_name);
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock;
    use crate::model::{ClientAddress, Failure, ListenerSlot};
    use crate::observe::request_id::RequestId;

    fn exchange(id: u64) -> ExchangeFacts {
        let started = clock::now().into_std();
        let listener = (ListenerSlot(0), "sampled".into());
        let client = ClientAddress::Unix;
        let mut exchange = ExchangeFacts::new(Protocol::Http1, started, listener, client);
        exchange.request_id = Some(RequestId::new(7, id));
        exchange.status = Some(200);
        exchange
    }

    #[test]
    fn a_share_of_the_successes_is_chosen_by_their_ids_and_every_failure() {
        let chosen = |share| -> Vec<u64> {
            let share = Share::of_one(share);
            (0..10_000)
                .filter(|id| is_chosen(share, &exchange(*id)))
                .collect()
        };
        let (few, more) = (chosen(0.01), chosen(0.1));
        assert!((50..200).contains(&few.len()), "{}", few.len());
        assert!(
            few.iter().all(|id| more.contains(id)),
            "a larger share has the smaller one"
        );
        assert_eq!((chosen(0.0).len(), chosen(1.0).len()), (0, 10_000));
        let none = Share::of_one(0.0);
        let mut failed = exchange(1);
        failed.failure = Some(Failure::ClientGone);
        assert!(is_chosen(none, &failed));
        let mut failed = exchange(1);
        failed.status = Some(503);
        assert!(is_chosen(none, &failed));
    }
}
