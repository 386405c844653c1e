//! One reading of a file: its text, its surroundings, its problems, and the notes for checks of the
//! whole file.

use std::cell::{Cell, OnceCell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};

use super::jump::Jump;
use super::problem::{Code, Collection, Problem, Problems, Severity};
use super::secret;
use super::span::{Lines, Mark, Span};
use crate::model::{Endpoint, Protocol, TargetGroupId, TargetProtocol};

/// Reads another file that the text names.
pub(super) type Files<'a> = dyn Fn(&Path) -> io::Result<Vec<u8>> + 'a;

/// What does not depend on the text: the machine and the build that read it.
#[derive(Clone, Copy)]
pub(super) struct Surroundings<'a> {
    /// The environment, for `${VAR}`.
    pub(super) env: &'a dyn Fn(&str) -> Option<String>,
    /// Reads the files of secrets and certificates that the text names.
    pub(super) files: &'a Files<'a>,
    /// Whether there is a program that may be executed.
    pub(super) is_program: &'a dyn Fn(&Path) -> bool,
    /// Whether files can be made in a folder, which may have to be made itself.
    pub(super) can_write: &'a dyn Fn(&Path) -> io::Result<()>,
    /// Whether the build has a cargo feature.
    pub(super) has_feature: &'a dyn Fn(&str) -> bool,
}

impl<'a> Surroundings<'a> {
    /// Those of a text that stands alone: every program and every feature is taken to be there.
    pub(super) fn unknown(env: &'a dyn Fn(&str) -> Option<String>, files: &'a Files<'a>) -> Self {
        Self {
            env,
            files,
            is_program: &|_| true,
            can_write: &|_| Ok(()),
            has_feature: &|_| true,
        }
    }
}

/// One reading of one file.
pub(super) struct Context<'a> {
    pub(super) text: &'a str,
    pub(super) around: Surroundings<'a>,
    lines: OnceCell<Lines>,
    shown: OnceCell<String>,
    broken_lines: RefCell<BTreeSet<usize>>,
    found: RefCell<Collection>,
    listener_errors: Cell<bool>,
    notes: RefCell<Notes>,
}

/// What only the whole file can be checked for, with its places.
#[derive(Default)]
pub(super) struct Notes {
    /// Every name of a group in an action.
    pub(super) references: Vec<Mark<Reference>>,
    /// Every group that is defined, those with errors included.
    pub(super) groups: Vec<Mark<TargetGroupId>>,
    /// The groups of which the protocol is known.
    pub(super) protocols: BTreeMap<TargetGroupId, TargetProtocol>,
    /// Everything that Weir listens on, the admin listener's included.
    pub(super) binds: Vec<Mark<Endpoint>>,
    /// The name of every listener.
    pub(super) listeners: Vec<Mark<String>>,
    /// Every target that is an address or a Unix socket.
    pub(super) targets: Vec<Mark<Endpoint>>,
    /// Every service of an engine for which a group sets the number of replicas.
    pub(super) services: Vec<Mark<String>>,
    /// The default actions of listeners that are redirects, with the port of the listener.
    pub(super) redirects: Vec<Mark<(u16, Jump)>>,
    /// Every file that Weir writes to.
    pub(super) written: Vec<Mark<PathBuf>>,
    /// Every `acme` of which the authority asks by plain HTTP.
    pub(super) http_challenges: Vec<Mark<()>>,
    /// Whether there is a listener that it could ask.
    pub(super) has_plain_http: bool,
    /// Every variable that a secret is taken from.
    pub(super) secrets: BTreeSet<String>,
}

/// The name of a group in an action.
pub(super) struct Reference {
    pub(super) group: TargetGroupId,
    /// That of the listener.
    pub(super) protocol: Protocol,
}

impl<'a> Context<'a> {
    pub(super) fn new(text: &'a str, around: Surroundings<'a>) -> Self {
        Self {
            text,
            around,
            lines: OnceCell::new(),
            shown: OnceCell::new(),
            broken_lines: RefCell::default(),
            found: RefCell::default(),
            listener_errors: Cell::default(),
            notes: RefCell::default(),
        }
    }

    /// Keeps a problem, unless it is on a line that has a syntax error.
    pub(super) fn report(&self, problem: Problem) {
        if self.is_believed(problem.code, problem.span) {
            self.look_at(problem.severity, &problem.key);
            self.found.borrow_mut().add(problem);
        }
    }

    /// Keeps a problem and finds its words only if it is listed; see [`Collection::add_with`].
    pub(super) fn report_with(
        &self,
        place: (Severity, Code, Option<Span>),
        key: &str,
        words: impl FnOnce() -> (String, String),
    ) {
        let (severity, code, span) = place;
        if self.is_believed(code, span) {
            self.look_at(severity, key);
            self.found.borrow_mut().add_with(place, key, words);
        }
    }

    /// Whether a problem may be reported in a file that has syntax errors.
    fn is_believed(&self, code: Code, span: Option<Span>) -> bool {
        let broken = self.broken_lines.borrow();
        let on_broken_line = || span.is_some_and(|span| broken.contains(&self.line(span)));
        broken.is_empty()
            || code == Code::Syntax
            || (code.survives_syntax_errors() && !on_broken_line())
    }

    fn look_at(&self, severity: Severity, key: &str) {
        if severity == Severity::Error && key.starts_with("listener") {
            self.listener_errors.set(true);
        }
    }

    /// Counts errors that are not listed.
    pub(super) fn count_errors(&self, count: usize) {
        self.found.borrow_mut().count_errors(count);
    }

    /// Sets the lines that have syntax errors.
    pub(super) fn distrust(&self, lines: BTreeSet<usize>) {
        *self.broken_lines.borrow_mut() = lines;
    }

    /// Whether an error has been found so far.
    pub(super) fn has_errors(&self) -> bool {
        self.found.borrow().has_errors()
    }

    /// Whether a listener has an error, so that not all groups it forwards to are known.
    pub(super) fn has_listener_errors(&self) -> bool {
        self.listener_errors.get()
    }

    /// Notes something for [`super::cross`].
    pub(super) fn note(&self, write: impl FnOnce(&mut Notes)) {
        write(&mut self.notes.borrow_mut());
    }

    /// The line number of a place, from 1.
    pub(super) fn line(&self, span: Span) -> usize {
        self.lines().number(span.start)
    }

    /// The lines of the text, found at the first problem.
    pub(super) fn lines(&self) -> &Lines {
        self.lines.get_or_init(|| Lines::of(self.text))
    }

    /// The text with its secrets masked; every place in it is the same.
    pub(super) fn shown(&self) -> &str {
        self.shown.get_or_init(|| secret::masked(self.text))
    }

    /// The variables that the secrets read so far were taken from.
    pub(super) fn secrets(&self) -> BTreeSet<String> {
        self.notes.borrow().secrets.clone()
    }

    pub(super) fn take_notes(&self) -> Notes {
        self.notes.take()
    }

    /// All problems of the file.
    pub(super) fn take_problems(&self, file: &str) -> Problems {
        let found = self.found.take();
        if found.is_empty() {
            return found.finish(file, "", "", &Lines::of(""));
        }
        found.finish(file, self.text, self.shown(), self.lines())
    }
}
