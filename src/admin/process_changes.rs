//! Changes of the process at run time: reloads, and the levels of the log.

use http::StatusCode;
use serde::{Deserialize, Serialize};
use tracing::info;

use super::call::Call;
use super::operation::Answer;
use super::problem::Kind;
use super::response::json;
use crate::observe::{LevelError, kind, log_levels, set_log_levels};

/// A reload that was asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct ReloadAsked {
    /// What happens next.
    pub message: String,
}

/// The levels of the log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct LogLevel {
    /// A level (`error`, `warn`, `info`, `debug`, `trace`, `off`), or several with their modules as
    /// in `RUST_LOG`: `info,weir::health=debug`.
    pub level: String,
}

#[allow(clippy::unnecessary_wraps, reason = "all operations have one type")]
pub(super) fn reload(call: &Call) -> Answer {
    info!(event = kind::ADMIN, peer = %call.peer, "reload requested by the admin API");
    call.context.lifecycle.ask_reload();
    let message = "the configuration is read again; `last_reload` of the status and the events \
                   tell the result";
    let asked = ReloadAsked {
        message: message.to_owned(),
    };
    Ok(json(StatusCode::ACCEPTED, &asked))
}

pub(super) fn log_level(_: &Call) -> Answer {
    let level = log_levels();
    let level = level.ok_or_else(|| Kind::Conflict.because(LevelError::NoLog.to_string()))?;
    Ok(json(StatusCode::OK, &LogLevel { level }))
}

pub(super) fn set_log_level(call: &Call) -> Answer {
    let wanted: LogLevel = call.body("{\"level\": \"debug\"}")?;
    set_log_levels(&wanted.level).map_err(|error| match error {
        LevelError::Unreadable(..) => Kind::BadValue.because(error.to_string()),
        LevelError::NoLog => Kind::Conflict.because(error.to_string()),
    })?;
    info!(
        event = kind::ADMIN, peer = %call.peer, level = wanted.level,
        "levels of the log changed by the admin API, until the process ends"
    );
    log_level(call)
}
