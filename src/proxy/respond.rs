//! Responses that Weir itself gives: fixed responses, redirects and errors.

use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{ALLOW, CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, LOCATION, RETRY_AFTER};
use http::uri::Scheme;
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode};

use super::client::Client;
use crate::model::{Failure, FixedResponse, Redirect};
use crate::observe::Record;
use crate::relay::ResponseBody;
use crate::router::{RequestView, location};

const PLAIN_TEXT: HeaderValue = HeaderValue::from_static("text/plain; charset=utf-8");

/// For `Allow`, which a 405 must have (RFC 9110 section 15.5.6). Other methods are forwarded
/// too, except `CONNECT` and `TRACE`.
const FORWARDED_METHODS: HeaderValue =
    HeaderValue::from_static("GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS");

/// How long a client should wait before it asks again, in seconds: about as long as a
/// replacement needs to start and pass its first check.
const RETRY_AFTER_SECONDS: HeaderValue = HeaderValue::from_static("1");

/// The response of a rule that needs no target.
#[derive(Debug)]
pub(super) struct OwnResponse {
    status: StatusCode,
    field: (HeaderName, HeaderValue),
    body: Bytes,
}

impl OwnResponse {
    pub(super) fn into_response(
        self,
        mut record: Record,
        client: &Client,
    ) -> Response<ResponseBody> {
        record.status = Some(self.status);
        let mut headers = HeaderMap::with_capacity(2);
        headers.insert(self.field.0, self.field.1);
        respond(self.status, headers, self.body, record, client)
    }
}

/// The response of a fixed-response action.
pub(super) fn fixed(fixed: &FixedResponse) -> OwnResponse {
    OwnResponse {
        status: fixed.status,
        field: (CONTENT_TYPE, fixed.content_type.clone()),
        body: fixed.body.clone(),
    }
}

/// The response of a redirect action.
pub(super) fn redirect(
    redirect: &Redirect,
    view: &RequestView<'_>,
    client: &Client,
) -> OwnResponse {
    let location = location(redirect, view, &Scheme::HTTP, client.local.port());
    OwnResponse {
        status: redirect.status,
        field: (LOCATION, location),
        body: Bytes::new(),
    }
}

/// The response to a request that failed. Its body has status, reason and request id.
pub(super) fn failure(
    failure: Failure,
    mut record: Record,
    client: &Client,
) -> Response<ResponseBody> {
    let status = failure.status();
    record.failure = Some(failure);
    record.status = Some(status);
    let mut headers = HeaderMap::with_capacity(4);
    headers.insert(CONTENT_TYPE, PLAIN_TEXT);
    if let Failure::RateLimited(wait) = failure {
        headers.insert(RETRY_AFTER, seconds(wait));
    } else if status == StatusCode::SERVICE_UNAVAILABLE {
        headers.insert(RETRY_AFTER, RETRY_AFTER_SECONDS);
    }
    if failure == Failure::MethodNotForwarded {
        headers.insert(ALLOW, FORWARDED_METHODS);
    }
    let id = record.request_id.as_ref().and_then(|id| id.to_str().ok());
    let body = failure_text(failure, id.unwrap_or_default());
    let mut response = respond(status, headers, body.into(), record, client);
    if failure.ends_connection() {
        close(&mut response);
        client.state.linger();
    }
    response
}

/// Rounded up, so that a client that waits as long is let through.
fn seconds(wait: Duration) -> HeaderValue {
    let begun = u64::from(wait.subsec_nanos() > 0);
    HeaderValue::from(wait.as_secs() + begun)
}

/// The response to a head that could not be read, as text: hyper writes no response then.
pub(super) fn refusal(failure: Failure, mut record: Record) -> String {
    let status = failure.status();
    record.failure = Some(failure);
    record.status = Some(status);
    let id = record.request_id.clone();
    let id = id.as_ref().and_then(|id| id.to_str().ok());
    let id = id.unwrap_or_default();
    let body = failure_text(failure, id);
    record.sent = body.len() as u64;
    format!(
        "HTTP/1.1 {status}\r\n\
         content-type: text/plain; charset=utf-8\r\n\
         content-length: {}\r\n\
         connection: close\r\n\
         x-request-id: {id}\r\n\r\n\
         {body}",
        body.len()
    )
}

/// The body of an error response, for a person to read.
fn failure_text(failure: Failure, request_id: &str) -> String {
    format!(
        "{} {}: {} (request {request_id})\n",
        failure.status().as_u16(),
        failure.code(),
        failure.explanation(),
    )
}

/// Whether a GET with this status has content, so that a HEAD may have its `Content-Length`.
/// RFC 9110 section 8.6 forbids the field with 204, and with 304 it would be that of the 200.
fn has_content(status: StatusCode) -> bool {
    !matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED)
}

/// Closes the connection after this response.
pub(super) fn close(response: &mut Response<ResponseBody>) {
    let close = HeaderValue::from_static("close");
    response.headers_mut().insert(CONNECTION, close);
}

fn respond(
    status: StatusCode,
    mut headers: HeaderMap,
    mut body: Bytes,
    record: Record,
    client: &Client,
) -> Response<ResponseBody> {
    if let Some(id) = &record.request_id {
        headers.insert("x-request-id", id.clone());
    }
    // hyper would drop the body unsent, which the record would take for a client that left.
    if record.is_head {
        if has_content(status) {
            headers.insert(CONTENT_LENGTH, HeaderValue::from(body.len()));
        }
        body = Bytes::new();
    }
    let body = ResponseBody::own(body, record, Rc::clone(&client.state));
    let mut response = Response::new(body);
    *response.status_mut() = status;
    *response.headers_mut() = headers;
    response
}
