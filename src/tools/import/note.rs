//! Notes about what a translation could not take over, with locations.

use std::cell::RefCell;
use std::fmt;
use std::sync::Arc;

/// A note about one thing that is not in the translated configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    /// Its meaning for the configuration.
    pub kind: NoteKind,
    /// The file.
    pub file: Arc<str>,
    /// The line, from 1.
    pub line: usize,
    /// The block: `aws_lb_listener.https`, perhaps with an inner block.
    pub subject: String,
    /// One sentence without a full stop.
    pub message: String,
}

/// The meaning of a note.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum NoteKind {
    /// The configuration lacks a behaviour of the source.
    NotMapped,
    /// Weir does not need it.
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

/// Collects notes.
#[derive(Debug, Default)]
pub(super) struct Notes(RefCell<Vec<Note>>);

/// A line of a file.
#[derive(Clone, Debug)]
pub(super) struct Location {
    pub(super) file: Arc<str>,
    pub(super) line: usize,
}

impl Notes {
    pub(super) fn add(
        &self,
        kind: NoteKind,
        location: &Location,
        subject: impl Into<String>,
        message: impl Into<String>,
    ) {
        let note = Note {
            kind,
            file: Arc::clone(&location.file),
            line: location.line,
            subject: one_line(&subject.into()),
            message: one_line(&message.into()),
        };
        let mut notes = self.0.borrow_mut();
        if !notes.contains(&note) {
            notes.push(note);
        }
    }

    /// All notes: by kind, then by location.
    pub(super) fn into_sorted(self) -> Vec<Note> {
        let mut notes = self.0.into_inner();
        notes.sort_by(|a, b| (a.kind, &a.file, a.line).cmp(&(b.kind, &b.file, b.line)));
        notes
    }
}

/// Text as one line of bounded length: notes quote expressions, of which some have many lines.
pub(super) fn one_line(text: &str) -> String {
    const MAX_CHARS: usize = 240;
    let words: Vec<_> = text.split_whitespace().collect();
    let line = words.join(" ").replace(|c: char| c.is_control(), " ");
    match line.char_indices().nth(MAX_CHARS) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None => line,
    }
}
