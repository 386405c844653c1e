//! Asks a running Weir.

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderValue, Request, StatusCode};

use super::super::fetch;
use super::super::table::printable;
use crate::admin::{Problem, paths};
use crate::explain::{Explanation, Question};

/// What the Weir whose admin listener is at `admin` says about a request.
pub(super) fn ask(admin: &str, question: &Question) -> Result<Explanation, String> {
    let body = serde_json::to_vec(question).map_err(|error| error.to_string())?;
    let mut request = Request::post(paths::EXPLAIN)
        .body(Bytes::from(body))
        .map_err(|error| error.to_string())?;
    let json = HeaderValue::from_static("application/json");
    request.headers_mut().insert(CONTENT_TYPE, json);
    let answer = fetch::send(admin, request).map_err(|error| error.explained())?;
    if answer.status == StatusCode::OK {
        return serde_json::from_slice(&answer.body)
            .map_err(|error| format!("{admin} is not this Weir's admin listener: {error}"));
    }
    Err(match serde_json::from_slice::<Problem>(&answer.body) {
        Ok(problem) => printable(&problem.detail),
        Err(_) => format!("{admin} answers {}, which no Weir does", answer.status),
    })
}
