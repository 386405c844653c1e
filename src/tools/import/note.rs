//! What a translation could not take over, and where it stands.

use std::cell::RefCell;
use std::fmt;
use std::sync::Arc;

/// One thing that is not in the translated configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    /// What it means for the configuration.
    pub kind: NoteKind,
    /// The file it is in.
    pub file: Arc<str>,
    /// From 1.
    pub line: usize,
    /// The block: `aws_lb_listener.https`, perhaps with the block in it.
    pub subject: String,
    /// One sentence without its full stop.
    pub message: String,
}

/// What a note means.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum NoteKind {
    /// The source says something that the configuration does not do.
    NotMapped,
    /// Weir has no use for it.
    NotNeeded,
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}:{}: {}: {}",
            self.file, self.line, self.subject, self.message
        )
    }
}

/// Where notes are collected.
#[derive(Debug, Default)]
pub(super) struct Notes(RefCell<Vec<Note>>);

/// A place in a file.
#[derive(Clone, Debug)]
pub(super) struct Place {
    pub(super) file: Arc<str>,
    pub(super) line: usize,
}

impl Notes {
    pub(super) fn add(
        &self,
        kind: NoteKind,
        place: &Place,
        subject: impl Into<String>,
        message: impl Into<String>,
    ) {
        let note = Note {
            kind,
            file: Arc::clone(&place.file),
            line: place.line,
            subject: one_line(&subject.into()),
            message: one_line(&message.into()),
        };
        let mut notes = self.0.borrow_mut();
        if !notes.contains(&note) {
            notes.push(note);
        }
    }

    /// All of them: first what is missing, then what is of no use, each by its place.
    pub(super) fn into_sorted(self) -> Vec<Note> {
        let mut notes = self.0.into_inner();
        notes.sort_by(|a, b| (a.kind, &a.file, a.line).cmp(&(b.kind, &b.file, b.line)));
        notes
    }
}

/// Text as one line of bounded length: expressions are quoted in notes, and some have many
/// lines.
pub(super) fn one_line(text: &str) -> String {
    const MAX_CHARS: usize = 240;
    let words: Vec<_> = text.split_whitespace().collect();
    let line = words.join(" ").replace(|c: char| c.is_control(), " ");
    match line.char_indices().nth(MAX_CHARS) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None => line,
    }
}
