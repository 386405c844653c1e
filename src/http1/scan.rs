//! How far a head has been read.

use crate::message::{TARGET, TOKEN, prefix};

use super::field_line::value_end;
use super::line::Stop;
use super::{Limits, Reason, Violation};

/// The state of a parser between calls for one head.
///
/// A call goes on at the first line that was not complete, and of a long line looks only at bytes
/// that are new, so that bytes which arrive one by one cost no quadratic work. It is ready for the
/// next message when a head is complete; after a violation, or for another connection, call
/// [`Scan::reset`].
#[derive(Clone, Debug, Default)]
pub struct Scan {
    /// Where the first line begins that has not been taken.
    pub(super) line: usize,
    /// How many bytes there were at the last call.
    seen: usize,
    /// Where in its line the last call ended.
    part: Part,
    pub(super) has_start_line: bool,
    has_begun: bool,
    pub(super) empty_lines: u32,
    pub(super) field_lines: usize,
    pub(super) dropped_fields: u32,
    pub(super) reason: Option<Reason>,
}

/// The part of a line that bytes may prolong without a change to what is known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Part {
    /// Any byte may decide something.
    #[default]
    Short,
    Target,
    Name,
    Value,
}

impl Scan {
    /// For a new message.
    pub fn new() -> Self {
        Self::default()
    }

    /// For fields without a first line.
    pub(super) fn for_fields() -> Self {
        Self {
            has_start_line: true,
            ..Self::default()
        }
    }

    /// Forgets the message.
    pub fn reset(&mut self) {
        *self = Self::default();
    }

    /// Whether anything of a message has been seen besides empty lines.
    pub fn has_begun(&self) -> bool {
        self.has_begun
    }

    /// Whether the bytes since the last call only prolong what was incomplete, so that nothing new
    /// can be said. A window that is full needs an answer.
    pub(super) fn is_waiting(&mut self, window: &[u8], limits: &Limits) -> bool {
        let Some(new) = window.get(self.seen..) else {
            // Other bytes than last time: a new message.
            self.reset();
            return false;
        };
        let is_waiting = match self.part {
            Part::Short => false,
            _ if window.len() >= limits.head_bytes() => false,
            Part::Target => {
                window.len() - self.line <= limits.max_target && prefix(new, TARGET) == new.len()
            }
            Part::Name => prefix(new, TOKEN) == new.len(),
            Part::Value => value_end(new, 0).0 == new.len(),
        };
        if is_waiting {
            self.seen = window.len();
        }
        is_waiting
    }

    /// Turns what stopped a parser into its result: `too_large` if the window is full.
    pub(super) fn stop(
        &mut self,
        stop: Stop,
        window: &[u8],
        limits: &Limits,
        too_large: impl FnOnce(&Self) -> Reason,
    ) -> Result<(), Violation> {
        match stop {
            Stop::Fault(reason) => Err(reason.into()),
            Stop::Incomplete if window.len() >= limits.head_bytes() => Err(too_large(self).into()),
            Stop::Incomplete => {
                self.wait(window);
                Ok(())
            }
        }
    }

    fn wait(&mut self, window: &[u8]) {
        self.seen = window.len();
        let line = window.get(self.line..).unwrap_or_default();
        self.has_begun = self.has_start_line || !matches!(line, [] | [b'\r']);
        self.part = if self.has_start_line {
            part_of_field(line)
        } else {
            part_of_request_line(line)
        };
    }

    pub(super) fn note(&mut self, reason: Reason) {
        reason.note(&mut self.reason);
    }
}

/// Of the beginning of a field line.
fn part_of_field(line: &[u8]) -> Part {
    let name = prefix(line, TOKEN);
    match line.get(name) {
        None => Part::Name,
        Some(b':') if value_end(line, name + 1).0 == line.len() => Part::Value,
        Some(_) => Part::Short,
    }
}

/// Of the beginning of a request line. A percent-encoding that is not complete is looked at again,
/// and so is a CR that may be the end of a line.
fn part_of_request_line(line: &[u8]) -> Part {
    let method = prefix(line, TOKEN);
    let Some((b' ', target)) = line[method..].split_first() else {
        return Part::Short;
    };
    let is_open = target.iter().rev().take(2).any(|byte| *byte == b'%');
    if target.contains(&b' ') || target.ends_with(b"\r") || is_open {
        Part::Short
    } else {
        Part::Target
    }
}
