//! Which page a request gets. Total: every request gets an answer.

use bytes::Bytes;
use http::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, VARY};
use http::{HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::Full;
use serde::Serialize;

use super::accept::{self, Format};
use super::autoscaling::Query;
use super::{AutoscalingStatus, Context, Status, host, metrics, paths, targets};
use crate::model::{escape_json, escape_lines};
use crate::observe::prometheus;

const TEXT: HeaderValue = HeaderValue::from_static("text/plain; charset=utf-8");
const JSON: HeaderValue = HeaderValue::from_static("application/json");
const OPENMETRICS: HeaderValue =
    HeaderValue::from_static("application/openmetrics-text; version=1.0.0; charset=utf-8");
const PROMETHEUS: HeaderValue =
    HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");

/// The pages, as somebody who is lost is told them.
const PAGES: [(&str, Page, &str); 5] = [
    (paths::LIVE, Page::Live, "200 while the process runs"),
    (paths::READY, Page::Ready, "200 while requests are wanted"),
    (paths::METRICS, Page::Metrics, "for Prometheus"),
    (paths::STATUS, Page::Status, "listeners and targets, JSON"),
    (
        paths::AUTOSCALING,
        Page::Autoscaling,
        "how many replicas and why, JSON; ?last=N decisions",
    ),
];

#[derive(Clone, Copy, Debug)]
enum Page {
    Live,
    Ready,
    Metrics,
    Status,
    Autoscaling,
}

/// Answers one request. A `HEAD` gets the head of what a `GET` gets; hyper leaves its
/// body out. Bodies of requests are not read.
pub(super) fn respond<B>(request: &Request<B>, context: &Context) -> Response<Full<Bytes>> {
    let asked = request.uri().path();
    let Some((_, page, _)) = PAGES.iter().find(|(path, ..)| *path == asked) else {
        return text(StatusCode::NOT_FOUND, &index());
    };
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        let body = "this listener only answers GET and HEAD\n".to_owned();
        let mut response = text(StatusCode::METHOD_NOT_ALLOWED, &body);
        let allowed = HeaderValue::from_static("GET, HEAD");
        response.headers_mut().insert(ALLOW, allowed);
        return response;
    }
    let is_probe = matches!(page, Page::Live | Page::Ready);
    if !is_probe
        && !host::is_own(request.headers(), request.uri().authority())
        && let Err(refusal) = targets::authorize(request.headers(), &context.reader.load())
    {
        return refusal.of_foreign_host().answer();
    }
    match page {
        Page::Live => text(StatusCode::OK, "ok\n"),
        Page::Ready => readiness(context),
        Page::Metrics => match metrics::page(context) {
            Ok(page) => metrics_page(accept::format(request.headers()), page),
            Err(error) => internal(&error),
        },
        Page::Status => json(StatusCode::OK, &Status::of(context)),
        Page::Autoscaling => match Query::parse(request.uri().query()) {
            Ok(query) => json(StatusCode::OK, &AutoscalingStatus::of(context, query)),
            Err(problem) => text(StatusCode::BAD_REQUEST, &problem),
        },
    }
}

/// A value as JSON.
pub(super) fn json(status: StatusCode, value: &impl Serialize) -> Response<Full<Bytes>> {
    match serde_json::to_string_pretty(value) {
        Ok(json) => answer(status, JSON, escape_json(&json).into_owned()),
        Err(error) => internal(&error),
    }
}

/// The phase, then a line for each thing that is waited for.
fn readiness(context: &Context) -> Response<Full<Bytes>> {
    let phase = context.lifecycle.phase();
    let (status, word) = if phase.is_ready() {
        (StatusCode::OK, "ready")
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, phase.name())
    };
    let mut lines = vec![word.to_owned()];
    lines.extend(context.lifecycle.waits());
    text(status, &(lines.join("\n") + "\n"))
}

/// The body and its type are chosen together.
fn metrics_page(format: Format, page: String) -> Response<Full<Bytes>> {
    let mut response = match format {
        Format::OpenMetrics => answer(StatusCode::OK, OPENMETRICS, page),
        Format::Text => answer(StatusCode::OK, PROMETHEUS, prometheus(&page)),
    };
    let accept = HeaderValue::from_static("accept");
    response.headers_mut().insert(VARY, accept);
    response
}

fn index() -> String {
    let lines = PAGES.map(|(path, _, what)| format!("  {path:<16} {what}\n"));
    let prefix = targets::PREFIX;
    format!(
        "nothing here; there is\n{}  {prefix}…  to change targets, with the token\n",
        lines.concat()
    )
}

fn internal(error: &dyn std::error::Error) -> Response<Full<Bytes>> {
    let body = format!("this page could not be written: {error}\n");
    text(StatusCode::INTERNAL_SERVER_ERROR, &body)
}

fn text(status: StatusCode, body: &str) -> Response<Full<Bytes>> {
    answer(status, TEXT, escape_lines(body).into_owned())
}

fn answer(
    status: StatusCode,
    content_type: HeaderValue,
    body: impl Into<Bytes>,
) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body.into()));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, content_type);
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
