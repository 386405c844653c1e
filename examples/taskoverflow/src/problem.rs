//! The one place which turns an error into a status and a JSON body.

use axum::Json;
use axum::extract::rejection::{JsonRejection, PathRejection, QueryRejection};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::Serialize;

use crate::store::StoreError;

/// Why a request gets no todo.
#[derive(Debug)]
pub(crate) enum Problem {
    /// The client sent something that is not a legal request: 400, 413, 415 or 422.
    Request(StatusCode, String),
    /// There is no todo with this id.
    NoSuchTodo(i64),
    /// There is nothing at this path.
    NoSuchPath,
    /// The path does not take this method.
    Method,
    /// The storage did not answer.
    Storage(StoreError),
}

impl From<JsonRejection> for Problem {
    fn from(rejection: JsonRejection) -> Self {
        Self::Request(rejection.status(), rejection.body_text())
    }
}

impl From<PathRejection> for Problem {
    fn from(rejection: PathRejection) -> Self {
        Self::Request(rejection.status(), rejection.body_text())
    }
}

impl From<QueryRejection> for Problem {
    fn from(rejection: QueryRejection) -> Self {
        Self::Request(rejection.status(), rejection.body_text())
    }
}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        Self::Storage(error)
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let (status, error, reason) = match self {
            Self::Request(status, error) => (status, error, None),
            Self::NoSuchTodo(id) => (
                StatusCode::NOT_FOUND,
                format!("there is no todo {id}"),
                None,
            ),
            Self::NoSuchPath => (
                StatusCode::NOT_FOUND,
                "there is nothing here".to_owned(),
                None,
            ),
            Self::Method => (
                StatusCode::METHOD_NOT_ALLOWED,
                "this path does not take this method".to_owned(),
                None,
            ),
            Self::Storage(error) => (
                StatusCode::SERVICE_UNAVAILABLE,
                "the storage is unavailable".to_owned(),
                Some(error.to_string()),
            ),
        };
        (status, Json(Body { error, reason })).into_response()
    }
}

#[derive(Serialize)]
struct Body {
    error: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
}
