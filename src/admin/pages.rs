//! The operations that only read.

#![allow(clippy::unnecessary_wraps, reason = "all operations have one type")]

use std::fmt;
use std::time::Duration;

use http::header::VARY;
use http::{HeaderValue, StatusCode};

use super::autoscaling::{AutoscalingStatus, Query};
use super::call::Call;
use super::event_stream;
use super::findings;
use super::history_status::HistoryStatus;
use super::metrics;
use super::metrics_format::{self, MetricsFormat};
use super::operation::Answer;
use super::problem::Kind;
use super::response::{json, text, typed, written_json};
use super::status::{GroupList, ListenerList, Status};
use super::status_stream;
use crate::model::TargetGroupId;
use crate::observe::prometheus;

const OPENMETRICS: HeaderValue =
    HeaderValue::from_static("application/openmetrics-text; version=1.0.0; charset=utf-8");
const PROMETHEUS: HeaderValue =
    HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");

const PROTOBUF: HeaderValue = HeaderValue::from_static(
    "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=delimited",
);

/// Minutes of the history without `minutes`.
const DEFAULT_MINUTES: u64 = 60;

/// Made from the types of the answers by a test, which fails when it is out of date.
const DOCUMENT: &str = include_str!("openapi.json");

pub(super) fn live() -> Answer {
    Ok(text(StatusCode::OK, "ok\n"))
}

/// The phase, then a line for each thing that a start or a reload waits for.
pub(super) fn ready(call: &Call) -> Answer {
    let lifecycle = &call.context.lifecycle;
    let phase = lifecycle.phase();
    let (status, word) = if phase.is_ready() {
        (StatusCode::OK, "ready")
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, phase.name())
    };
    let mut lines = vec![word.to_owned()];
    lines.extend(lifecycle.waits());
    Ok(text(status, &(lines.join("\n") + "\n")))
}

pub(super) fn metrics(call: &Call) -> Answer {
    let failed = |error: fmt::Error| Kind::Internal.because(error.to_string());
    let text = || metrics::page(&call.context).map_err(failed);
    let mut response = match metrics_format::preferred(&call.headers) {
        MetricsFormat::OpenMetrics => typed(StatusCode::OK, OPENMETRICS, text()?),
        MetricsFormat::Text => typed(StatusCode::OK, PROMETHEUS, prometheus(&text()?)),
        MetricsFormat::Protobuf => {
            let page = metrics::protobuf_page(&call.context).map_err(failed)?;
            typed(StatusCode::OK, PROTOBUF, page)
        }
    };
    let accept = HeaderValue::from_static("accept");
    response.headers_mut().insert(VARY, accept);
    Ok(response)
}

/// The status now, or from now on.
pub(super) fn status(call: &Call) -> Answer {
    if event_stream::is_wanted(&call.headers) {
        return status_stream::follow(call);
    }
    Ok(json(StatusCode::OK, &findings::status(&call.context)))
}

pub(super) fn history(call: &Call) -> Answer {
    let minutes: u64 = call.number("minutes")?.unwrap_or(DEFAULT_MINUTES);
    let time = Duration::from_secs(minutes.saturating_mul(60));
    let status = HistoryStatus::of(&call.context.history, time);
    Ok(json(StatusCode::OK, &status))
}

pub(super) fn listeners(call: &Call) -> Answer {
    let listeners = Status::of(&call.context).listeners;
    Ok(json(StatusCode::OK, &ListenerList { listeners }))
}

pub(super) fn listener(call: &Call) -> Answer {
    let name = call.part("listener");
    let listeners = Status::of(&call.context).listeners;
    let found = listeners.into_iter().find(|listener| listener.name == name);
    let unknown = || Kind::UnknownListener.because(format!("there is no listener `{name}`"));
    Ok(json(StatusCode::OK, &found.ok_or_else(unknown)?))
}

pub(super) fn groups(call: &Call) -> Answer {
    let groups = Status::of(&call.context).target_groups;
    Ok(json(StatusCode::OK, &GroupList { groups }))
}

pub(super) fn group(call: &Call) -> Answer {
    let id = TargetGroupId::from(call.part("group"));
    let unknown = || Kind::UnknownGroup.because(format!("there is no target group `{id}`"));
    let status = Status::of_group(&call.context, &id).ok_or_else(unknown)?;
    Ok(json(StatusCode::OK, &status))
}

pub(super) fn autoscaling(call: &Call) -> Answer {
    let minute = match call.parameter("minute") {
        None | Some("false") => false,
        Some("true") => true,
        Some(other) => {
            let detail = format!("minute={other} is neither true nor false");
            return Err(Kind::BadQuery.because(detail));
        }
    };
    let query = Query::new(call.number("last")?, minute);
    let status = AutoscalingStatus::of(&call.context, query);
    Ok(json(StatusCode::OK, &status))
}

pub(super) fn openapi() -> Answer {
    Ok(written_json(DOCUMENT))
}
