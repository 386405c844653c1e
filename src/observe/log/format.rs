//! The form of lines. No field can forge a line or send commands to a terminal.

use std::fmt::{self, Write as _};
use std::io;
use std::sync::Arc;

use tracing::Metadata;
use tracing::field::{Field, Visit};
use tracing_subscriber::field::RecordFields;
use tracing_subscriber::fmt::{FormatFields, MakeWriter, format::Writer};

use super::event_layer::KIND;
use super::queue::LineKind;
use super::shared::{ACCESS, Shared};
use crate::model::{Escaping, escape_json};

/// The form of log lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// Text with `name=value` fields.
    Pretty,
    /// One JSON object a line.
    Json,
}

/// The fields of a [`LogFormat::Pretty`] line: the message, then `name=value`. Escapes the values
/// and not the line, which may have colours.
#[derive(Clone, Copy, Debug)]
pub(super) struct EscapedFields;

impl<'a> FormatFields<'a> for EscapedFields {
    fn format_fields<R: RecordFields>(&self, writer: Writer<'a>, fields: R) -> fmt::Result {
        let mut line = FieldWriter {
            writer,
            is_first: true,
            result: Ok(()),
        };
        fields.record(&mut line);
        line.result
    }
}

struct FieldWriter<'a> {
    writer: Writer<'a>,
    is_first: bool,
    result: fmt::Result,
}

impl FieldWriter<'_> {
    fn write(&mut self, name: &str, value: &dyn fmt::Debug) -> fmt::Result {
        if !std::mem::replace(&mut self.is_first, false) {
            self.writer.write_char(' ')?;
        }
        if name != "message" {
            let name = name.trim_start_matches("r#");
            if self.writer.has_ansi_escapes() {
                write!(self.writer, "\x1b[3m{name}\x1b[0m\x1b[2m=\x1b[0m")?;
            } else {
                write!(self.writer, "{name}=")?;
            }
        }
        write!(Escaping(&mut self.writer), "{value:?}")
    }
}

impl Visit for FieldWriter<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        // The origin of records of the `log` crate is not shown, like that of events; nor is the
        // kind of an event, which its message tells to people.
        let is_shown = !field.name().starts_with("log.") && field.name() != KIND;
        if self.result.is_ok() && is_shown {
            self.result = self.write(field.name(), value);
        }
    }
}

/// Puts finished lines into the queue of the thread that logs.
#[derive(Debug)]
pub(super) struct LineMaker {
    pub(super) shared: Arc<Shared>,
    pub(super) format: LogFormat,
}

impl LineMaker {
    fn line(&self, kind: LineKind) -> Line<'_> {
        Line { maker: self, kind }
    }
}

impl<'a> MakeWriter<'a> for LineMaker {
    type Writer = Line<'a>;

    fn make_writer(&'a self) -> Line<'a> {
        self.line(LineKind::Event)
    }

    fn make_writer_for(&'a self, metadata: &Metadata<'_>) -> Line<'a> {
        self.line(if metadata.target() == ACCESS {
            LineKind::Access
        } else {
            LineKind::Event
        })
    }
}

/// Takes one line, in one write.
#[derive(Debug)]
pub(super) struct Line<'a> {
    maker: &'a LineMaker,
    kind: LineKind,
}

impl io::Write for Line<'_> {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let shared = &self.maker.shared;
        match (self.maker.format, std::str::from_utf8(line)) {
            (LogFormat::Json, Ok(text)) => shared.push(self.kind, escape_json(text).as_bytes()),
            // Text that is not UTF-8 does not occur: the formatters write `str`s.
            (LogFormat::Json, Err(_)) | (LogFormat::Pretty, _) => shared.push(self.kind, line),
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
