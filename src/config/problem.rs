//! What can be wrong with a configuration, as data.
//!
//! A [`Problem`] knows its place in the file; [`Problems`] puts it into words for
//! people (`Display`) and for programs (`Serialize`).

use std::collections::BTreeSet;

use serde::{Serialize, Serializer};

use super::span::{Span, line_and_column};

/// Most problems that are listed; a file with more is not a Weir configuration.
const MAX_LISTED: usize = 100;

/// Whether the configuration can be used all the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// It cannot.
    Error,
    /// It can, but hardly does what was meant.
    Warning,
}

/// The kind of a problem: stable words for programs, and in brackets for people.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Code {
    /// Not TOML.
    Syntax,
    /// Not text, or too long.
    Unreadable,
    /// A key Weir does not know there.
    UnknownKey,
    /// A key that has to be there.
    MissingKey,
    /// Two keys of which only one may be there.
    Conflict,
    /// A string where a number belongs, and the like.
    WrongType,
    /// A duration or a size without a unit, or with a wrong one.
    Unit,
    /// A number outside its range.
    OutOfRange,
    /// A value of the right type that means nothing.
    InvalidValue,
    /// `${VAR}` without a value.
    Variable,
    /// A name that nothing has.
    UnknownGroup,
    /// A name, priority or target that is there twice.
    Duplicate,
    /// Two listeners that want the same address.
    BindConflict,
    /// A health check that may still run when the next one starts.
    TimeoutNotBelowInterval,
    /// Weights that sum to zero.
    NoWeight,
    /// A redirect to where the request already is, or a target that is Weir itself.
    Loop,
    /// A condition no request can meet.
    NeverMatches,
    /// A rule behind one that takes all its requests.
    Shadowed,
    /// Something nothing refers to.
    Unused,
    /// A setting that changes nothing here.
    NoEffect,
    /// A group with nobody in it.
    Empty,
    /// Something that needs a cargo feature which this build of Weir was made without.
    NotBuiltIn,
    /// A program that is not there, or may not be executed.
    MissingProgram,
    /// Legal, and probably not what was meant.
    Suspicious,
}

impl Code {
    /// The word in brackets.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Syntax => "syntax",
            Self::Unreadable => "unreadable",
            Self::UnknownKey => "unknown-key",
            Self::MissingKey => "missing-key",
            Self::Conflict => "conflict",
            Self::WrongType => "wrong-type",
            Self::Unit => "unit",
            Self::OutOfRange => "out-of-range",
            Self::InvalidValue => "invalid-value",
            Self::Variable => "variable",
            Self::UnknownGroup => "unknown-group",
            Self::Duplicate => "duplicate",
            Self::BindConflict => "bind-conflict",
            Self::TimeoutNotBelowInterval => "timeout-not-below-interval",
            Self::NoWeight => "no-weight",
            Self::Loop => "loop",
            Self::NeverMatches => "never-matches",
            Self::Shadowed => "shadowed",
            Self::Unused => "unused",
            Self::NoEffect => "no-effect",
            Self::Empty => "empty",
            Self::NotBuiltIn => "not-built-in",
            Self::MissingProgram => "missing-program",
            Self::Suspicious => "suspicious",
        }
    }

    /// Whether such a problem can be believed in a file that has syntax errors too.
    /// What a broken line may have taken away cannot.
    pub(super) const fn survives_syntax_errors(self) -> bool {
        match self {
            Self::Syntax
            | Self::Unreadable
            | Self::UnknownKey
            | Self::WrongType
            | Self::Unit
            | Self::OutOfRange
            | Self::InvalidValue
            | Self::Variable
            | Self::TimeoutNotBelowInterval
            | Self::NoWeight
            | Self::NeverMatches
            | Self::NotBuiltIn => true,
            Self::MissingKey
            | Self::Conflict
            | Self::UnknownGroup
            | Self::Duplicate
            | Self::BindConflict
            | Self::Loop
            | Self::Shadowed
            | Self::Unused
            | Self::NoEffect
            | Self::Empty
            | Self::MissingProgram
            | Self::Suspicious => false,
        }
    }
}

/// One thing that is wrong, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Error or warning.
    pub severity: Severity,
    /// What kind.
    pub code: Code,
    /// The key it is about, like `target_group.todo.health.interval`; empty if none.
    pub key: String,
    /// What is wrong, in one sentence without a full stop.
    pub message: String,
    /// What to write instead.
    pub help: Option<String>,
    /// `None`: the file as a whole.
    pub(super) span: Option<Span>,
}

/// Where a problem is, both counted from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Location {
    /// The line.
    pub line: usize,
    /// The column, in characters.
    pub column: usize,
}

/// All problems of one file, in its order.
#[derive(Clone, Debug)]
pub struct Problems {
    pub(super) file: String,
    pub(super) text: String,
    list: Vec<Problem>,
    /// How many were left out because there are too many.
    pub(super) left_out: usize,
}

impl Problems {
    /// Puts the problems of a file in order.
    pub(super) fn new(file: &str, text: &str, mut list: Vec<Problem>) -> Self {
        list.sort_by_key(|problem| (problem.span, problem.severity));
        let mut seen = BTreeSet::new();
        list.retain(|p| seen.insert((p.span, p.code, p.key.clone(), p.message.clone())));
        // Errors are the reason for the refusal: never cut them in favour of warnings.
        if list.len() > MAX_LISTED {
            list.sort_by_key(|problem| (problem.severity, problem.span));
        }
        let left_out = list.len().saturating_sub(MAX_LISTED);
        list.truncate(MAX_LISTED);
        Self {
            file: file.to_owned(),
            text: text.to_owned(),
            list,
            left_out,
        }
    }

    /// The file, as it was named.
    pub fn file(&self) -> &str {
        &self.file
    }

    /// Every problem, in the order of the file.
    pub fn iter(&self) -> impl Iterator<Item = &Problem> {
        self.list.iter()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// How many there are of a severity.
    pub fn count(&self, severity: Severity) -> usize {
        self.iter().filter(|p| p.severity == severity).count()
    }

    /// Where a problem of this list is; `None` if it is about the whole file.
    pub fn location(&self, problem: &Problem) -> Option<Location> {
        let (line, column) = line_and_column(&self.text, problem.span?.start);
        Some(Location { line, column })
    }
}

/// A list of objects with `severity`, `code`, `file`, `line`, `column`, `key`,
/// `message` and `help`; what is not known is `null`.
impl Serialize for Problems {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.iter().map(|problem| {
            let location = self.location(problem);
            Json {
                severity: problem.severity,
                code: problem.code,
                file: &self.file,
                line: location.map(|at| at.line),
                column: location.map(|at| at.column),
                key: Some(problem.key.as_str()).filter(|key| !key.is_empty()),
                message: &problem.message,
                help: problem.help.as_deref(),
            }
        }))
    }
}

#[derive(Serialize)]
struct Json<'a> {
    severity: Severity,
    code: Code,
    file: &'a str,
    line: Option<usize>,
    column: Option<usize>,
    key: Option<&'a str>,
    message: &'a str,
    help: Option<&'a str>,
}
