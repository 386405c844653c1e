//! The pages. Every request gets a response.

use bytes::Bytes;
use http::header::{ALLOW, VARY};
use http::{HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::Full;

use super::autoscaling::{AutoscalingStatus, Query};
use super::context::Context;
use super::metrics_format::{self, MetricsFormat};
use super::response::{internal, json, text, typed};
use super::status::Status;
use super::{authorize, host, metrics, paths};
use crate::observe::prometheus;

const OPENMETRICS: HeaderValue =
    HeaderValue::from_static("application/openmetrics-text; version=1.0.0; charset=utf-8");
const PROMETHEUS: HeaderValue =
    HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");

/// A page, and how the response to an unknown path describes it.
struct Listed {
    path: &'static str,
    page: Page,
    help: &'static str,
}

const PAGES: [Listed; 5] = [
    Listed {
        path: paths::LIVE,
        page: Page::Live,
        help: "200 while the process runs",
    },
    Listed {
        path: paths::READY,
        page: Page::Ready,
        help: "200 while requests are wanted",
    },
    Listed {
        path: paths::METRICS,
        page: Page::Metrics,
        help: "for Prometheus",
    },
    Listed {
        path: paths::STATUS,
        page: Page::Status,
        help: "listeners and targets, JSON",
    },
    Listed {
        path: paths::AUTOSCALING,
        page: Page::Autoscaling,
        help: "how many replicas and why, JSON; ?last=N decisions",
    },
];

/// Why a request to read needs the token.
const FOREIGN_HOST: &str = "this listener answers to addresses and `localhost` only, so that no \
                            foreign page can read it through a name of its own (DNS rebinding); \
                            ask it by its address, or with `Authorization: Bearer` and the token \
                            of the configuration";

#[derive(Clone, Copy, Debug)]
enum Page {
    Live,
    Ready,
    Metrics,
    Status,
    Autoscaling,
}

/// Answers one request. A `HEAD` gets the head of what a `GET` gets; hyper leaves the body out.
/// Bodies of requests are not read.
pub(super) fn respond<B>(request: &Request<B>, context: &Context) -> Response<Full<Bytes>> {
    let wanted = request.uri().path();
    let Some(Listed { page, .. }) = PAGES.iter().find(|listed| listed.path == wanted) else {
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
        && let Err(refusal) = authorize::with_token(request.headers(), &context.reader.load())
    {
        return refusal.with_message(FOREIGN_HOST).into_response();
    }
    match page {
        Page::Live => text(StatusCode::OK, "ok\n"),
        Page::Ready => readiness(context),
        Page::Metrics => match metrics::page(context) {
            Ok(page) => metrics_page(metrics_format::preferred(request.headers()), page),
            Err(error) => internal(&error),
        },
        Page::Status => json(StatusCode::OK, &Status::of(context)),
        Page::Autoscaling => match Query::parse(request.uri().query()) {
            Ok(query) => json(StatusCode::OK, &AutoscalingStatus::of(context, query)),
            Err(problem) => text(StatusCode::BAD_REQUEST, &problem),
        },
    }
}

/// The phase, then a line for each thing that a start or a reload waits for.
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

fn metrics_page(format: MetricsFormat, page: String) -> Response<Full<Bytes>> {
    let mut response = match format {
        MetricsFormat::OpenMetrics => typed(StatusCode::OK, OPENMETRICS, page),
        MetricsFormat::Text => typed(StatusCode::OK, PROMETHEUS, prometheus(&page)),
    };
    let accept = HeaderValue::from_static("accept");
    response.headers_mut().insert(VARY, accept);
    response
}

fn index() -> String {
    let lines = PAGES.map(|Listed { path, help, .. }| format!("  {path:<16} {help}\n"));
    let prefix = paths::TARGET_GROUPS;
    format!(
        "nothing here; there is\n{}  {prefix}…  to change targets, with the token\n",
        lines.concat()
    )
}
