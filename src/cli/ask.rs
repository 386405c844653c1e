//! Asks the admin API of a running Weir.

use std::process::ExitCode;

use bytes::Bytes;
use http::StatusCode;
use serde::de::DeserializeOwned;

use super::fetch;
use super::table::printable;
use crate::admin::Problem;

/// What the API answers to `GET path`, read and as it is.
pub(super) fn ask<T: DeserializeOwned>(admin: &str, path: &str) -> Result<(T, Bytes), String> {
    let answer = fetch::get(admin, path).map_err(|error| error.explained())?;
    if answer.status != StatusCode::OK {
        return Err(refusal(admin, answer.status, &answer.body));
    }
    let read = serde_json::from_slice(&answer.body);
    let read = read.map_err(|error| strange(admin, &error.to_string()))?;
    Ok((read, answer.body))
}

/// How a command ends that has shown what it asked for: 0, or 2 after a note of what was wrong.
pub(super) fn finish(shown: Result<(), String>, note: fn(&str)) -> ExitCode {
    match shown {
        Ok(()) => ExitCode::SUCCESS,
        Err(problem) => {
            note(&problem);
            ExitCode::from(2)
        }
    }
}

/// Why a request was refused.
pub(super) fn refusal(admin: &str, status: StatusCode, body: &[u8]) -> String {
    match serde_json::from_slice::<Problem>(body) {
        Ok(problem) => printable(&problem.detail),
        Err(_) => strange(admin, &status.to_string()),
    }
}

fn strange(admin: &str, why: &str) -> String {
    format!("what answers at {admin} is not this Weir's admin listener: {why}")
}
