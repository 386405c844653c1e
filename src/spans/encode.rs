//! Spans as OTLP has them, with the attributes of OpenTelemetry's conventions for HTTP servers
//! (<https://opentelemetry.io/docs/specs/semconv/http/http-spans/>) and some of Weir's own.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, InstrumentationScope, KeyValue};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::span::{Event, SpanKind};
use opentelemetry_proto::tonic::trace::v1::status::StatusCode;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span, Status};

use crate::model::Protocol;
use crate::observe::{Attempt, FinishedSpan, LoggedHead, RequestId};

/// The methods that the conventions know; any other is `_OTHER`, so that no client can make names.
const METHODS: [&str; 9] = [
    "CONNECT", "DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT", "TRACE",
];

/// Bit 0: sampled.
const SAMPLED: u32 = 1;

/// Longest text of an attribute, bytes: a head may have a thousand times that.
const LONGEST_TEXT: usize = 2048;

/// The body of one request to a collector.
pub(super) fn request(service: &str, spans: &[FinishedSpan]) -> ExportTraceServiceRequest {
    let mut of_service = Attributes::default();
    of_service.text("service.name", service);
    of_service.text("service.version", env!("CARGO_PKG_VERSION"));
    let scope = InstrumentationScope {
        name: "weir".to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        ..InstrumentationScope::default()
    };
    ExportTraceServiceRequest {
        resource_spans: vec![ResourceSpans {
            resource: Some(Resource {
                attributes: of_service.0,
                ..Resource::default()
            }),
            scope_spans: vec![ScopeSpans {
                scope: Some(scope),
                spans: spans.iter().map(encode).collect(),
                ..ScopeSpans::default()
            }],
            ..ResourceSpans::default()
        }],
    }
}

fn encode(span: &FinishedSpan) -> Span {
    let context = &span.context;
    let method = span.head.as_ref().map(LoggedHead::method);
    let method = method.map(|method| known(method).unwrap_or("_OTHER"));
    let parent = context.parent.map(|parent| parent.to_be_bytes().to_vec());
    Span {
        trace_id: context.trace.to_be_bytes().to_vec(),
        span_id: context.id.to_be_bytes().to_vec(),
        parent_span_id: parent.unwrap_or_default(),
        flags: SAMPLED,
        // What the conventions want of a server that knows no route.
        name: method
            .filter(|name| *name != "_OTHER")
            .unwrap_or("HTTP")
            .to_owned(),
        kind: SpanKind::Server.into(),
        start_time_unix_nano: nanoseconds(span.began),
        end_time_unix_nano: nanoseconds(span.began + span.elapsed),
        attributes: attributes(span, method),
        events: events(span),
        status: status(span),
        ..Span::default()
    }
}

fn known(method: &[u8]) -> Option<&'static str> {
    METHODS.into_iter().find(|name| name.as_bytes() == method)
}

fn attributes(span: &FinishedSpan, method: Option<&str>) -> Vec<KeyValue> {
    let mut all = Attributes::default();
    if let (Some(head), Some(method)) = (&span.head, method) {
        of_head(&mut all, head, method, span);
    }
    if let Some(address) = span.client.canonical_ip() {
        all.text("client.address", &address.to_string());
    }
    if let Some(status) = span.status {
        all.number("http.response.status_code", status);
    }
    if let Some(status) = span.grpc_status {
        all.number("rpc.grpc.status_code", status);
    }
    if let Some(failure) = span.failure {
        all.text("error.type", failure);
    }
    all.number("http.request.body.size", span.received);
    all.number("http.response.body.size", span.sent);
    all.text("weir.listener", &span.listener.0);
    if let Some(rule) = span.rule {
        all.number("weir.rule", rule);
    }
    if let Some(group) = &span.group {
        all.text("weir.target_group", &group.0);
    }
    if let Some(target) = &span.target {
        all.text("weir.target", target);
    }
    all.number("weir.attempts", span.attempts);
    if let Some(id) = span.request_id.as_ref().map(RequestId::as_bytes) {
        all.bytes("weir.request_id", id);
    }
    if let Some(error) = &span.error {
        all.text("weir.connect_error", error);
    }
    all.milliseconds("weir.queued_ms", span.queued);
    all.milliseconds("weir.connect_ms", span.connecting);
    all.milliseconds("weir.first_byte_ms", span.first_byte);
    all.0
}

fn of_head(all: &mut Attributes, head: &LoggedHead, method: &str, span: &FinishedSpan) {
    all.text("http.request.method", method);
    if method == "_OTHER" {
        all.bytes("http.request.method_original", head.method());
    }
    all.text("url.scheme", if span.is_secure { "https" } else { "http" });
    all.bytes("url.path", head.path());
    if let Some(query) = head.query() {
        all.bytes("url.query", query);
    }
    if let Some(host) = head.host() {
        all.bytes("server.address", host);
    }
    let version = match span.protocol {
        Protocol::Http2 => "2",
        Protocol::Http1 | Protocol::Tcp => head.version(span.protocol).trim_start_matches("HTTP/"),
    };
    all.text("network.protocol.version", version);
    if let Some(agent) = head.agent() {
        all.bytes("user_agent.original", agent);
    }
}

/// Each attempt, if there was more than one.
fn events(span: &FinishedSpan) -> Vec<Event> {
    let mut at = span.began;
    let mut event = |attempt: &Attempt| {
        at += attempt.elapsed;
        let mut all = Attributes::default();
        all.text("weir.target", &attempt.target.to_string());
        if !attempt.reason.is_empty() {
            all.text("error.type", attempt.reason);
        }
        Event {
            time_unix_nano: nanoseconds(at),
            name: "attempt".to_owned(),
            attributes: all.0,
            ..Event::default()
        }
    };
    span.tried.iter().map(&mut event).collect()
}

/// Of a server, what it answers with 5xx is an error, and what the client has done wrong is none.
fn status(span: &FinishedSpan) -> Option<Status> {
    let is_error = span.status.is_none_or(|status| status >= 500);
    let failure = span.failure.unwrap_or_default();
    is_error.then(|| Status {
        code: StatusCode::Error.into(),
        message: failure.to_owned(),
    })
}

fn nanoseconds(time: SystemTime) -> u64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

#[derive(Default)]
struct Attributes(Vec<KeyValue>);

impl Attributes {
    fn add(&mut self, name: &str, value: Value) {
        self.0.push(KeyValue {
            key: name.to_owned(),
            value: Some(AnyValue { value: Some(value) }),
            ..KeyValue::default()
        });
    }

    fn text(&mut self, name: &str, text: &str) {
        self.add(name, Value::StringValue(text.to_owned()));
    }

    /// What clients send: it may be no text, and of any length.
    fn bytes(&mut self, name: &str, bytes: &[u8]) {
        let kept = bytes.get(..LONGEST_TEXT).unwrap_or(bytes);
        self.text(name, &String::from_utf8_lossy(kept));
    }

    fn number(&mut self, name: &str, number: impl TryInto<i64>) {
        let number = number.try_into().unwrap_or(i64::MAX);
        self.add(name, Value::IntValue(number));
    }

    fn milliseconds(&mut self, name: &str, time: Option<Duration>) {
        if let Some(time) = time {
            self.add(name, Value::DoubleValue(time.as_secs_f64() * 1000.0));
        }
    }
}
