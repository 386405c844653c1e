//! `POST /api/v1/explain`: why a request goes where it goes, by the state of this moment.

use http::StatusCode;
use serde::{Deserialize, Serialize};

use super::call::Call;
use super::operation::Answer;
use super::problem::{Kind, RefusedRequest};
use super::response::json;
use crate::explain::{Explanation, Question, QuestionError, explain};

/// A request that is asked about. It is not sent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct ExplainRequest {
    /// Its method.
    #[serde(default = "get")]
    pub method: String,
    /// Its URL, `https://host/path`, or a path alone.
    pub url: String,
    /// Its header fields, `name: value` each.
    #[serde(default)]
    pub headers: Vec<String>,
    /// The address of the client, or `unix:`; `127.0.0.1` if it is left out.
    #[serde(default)]
    pub from: Option<String>,
    /// The listener that gets it; otherwise that of the URL's port.
    #[serde(default)]
    pub listener: Option<String>,
}

fn get() -> String {
    "GET".to_owned()
}

pub(super) fn show(call: &Call) -> Answer {
    let asked: ExplainRequest =
        call.body("{\"method\": \"GET\", \"url\": \"https://host/path\"}")?;
    let question = Question {
        request: format!("{} {}", asked.method, asked.url),
        headers: asked.headers,
        from: asked.from,
        listener: asked.listener,
    };
    let snapshot = call.context.reader.load_full();
    let explanation: Explanation = explain(&snapshot, &question, true)?;
    Ok(json(StatusCode::OK, &explanation))
}

impl From<QuestionError> for RefusedRequest {
    fn from(error: QuestionError) -> Self {
        let kind = match error {
            QuestionError::NoListener { .. } | QuestionError::None => Kind::UnknownListener,
            QuestionError::Request(_)
            | QuestionError::Method(_)
            | QuestionError::Target(_)
            | QuestionError::Host(_)
            | QuestionError::Field(_)
            | QuestionError::Client(_)
            | QuestionError::Ambiguous(_) => Kind::BadValue,
        };
        kind.because(error.to_string())
    }
}
