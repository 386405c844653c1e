//! Responses that Weir itself gives: fixed responses, redirects and errors.

use std::future::poll_fn;
use std::time::{Duration, SystemTime};

use bytes::Bytes;

use super::client::Client;
use super::date::Date;
use super::grpc;
use crate::message::{BodyLength, Exchange, FieldName, ResponseHead};
use crate::model::{Failure, FixedResponse, Redirect};
use crate::observe::{Record, RequestId};
use crate::router::{RequestView, location};

/// For `Allow`, which a 405 must have (RFC 9110 section 15.5.6). Other methods are forwarded
/// too, except `CONNECT` and `TRACE`.
const FORWARDED_METHODS: &str = "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS";

/// How long a client should wait before it asks again, in seconds: about as long as a
/// replacement needs to start and pass its first check.
const RETRY_AFTER_SECONDS: u64 = 1;

/// The response of a rule that needs no target, or to a request that failed.
#[derive(Debug)]
pub(super) struct OwnResponse {
    head: ResponseHead,
    body: Bytes,
}

/// The response of a fixed-response action.
pub(super) fn fixed(fixed: &FixedResponse) -> OwnResponse {
    let mut head = ResponseHead::with_status(fixed.status.as_u16());
    head.fields
        .put(FieldName::ContentType, fixed.content_type.as_bytes());
    OwnResponse {
        head,
        body: fixed.body.clone(),
    }
}

/// What a certificate authority gets that asks by HTTP-01 (RFC 8555 section 8.3).
pub(super) fn challenge(answer: Bytes) -> OwnResponse {
    let mut head = ResponseHead::with_status(200);
    head.fields
        .put(FieldName::ContentType, b"application/octet-stream");
    OwnResponse { head, body: answer }
}

/// The response of a redirect action.
pub(super) fn redirect(
    redirect: &Redirect,
    view: &RequestView<'_>,
    client: &Client,
) -> OwnResponse {
    let mut head = ResponseHead::with_status(redirect.status.as_u16());
    let location = location(redirect, view, client.scheme(), client.port());
    head.fields.put(FieldName::Location, location.as_bytes());
    OwnResponse {
        head,
        body: Bytes::new(),
    }
}

/// The response to a request that may be forwarded no further (RFC 9110 section 7.6.2).
pub(super) fn last_hop() -> OwnResponse {
    let mut head = ResponseHead::with_status(200);
    head.fields
        .put(FieldName::Allow, FORWARDED_METHODS.as_bytes());
    OwnResponse {
        head,
        body: Bytes::new(),
    }
}

/// The response to a request that failed. Its body has status, reason and request id.
pub(super) fn failure(failure: Failure, record: &mut Record) -> OwnResponse {
    let status = failure.status();
    record.failure = Some(failure);
    let mut head = ResponseHead::with_status(status.as_u16());
    head.fields
        .put(FieldName::ContentType, b"text/plain; charset=utf-8");
    let retry_after = match failure {
        Failure::RateLimited(wait) | Failure::Maintenance(wait) => Some(seconds(wait)),
        _ => (status.as_u16() == 503).then_some(RETRY_AFTER_SECONDS),
    };
    if let Some(seconds) = retry_after {
        head.fields
            .put(FieldName::RetryAfter, seconds.to_string().as_bytes());
    }
    if failure == Failure::MethodNotForwarded {
        head.fields
            .put(FieldName::Allow, FORWARDED_METHODS.as_bytes());
    }
    let body = failure_text(failure, record);
    OwnResponse {
        head,
        body: body.into(),
    }
}

/// The response to a call of gRPC that failed: its status is in the head, and no message follows.
pub(super) fn grpc_failure(failure: Failure, record: &mut Record) -> OwnResponse {
    let status = grpc::status_of(failure);
    record.failure = Some(failure);
    record.grpc_status = Some(status);
    let mut head = ResponseHead::with_status(200);
    let message = failure_text(failure, record);
    grpc::fail(&mut head.fields, status, message.trim_end());
    OwnResponse {
        head,
        body: Bytes::new(),
    }
}

/// Rounded up, so that a client that waits as long is let through.
fn seconds(wait: Duration) -> u64 {
    wait.as_secs() + u64::from(wait.subsec_nanos() > 0)
}

/// The body of an error response, for a person to read.
fn failure_text(failure: Failure, record: &Record) -> String {
    let id = record.request_id.as_ref().map(RequestId::as_str);
    format!(
        "{} {}: {} (request {})\n",
        failure.status().as_u16(),
        failure.code(),
        failure.explanation(),
        id.unwrap_or_default(),
    )
}

/// Whether a GET with this status has content, so that a HEAD may have its `Content-Length`.
/// RFC 9110 section 8.6 forbids the field with 204, and with 304 it would be that of the 200.
fn has_content(status: u16) -> bool {
    !matches!(status, 204 | 304)
}

impl OwnResponse {
    /// Its head without what every response gets, and its body.
    pub(super) fn into_parts(self) -> (ResponseHead, Bytes) {
        (self.head, self.body)
    }

    /// Where it sends the client.
    pub(super) fn location(&self) -> Option<&str> {
        let location = self.head.fields.get(FieldName::Location)?;
        std::str::from_utf8(location).ok()
    }

    /// Sends it to the end. The error says why the client did not get it.
    pub(super) async fn send(
        mut self,
        exchange: &mut impl Exchange,
        date: &Date,
        record: &mut Record,
    ) -> Result<(), Failure> {
        let status = self.head.status();
        record.status = Some(status);
        if let Some(id) = &record.request_id {
            self.head.fields.put(FieldName::XRequestId, id.as_bytes());
        }
        date.with(SystemTime::now(), |date| {
            self.head.fields.put(FieldName::Date, date.as_bytes());
        });
        let length = if has_content(status) {
            // For an answer to HEAD, which has no body to count.
            let length = self.body.len().to_string();
            self.head
                .fields
                .put(FieldName::ContentLength, length.as_bytes());
            BodyLength::Exact(self.body.len() as u64)
        } else {
            BodyLength::Empty
        };
        exchange.send_head(&self.head, length);
        if !record.is_head && has_content(status) {
            let mut left = &self.body[..];
            while !left.is_empty() {
                let count = poll_fn(|cx| exchange.poll_send(cx, left)).await?;
                left = &left[count..];
            }
            record.sent = self.body.len() as u64;
        }
        exchange.end(None);
        poll_fn(|cx| exchange.poll_flush(cx)).await?;
        record.complete = true;
        Ok(())
    }
}
