//! What reading a file needs everywhere, and what it notes down on the way.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use super::problem::Problem;
use super::span::{Mark, Span, line_and_column};
use crate::model::TargetGroupId;

/// Most errors, and most warnings, that are kept: placing each costs a walk through
/// the text, and a hostile text could have a million.
const MAX_PROBLEMS: usize = 500;

/// Reads another file that the text names.
pub(super) type Files<'a> = dyn Fn(&Path) -> io::Result<String> + 'a;

/// What a text says nothing about: the machine and the build that read it.
#[derive(Clone, Copy)]
pub(super) struct Surroundings<'a> {
    /// The environment, for `${VAR}`.
    pub(super) env: &'a dyn Fn(&str) -> Option<String>,
    /// For keys that stand in files of their own.
    pub(super) files: &'a Files<'a>,
    /// Whether there is a program that may be executed.
    pub(super) is_program: &'a dyn Fn(&Path) -> bool,
    /// Whether the build has a cargo feature.
    pub(super) has_feature: &'a dyn Fn(&str) -> bool,
}

impl<'a> Surroundings<'a> {
    /// Those of a text that stands alone: whatever it needs besides is there.
    pub(super) fn unknown(env: &'a dyn Fn(&str) -> Option<String>, files: &'a Files<'a>) -> Self {
        Self {
            env,
            files,
            is_program: &|_| true,
            has_feature: &|_| true,
        }
    }
}

/// One reading of one file.
pub(super) struct Context<'a> {
    pub(super) text: &'a str,
    pub(super) around: Surroundings<'a>,
    problems: RefCell<Vec<Problem>>,
    notes: RefCell<Notes>,
}

/// What only the whole file can judge, with its places.
#[derive(Default)]
pub(super) struct Notes {
    /// Every use of a group's name.
    pub(super) references: Vec<Mark<TargetGroupId>>,
    /// Every group that is defined, also a broken one.
    pub(super) groups: Vec<Mark<TargetGroupId>>,
    /// Every address Weir listens on, the admin listener's too.
    pub(super) binds: Vec<Mark<SocketAddr>>,
    /// The name of every listener.
    pub(super) listeners: Vec<Mark<String>>,
    /// Every target that is a socket address.
    pub(super) targets: Vec<Mark<SocketAddr>>,
    /// Every service of an engine whose number of replicas a group sets.
    pub(super) services: Vec<Mark<String>>,
    /// Every file that Weir writes to.
    pub(super) written: Vec<Mark<PathBuf>>,
    /// Every variable that a secret is taken from.
    pub(super) secrets: BTreeSet<String>,
}

impl<'a> Context<'a> {
    pub(super) fn new(text: &'a str, around: Surroundings<'a>) -> Self {
        Self {
            text,
            around,
            problems: RefCell::default(),
            notes: RefCell::default(),
        }
    }

    /// Keeps a problem, unless there are too many of its kind to be read.
    pub(super) fn report(&self, problem: Problem) {
        let mut problems = self.problems.borrow_mut();
        let same = |other: &&Problem| other.severity == problem.severity;
        if problems.len() < MAX_PROBLEMS || problems.iter().filter(same).count() < MAX_PROBLEMS {
            problems.push(problem);
        }
    }

    /// Whether such a problem has been found so far.
    pub(super) fn has_problem(&self, matches: impl Fn(&Problem) -> bool) -> bool {
        self.problems.borrow().iter().any(matches)
    }

    /// Writes something down for [`super::cross`].
    pub(super) fn note(&self, write: impl FnOnce(&mut Notes)) {
        write(&mut self.notes.borrow_mut());
    }

    /// The line of a place, from 1.
    pub(super) fn line(&self, span: Span) -> usize {
        line_and_column(self.text, span.start).0
    }

    /// The variables that the secrets read so far were taken from.
    pub(super) fn secrets(&self) -> BTreeSet<String> {
        self.notes.borrow().secrets.clone()
    }

    pub(super) fn take_notes(&self) -> Notes {
        self.notes.take()
    }

    pub(super) fn take_problems(&self) -> Vec<Problem> {
        self.problems.take()
    }
}
