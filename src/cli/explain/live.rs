//! Asks a running Weir.

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderValue, Request, StatusCode};

use super::super::fetch;
use super::super::table::printable;
use crate::admin::{ExplainRequest, Problem, paths};
use crate::explain::{Explanation, Question, QuestionError};

/// What the Weir whose admin listener is at `admin` says about a request.
pub(super) fn ask(admin: &str, question: Question) -> Result<Explanation, String> {
    let body = serde_json::to_vec(&request(question)?).map_err(|error| error.to_string())?;
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

/// The question as the API has it: with the method apart.
fn request(question: Question) -> Result<ExplainRequest, String> {
    let mut parts = question.request.split_ascii_whitespace();
    let (method, url) = match (parts.next(), parts.next(), parts.next()) {
        (Some(url), None, _) => ("GET", url),
        (Some(method), Some(url), None) => (method, url),
        _ => return Err(QuestionError::Request(question.request).to_string()),
    };
    Ok(ExplainRequest {
        method: method.to_owned(),
        url: url.to_owned(),
        headers: question.headers,
        from: question.from,
        listener: question.listener,
    })
}
