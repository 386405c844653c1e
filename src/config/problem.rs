//! Problems of a configuration, as data.
//!
//! A [`Problem`] knows its place in the file; [`Problems`] puts it into words for
//! people (`Display`) and for programs (`Serialize`).
//!
//! A [`Collection`] keeps the first hundred of each severity in the order of the file and
//! counts the others, whatever their number.

use std::collections::{BTreeMap, HashSet};
use std::hash::{BuildHasher, Hash};

use rustc_hash::FxBuildHasher;
use serde::{Serialize, Serializer};

use super::excerpt::{Excerpt, Location};
use super::span::{Lines, Span};

/// Most problems that are listed; a file with more is not a Weir configuration.
const MAX_LISTED: usize = 100;

/// How serious a problem is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// The configuration is refused.
    Error,
    /// The configuration is used, but hardly does what was meant.
    Warning,
}

/// The kind of a problem: stable words for programs, and in brackets for people.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Code {
    /// Not TOML.
    Syntax,
    /// A file of another program.
    OtherFormat,
    /// Not text, or too long.
    Unreadable,
    /// A key that Weir does not know in that table.
    UnknownKey,
    /// A required key that is absent.
    MissingKey,
    /// Keys or values that exclude each other.
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
    /// The name of a target group that is not defined.
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
    /// A group without targets.
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
            Self::OtherFormat => "other-format",
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

    /// Whether such a problem is reported in a file that has syntax errors too. A problem that a
    /// broken line may have caused is not.
    pub(super) const fn survives_syntax_errors(self) -> bool {
        match self {
            Self::Syntax
            | Self::OtherFormat
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

/// One problem and its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Error or warning.
    pub severity: Severity,
    /// The kind of problem.
    pub code: Code,
    /// The key it is about, like `target_group.todo.health.interval`; empty if none.
    pub key: String,
    /// What is wrong, in one sentence without a full stop.
    pub message: String,
    /// What to write instead.
    pub help: Option<String>,
    /// `None` for a problem of the whole file.
    pub(super) span: Option<Span>,
    /// What is shown of the place; filled in when the file has been read.
    pub(super) excerpt: Option<Excerpt>,
}

impl Problem {
    pub(super) fn new(
        severity: Severity,
        code: Code,
        key: String,
        message: String,
        help: Option<String>,
        span: Option<Span>,
    ) -> Self {
        Self {
            severity,
            code,
            key,
            message,
            help,
            span,
            excerpt: None,
        }
    }

    /// Where it is; `None` if it is about the whole file.
    pub fn location(&self) -> Option<Location> {
        self.excerpt.as_ref().map(|excerpt| excerpt.location)
    }
}

/// Collects problems while a file is read.
#[derive(Default)]
pub(super) struct Collection {
    errors: Kept,
    warnings: Kept,
    /// Hashes of what has been counted, so that nothing is counted twice.
    seen: HashSet<u64, FxBuildHasher>,
}

/// The first problems of one severity in the order of the file.
#[derive(Default)]
struct Kept {
    /// By place, then by when they were found.
    first: BTreeMap<(Option<Span>, usize), Problem>,
    total: usize,
}

impl Kept {
    fn wants(&self, span: Option<Span>) -> bool {
        let last = self.first.last_key_value();
        self.first.len() < MAX_LISTED || last.is_some_and(|((last, _), _)| span < *last)
    }

    fn add(&mut self, span: Option<Span>, problem: impl FnOnce() -> Problem) {
        self.total += 1;
        if self.wants(span) {
            self.first.insert((span, self.total), problem());
            if self.first.len() > MAX_LISTED {
                self.first.pop_last();
            }
        }
    }
}

impl Collection {
    fn of(&mut self, severity: Severity) -> &mut Kept {
        match severity {
            Severity::Error => &mut self.errors,
            Severity::Warning => &mut self.warnings,
        }
    }

    /// Adds a problem unless it is there.
    pub(super) fn add(&mut self, problem: Problem) {
        let identity = (problem.span, problem.code, &*problem.key, &*problem.message);
        if self.is_new(identity) {
            let span = problem.span;
            self.of(problem.severity).add(span, || problem);
        }
    }

    /// Adds a problem that its place, code and key distinguish from others. Its words are made only
    /// if it is listed: of a hundred thousand most are not.
    pub(super) fn add_with(
        &mut self,
        (severity, code, span): (Severity, Code, Option<Span>),
        key: &str,
        words: impl FnOnce() -> (String, String),
    ) {
        if !self.is_new((span, code, key, "")) {
            return;
        }
        self.of(severity).add(span, || {
            let (message, help) = words();
            let help = Some(help).filter(|help| !help.is_empty());
            Problem::new(severity, code, key.to_owned(), message, help, span)
        });
    }

    /// Counts errors that are not listed.
    pub(super) fn count_errors(&mut self, count: usize) {
        self.errors.total += count;
    }

    fn is_new(&mut self, identity: (Option<Span>, Code, &str, &str)) -> bool {
        self.seen.insert(FxBuildHasher.hash_one(identity))
    }

    pub(super) fn has_errors(&self) -> bool {
        self.errors.total > 0
    }

    /// Whether there is no problem at all.
    pub(super) fn is_empty(&self) -> bool {
        self.errors.total + self.warnings.total == 0
    }

    /// All problems in the order of the file. `shown` is its text without its secrets.
    pub(super) fn finish(self, file: &str, text: &str, shown: &str, lines: &Lines) -> Problems {
        let counts = (self.errors.total, self.warnings.total);
        // Errors are the reason for the refusal: they are never cut in favour of warnings.
        let mut list: Vec<_> = self
            .errors
            .first
            .into_values()
            .chain(self.warnings.first.into_values())
            .take(MAX_LISTED)
            .collect();
        if counts.0 + counts.1 <= MAX_LISTED {
            list.sort_by_key(|problem| (problem.span, problem.severity));
        }
        for problem in &mut list {
            problem.excerpt = problem
                .span
                .map(|span| Excerpt::cut(text, shown, lines, span));
        }
        Problems {
            file: file.to_owned(),
            list,
            errors: counts.0,
            warnings: counts.1,
        }
    }
}

/// All problems of one file, in its order.
#[derive(Clone, Debug)]
pub struct Problems {
    pub(super) file: String,
    list: Vec<Problem>,
    errors: usize,
    warnings: usize,
}

impl Problems {
    /// One problem of a file that was not read any further.
    pub(super) fn one(file: &str, text: &str, problem: Problem) -> Self {
        let mut collection = Collection::default();
        collection.add(problem);
        collection.finish(file, text, text, &Lines::of(text))
    }

    /// The problems in the order of the file: all of them, or the first hundred.
    pub fn iter(&self) -> impl Iterator<Item = &Problem> {
        self.list.iter()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// How many there are of a severity, also those that are not listed.
    pub fn count(&self, severity: Severity) -> usize {
        match severity {
            Severity::Error => self.errors,
            Severity::Warning => self.warnings,
        }
    }

    /// How many are counted and not listed.
    pub fn left_out(&self) -> usize {
        self.errors + self.warnings - self.list.len()
    }

    /// The listed problems as plain data, for programs and for the log.
    pub fn reports(&self) -> impl Iterator<Item = Report<'_>> {
        self.iter().map(|problem| {
            let location = problem.location();
            Report {
                severity: problem.severity,
                code: problem.code,
                file: &self.file,
                line: location.map(|at| at.line),
                column: location.map(|at| at.column),
                key: Some(problem.key.as_str()).filter(|key| !key.is_empty()),
                message: &problem.message,
                help: problem.help.as_deref(),
            }
        })
    }
}

/// A list of [`Report`]s.
impl Serialize for Problems {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.reports())
    }
}

/// A problem with its place, as `weir check --format json` and the log write it; what is not
/// known is `null`.
#[derive(Clone, Debug, Serialize)]
pub struct Report<'a> {
    /// Error or warning.
    pub severity: Severity,
    /// The kind of problem.
    pub code: Code,
    /// The file as it was named.
    pub file: &'a str,
    /// The line, from 1.
    pub line: Option<usize>,
    /// The column in characters, from 1.
    pub column: Option<usize>,
    /// The key it is about.
    pub key: Option<&'a str>,
    /// What is wrong.
    pub message: &'a str,
    /// What to write instead.
    pub help: Option<&'a str>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(start: usize, severity: Severity) -> Problem {
        let span = Some(Span { start, end: start });
        let message = start.to_string();
        let code = match severity {
            Severity::Error => Code::Syntax,
            Severity::Warning => Code::Unused,
        };
        Problem::new(severity, code, String::new(), message, None, span)
    }

    #[test]
    fn the_first_hundred_are_kept_and_all_are_counted() {
        let mut collection = Collection::default();
        for start in (0..1000).rev() {
            collection.add(at(start, Severity::Warning));
            collection.add(at(start, Severity::Warning));
        }
        for start in 0..30 {
            collection.add(at(start, Severity::Error));
        }
        let text = "x".repeat(1000);
        let problems = collection.finish("a", &text, &text, &Lines::of(&text));
        assert_eq!(problems.count(Severity::Warning), 1000);
        assert_eq!(problems.count(Severity::Error), 30);
        assert_eq!((problems.iter().count(), problems.left_out()), (100, 930));
        let first: Vec<_> = problems.iter().map(|problem| &*problem.message).collect();
        assert_eq!((first[0], first[29], first[30]), ("0", "29", "0"));
        assert_eq!(first[99], "69");
    }
}
