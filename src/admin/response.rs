//! The responses of the admin listener: text, JSON, and errors as JSON.

use std::fmt;

use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderName};
use http::{HeaderValue, Response, StatusCode};
use http_body_util::Full;
use serde::Serialize;

use crate::model::{escape_json, escape_lines};
use crate::state::Refusal;

const TEXT: HeaderValue = HeaderValue::from_static("text/plain; charset=utf-8");
const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// A response with a body of any type, which no cache keeps.
pub(super) fn typed(
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

/// Text; unsafe characters are escaped.
pub(super) fn text(status: StatusCode, body: &str) -> Response<Full<Bytes>> {
    typed(status, TEXT, escape_lines(body).into_owned())
}

/// A value as JSON.
pub(super) fn json(status: StatusCode, value: &impl Serialize) -> Response<Full<Bytes>> {
    match serde_json::to_string_pretty(value) {
        Ok(json) => typed(status, JSON, escape_json(&json).into_owned()),
        Err(error) => internal(&error),
    }
}

/// A page that could not be made.
pub(super) fn internal(error: &dyn std::error::Error) -> Response<Full<Bytes>> {
    let body = format!("this page could not be written: {error}\n");
    text(StatusCode::INTERNAL_SERVER_ERROR, &body)
}

/// A request that is refused, with the reason. Sent as `{"error": "…"}`.
#[derive(Debug)]
pub(super) struct ErrorResponse {
    status: StatusCode,
    message: String,
    field: Option<(HeaderName, HeaderValue)>,
}

impl ErrorResponse {
    pub(super) fn new(status: StatusCode, message: impl fmt::Display) -> Self {
        Self {
            status,
            message: message.to_string(),
            field: None,
        }
    }

    /// Adds a header field.
    pub(super) fn with_field(self, name: HeaderName, value: HeaderValue) -> Self {
        Self {
            field: Some((name, value)),
            ..self
        }
    }

    /// Replaces the message.
    pub(super) fn with_message(self, message: &str) -> Self {
        Self {
            message: message.to_owned(),
            ..self
        }
    }

    pub(super) fn status(&self) -> StatusCode {
        self.status
    }

    pub(super) fn into_response(self) -> Response<Full<Bytes>> {
        let mut response = json(self.status, &serde_json::json!({ "error": self.message }));
        response.headers_mut().extend(self.field);
        response
    }
}

impl From<Refusal> for ErrorResponse {
    fn from(refusal: Refusal) -> Self {
        let status = match refusal {
            Refusal::UnknownGroup(_) | Refusal::UnknownTarget(_) => StatusCode::NOT_FOUND,
            Refusal::Replica(_) | Refusal::TooMany => StatusCode::CONFLICT,
            Refusal::Stopping => StatusCode::SERVICE_UNAVAILABLE,
        };
        Self::new(status, refusal)
    }
}
