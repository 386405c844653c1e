//! `POST /api/v1/explain`: why a request goes where it goes, by the state of this moment.

use http::StatusCode;

use super::call::Call;
use super::operation::Answer;
use super::problem::{Kind, RefusedRequest};
use super::response::json;
use crate::explain::{Explanation, Question, QuestionError, explain};

pub(super) fn show(call: &Call) -> Answer {
    let question: Question = call.body("{\"method\": \"GET\", \"url\": \"https://host/path\"}")?;
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
