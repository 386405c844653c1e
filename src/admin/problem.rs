//! Requests that are refused: a problem (RFC 9457) each.

use axum::body::Body;
use http::header::{ALLOW, HeaderName, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderValue, Response, StatusCode};
use serde::{Deserialize, Serialize};

use super::response;
use crate::state::Refusal;

/// Why a request was refused (RFC 9457).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Problem {
    /// The kind of problem, the same in every version: `urn:weir:problem:unknown-group`.
    #[serde(rename = "type")]
    pub kind: String,
    /// The kind in words.
    pub title: String,
    /// The status of the response.
    pub status: u16,
    /// What is wrong with this request, and what would be right.
    pub detail: String,
}

/// The kinds of problems.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    NotFound,
    MethodNotAllowed,
    BadPath,
    BadQuery,
    BadBody,
    BodyTooLong,
    BodyTimeout,
    BadValue,
    BadAddress,
    NoToken,
    WrongToken,
    TooManyFailures,
    TooManyStreams,
    ForeignHost,
    UnknownGroup,
    UnknownTarget,
    UnknownListener,
    UnknownReplica,
    Conflict,
    Stopping,
    Timeout,
    Internal,
}

impl Kind {
    /// The end of its URI.
    const fn name(self) -> &'static str {
        match self {
            Self::NotFound => "not-found",
            Self::MethodNotAllowed => "method-not-allowed",
            Self::BadPath => "bad-path",
            Self::BadQuery => "bad-query",
            Self::BadBody => "bad-body",
            Self::BodyTooLong => "body-too-long",
            Self::BodyTimeout => "body-timeout",
            Self::BadValue => "bad-value",
            Self::BadAddress => "bad-address",
            Self::NoToken => "no-token",
            Self::WrongToken => "wrong-token",
            Self::TooManyFailures => "too-many-failures",
            Self::TooManyStreams => "too-many-streams",
            Self::ForeignHost => "foreign-host",
            Self::UnknownGroup => "unknown-group",
            Self::UnknownTarget => "unknown-target",
            Self::UnknownListener => "unknown-listener",
            Self::UnknownReplica => "unknown-replica",
            Self::Conflict => "conflict",
            Self::Stopping => "stopping",
            Self::Timeout => "timeout",
            Self::Internal => "internal",
        }
    }

    const fn status(self) -> StatusCode {
        match self {
            Self::NotFound
            | Self::UnknownGroup
            | Self::UnknownTarget
            | Self::UnknownListener
            | Self::UnknownReplica => StatusCode::NOT_FOUND,
            Self::MethodNotAllowed => StatusCode::METHOD_NOT_ALLOWED,
            Self::BadPath | Self::BadQuery | Self::BadBody | Self::BadAddress => {
                StatusCode::BAD_REQUEST
            }
            Self::BodyTooLong => StatusCode::PAYLOAD_TOO_LARGE,
            Self::BodyTimeout => StatusCode::REQUEST_TIMEOUT,
            Self::BadValue => StatusCode::UNPROCESSABLE_ENTITY,
            Self::NoToken => StatusCode::FORBIDDEN,
            Self::WrongToken | Self::ForeignHost => StatusCode::UNAUTHORIZED,
            Self::TooManyFailures => StatusCode::TOO_MANY_REQUESTS,
            Self::TooManyStreams | Self::Stopping => StatusCode::SERVICE_UNAVAILABLE,
            Self::Conflict => StatusCode::CONFLICT,
            Self::Timeout => StatusCode::GATEWAY_TIMEOUT,
            Self::Internal => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    /// The kind in words.
    const fn title(self) -> &'static str {
        match self {
            Self::NotFound => "nothing here",
            Self::MethodNotAllowed => "this path has other methods",
            Self::BadPath => "the path cannot be read",
            Self::BadQuery => "the query cannot be used",
            Self::BadBody => "the body cannot be read",
            Self::BodyTooLong => "the body is too long",
            Self::BodyTimeout => "the body did not arrive",
            Self::BadValue => "a value cannot be used",
            Self::BadAddress => "not an address",
            Self::NoToken => "the configuration has no token",
            Self::WrongToken => "the token is needed",
            Self::TooManyFailures => "too many wrong tokens",
            Self::TooManyStreams => "too many clients follow this",
            Self::ForeignHost => "the token is needed under this host name",
            Self::UnknownGroup => "no such target group",
            Self::UnknownTarget => "no such target",
            Self::UnknownListener => "no such listener",
            Self::UnknownReplica => "no such replica",
            Self::Conflict => "this cannot be changed now",
            Self::Stopping => "Weir is stopping",
            Self::Timeout => "it took too long",
            Self::Internal => "this answer could not be written",
        }
    }

    /// A refusal of this kind.
    pub(super) fn because(self, detail: impl Into<String>) -> RefusedRequest {
        RefusedRequest {
            kind: self,
            detail: detail.into(),
            field: None,
        }
    }
}

/// A request that is refused.
#[derive(Debug)]
pub(super) struct RefusedRequest {
    kind: Kind,
    detail: String,
    field: Option<(HeaderName, HeaderValue)>,
}

impl RefusedRequest {
    /// Says which methods a path has.
    pub(super) fn allowing(self, methods: &str) -> Self {
        self.with_field(ALLOW, methods)
    }

    /// Says after how many seconds another request may succeed.
    pub(super) fn retry_after(self, seconds: u64) -> Self {
        self.with_field(RETRY_AFTER, &seconds.to_string())
    }

    /// Says that a token is wanted.
    pub(super) fn asking_for_token(self) -> Self {
        self.with_field(WWW_AUTHENTICATE, "Bearer")
    }

    fn with_field(self, name: HeaderName, value: &str) -> Self {
        Self {
            field: HeaderValue::from_str(value).ok().map(|value| (name, value)),
            ..self
        }
    }

    pub(super) fn into_response(self) -> Response<Body> {
        let status = self.kind.status();
        let problem = Problem {
            kind: format!("urn:weir:problem:{}", self.kind.name()),
            title: self.kind.title().to_owned(),
            status: status.as_u16(),
            detail: self.detail,
        };
        let mut response = response::problem(status, &problem);
        response.headers_mut().extend(self.field);
        response
    }
}

impl From<Refusal> for RefusedRequest {
    fn from(refusal: Refusal) -> Self {
        let kind = match refusal {
            Refusal::UnknownGroup(_) => Kind::UnknownGroup,
            Refusal::UnknownTarget(_) => Kind::UnknownTarget,
            Refusal::Replica(_) | Refusal::TooMany => Kind::Conflict,
            Refusal::Stopping => Kind::Stopping,
        };
        kind.because(refusal.to_string())
    }
}
