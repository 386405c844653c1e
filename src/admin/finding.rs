//! Something that is wrong, or worth knowing, in words.

use serde::{Deserialize, Serialize};

/// How bad it is. The most severe comes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Clients get errors, or will soon.
    Error,
    /// An operator should look at it.
    Warning,
    /// Nothing is wrong, but it may not be meant so.
    Info,
}

impl Severity {
    /// Its name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warning => "warning",
            Self::Info => "info",
        }
    }
}

/// Something that is wrong.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Finding {
    /// How bad it is: `error`, `warning` or `info`.
    pub severity: Severity,
    /// What it is, for programs: `target_unhealthy`, `queue_full`.
    pub kind: String,
    /// The listener that it concerns.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub listener: Option<String>,
    /// The target group that it concerns.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
    /// The target that it concerns.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
    /// The replica that it concerns: its name, or else its address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replica: Option<String>,
    /// What is wrong, with numbers.
    pub text: String,
    /// What to look at next.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
}

impl Finding {
    fn new(severity: Severity, kind: &str, text: impl Into<String>) -> Self {
        Self {
            severity,
            kind: kind.to_owned(),
            listener: None,
            group: None,
            target: None,
            replica: None,
            text: text.into(),
            hint: None,
        }
    }

    pub(super) fn error(kind: &str, text: impl Into<String>) -> Self {
        Self::new(Severity::Error, kind, text)
    }

    pub(super) fn warning(kind: &str, text: impl Into<String>) -> Self {
        Self::new(Severity::Warning, kind, text)
    }

    pub(super) fn info(kind: &str, text: impl Into<String>) -> Self {
        Self::new(Severity::Info, kind, text)
    }

    pub(super) fn with_severity(self, severity: Severity) -> Self {
        Self { severity, ..self }
    }

    pub(super) fn of_listener(self, name: &str) -> Self {
        Self {
            listener: Some(name.to_owned()),
            ..self
        }
    }

    pub(super) fn of_group(self, name: &str) -> Self {
        Self {
            group: Some(name.to_owned()),
            ..self
        }
    }

    pub(super) fn of_target(self, address: &impl ToString) -> Self {
        Self {
            target: Some(address.to_string()),
            ..self
        }
    }

    pub(super) fn of_replica(self, name: String) -> Self {
        Self {
            replica: Some(name),
            ..self
        }
    }

    pub(super) fn hint(self, hint: impl Into<String>) -> Self {
        Self {
            hint: Some(hint.into()),
            ..self
        }
    }

    /// What it concerns, in a few words: `todo 10.0.0.1:6400`, `listener http`; empty for the
    /// process.
    pub fn subject(&self) -> String {
        let listener = self
            .listener
            .as_ref()
            .map(|name| format!("listener {name}"));
        let replica = self.replica.as_ref().map(|name| format!("replica {name}"));
        let parts = [listener, self.group.clone(), self.target.clone(), replica];
        parts.into_iter().flatten().collect::<Vec<_>>().join(" ")
    }
}
