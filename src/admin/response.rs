//! The responses of the admin listener: text and JSON, which no cache keeps.

use axum::body::Body;
use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderValue, Response, StatusCode};
use serde::Serialize;

use crate::model::{escape_json, escape_lines};

const TEXT: HeaderValue = HeaderValue::from_static("text/plain; charset=utf-8");
const JSON: HeaderValue = HeaderValue::from_static("application/json");
const PROBLEM: HeaderValue = HeaderValue::from_static("application/problem+json");

/// The answer in place of one that could not be written.
const UNWRITTEN: &str = r#"{
  "type": "urn:weir:problem:internal",
  "title": "this answer could not be written",
  "status": 500,
  "detail": "a defect of Weir"
}"#;

/// A response with a body of any type.
pub(super) fn typed(
    status: StatusCode,
    content_type: HeaderValue,
    body: impl Into<Bytes>,
) -> Response<Body> {
    let mut response = Response::new(Body::from(body.into()));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, content_type);
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// Text; unsafe characters are escaped.
pub(super) fn text(status: StatusCode, body: &str) -> Response<Body> {
    typed(status, TEXT, escape_lines(body).into_owned())
}

/// A value as JSON.
pub(super) fn json(status: StatusCode, value: &impl Serialize) -> Response<Body> {
    match serde_json::to_string_pretty(value) {
        Ok(json) => typed(status, JSON, escape_json(&json).into_owned()),
        Err(_) => typed(StatusCode::INTERNAL_SERVER_ERROR, PROBLEM, UNWRITTEN),
    }
}

/// JSON that is written already.
pub(super) fn written_json(json: &'static str) -> Response<Body> {
    typed(StatusCode::OK, JSON, json)
}

/// Why a request is refused.
pub(super) fn problem(status: StatusCode, problem: &impl Serialize) -> Response<Body> {
    let mut response = json(status, problem);
    response.headers_mut().insert(CONTENT_TYPE, PROBLEM);
    response
}
