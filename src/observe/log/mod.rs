//! The log of a running Weir: written by a thread of its own, so that an output that stalls,
//! fails or loses its reader stops nothing else.
//!
//! Lines are formatted by the thread that logs and put into bounded queues. No thread shares its
//! queue unless there are more threads than queues, and none waits for the output. A full queue
//! drops the line and counts it. The log thread writes what the output takes, tries again after a
//! failure, and logs how many lines were dropped once the output works.

mod access_line;
mod appender;
mod datagrams;
mod event_layer;
mod flood;
mod format;
mod kept;
mod level;
mod output;
mod plain_line;
mod queue;
mod repeated;
mod shared;
mod sink;
mod writer;

use std::backtrace::{Backtrace, BacktraceStatus};
use std::io::{self, IsTerminal};
use std::iter;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock, mpsc};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use tracing::{Dispatch, Level, enabled, error};
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Layer, Registry};

use self::access_line::LineForm;
use self::event_layer::{EventLayer, HasKind};
use self::format::{EscapedFields, LineMaker};
use self::level::{Levels, LineFilter};
use self::output::Output;
use self::queue::{Dropped, LineKind};
use self::shared::Shared;
use self::sink::Sink;
use self::writer::LogWriter;
use super::panics::panic_message;
use crate::model::{Failure, LogSink};

pub(super) use self::access_line::{AccessLine, FieldName, NamePiece, field_name, is_plain_text};
pub use self::appender::LineFile;
pub use self::format::LogFormat;
pub(super) use self::plain_line::PlainLine;
#[cfg(test)]
pub(super) use self::plain_line::line_in_places;
pub(super) use self::shared::ACCESS;

/// How long the process waits at its end for the output to take the last lines.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);

/// The log of this process, once it is started.
static CURRENT: OnceLock<Current> = OnceLock::new();

#[derive(Debug)]
struct Current {
    shared: Arc<Shared>,
    /// Where lines about requests go, if that is elsewhere.
    sink: Arc<Sink>,
    form: LineForm,
    /// Whether the filter lets lines of the access log pass.
    has_access: AtomicBool,
    /// `None` of lines which are kept in memory.
    levels: Option<Levels>,
    /// Whether failures that repeat themselves are left out.
    limits_failures: bool,
}

impl Current {
    /// Queues a line of the access log.
    fn push(&self, line: &[u8]) {
        let shared = if self.sink.is_used() {
            &self.sink.shared
        } else {
            &self.shared
        };
        shared.push(LineKind::Access, line);
    }
}

/// How many lines of this process's log were dropped.
pub(super) fn dropped() -> Dropped {
    CURRENT.get().map_or_else(Dropped::default, |log| {
        log.shared.dropped() + log.sink.shared.dropped()
    })
}

/// Why the log, or the access log, cannot be written now; `None` if it can.
pub fn log_fault() -> Option<String> {
    let log = CURRENT.get()?;
    log.shared.fault().or_else(|| log.sink.shared.fault())
}

/// Why the levels of the log are not changed.
#[derive(Debug, thiserror::Error)]
pub enum LevelError {
    /// The text cannot be read.
    #[error("`{0}` is neither a level nor a list of them as in RUST_LOG: {1}")]
    Unreadable(String, String),
    /// The process has no log of Weir's.
    #[error("this process has no log")]
    NoLog,
}

/// The levels of the log, as `RUST_LOG` has them; `None` without a log.
pub fn log_levels() -> Option<String> {
    CURRENT.get()?.levels.as_ref().map(Levels::text)
}

/// Changes the levels of the log until the process ends.
pub fn set_log_levels(text: &str) -> Result<(), LevelError> {
    let unreadable =
        |error: &dyn std::fmt::Display| LevelError::Unreadable(text.to_owned(), error.to_string());
    if text.trim().is_empty() {
        return Err(unreadable(&"it is empty"));
    }
    let filter: Targets = text.parse().map_err(|error| unreadable(&error))?;
    let log = CURRENT.get().ok_or(LevelError::NoLog)?;
    log.levels.as_ref().ok_or(LevelError::NoLog)?.set(filter);
    log.has_access.store(has_access(), Ordering::Relaxed);
    Ok(())
}

/// Whether the levels let lines of the access log pass.
fn has_access() -> bool {
    enabled!(target: ACCESS, Level::INFO)
}

/// Whether the access log writes an exchange with this failure: of many alike only some are
/// written.
pub(super) fn admits(failure: Failure, group: Option<&str>) -> bool {
    CURRENT
        .get()
        .is_none_or(|log| !log.limits_failures || log.shared.floods.admit_failure(failure, group))
}

/// Writes a line of the access log, with a message and the fields that `fields` adds; `format` is
/// its form, if that is not the one of the log.
pub(super) fn access(
    format: Option<LogFormat>,
    message: &'static str,
    fields: impl FnOnce(&mut AccessLine<'_>),
) {
    let Some(log) = CURRENT
        .get()
        .filter(|log| log.has_access.load(Ordering::Relaxed))
    else {
        return;
    };
    let form = format.map_or(log.form, |format| LineForm { format, ..log.form });
    access_line::write(form, SystemTime::now(), message, fields, |line| {
        log.push(line);
    });
}

/// Writes a line of the access log whose fields have places.
pub(super) fn access_in_places(fields: impl FnOnce(&mut PlainLine<'_>)) {
    let Some(log) = CURRENT
        .get()
        .filter(|log| log.has_access.load(Ordering::Relaxed))
    else {
        return;
    };
    plain_line::write(fields, |line| {
        log.push(line);
    });
}

/// The log of the process. Dropping it writes what is left, within a second.
#[derive(Debug)]
pub struct Log {
    shared: Arc<Shared>,
    sink: Arc<Sink>,
    format: LogFormat,
    /// Closed when the thread has ended.
    ended: mpsc::Receiver<()>,
}

impl Log {
    /// Starts the thread and sends the events and panics of this process to it. Fails if the
    /// system gives no thread, or there is a log already.
    pub fn start(format: LogFormat, filter: Targets) -> io::Result<Self> {
        let shared = Arc::new(Shared::default());
        let out = Output::new(io::stdout());
        let writer = LogWriter::new(Arc::clone(&shared), out, Output::new(io::stderr()));
        let (running, ended) = mpsc::channel::<()>();
        let thread = thread::Builder::new()
            .name("weir-log".to_owned())
            .spawn(move || {
                writer.run();
                drop(running);
            })?;
        shared.thread.get_or_init(|| thread.thread().clone());
        let form = LineForm {
            format,
            is_coloured: is_coloured(),
        };
        let levels = Levels::new(filter);
        let subscriber = subscriber(&shared, form, levels.clone());
        subscriber.try_init().map_err(io::Error::other)?;
        let sink = Arc::<Sink>::default();
        CURRENT.get_or_init(|| Current {
            shared: Arc::clone(&shared),
            sink: Arc::clone(&sink),
            form,
            has_access: AtomicBool::new(has_access()),
            levels: Some(levels),
            limits_failures: true,
        });
        std::panic::set_hook(Box::new(log_panic));
        Ok(Self {
            shared,
            sink,
            format,
            ended,
        })
    }

    /// The form of its lines.
    pub fn format(&self) -> LogFormat {
        self.format
    }

    /// Writes lines about requests to `sink` from now on; opens a file again if it is the same.
    pub fn set_sink(&self, sink: &LogSink) {
        if let Err(error) = self.sink.set(sink) {
            error!(%error, "no thread for the access log; its lines go where they went before");
        }
    }

    /// Opens the file of the access log again, if there is one.
    pub fn reopen(&self) {
        self.sink.reopen();
    }

    /// Writes a text to standard error, in one piece and unchanged.
    pub fn print_error(&self, text: &str) {
        let text = format!("{text}\n");
        self.shared.errors.push(LineKind::Event, text.as_bytes());
        self.shared.wake();
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        self.shared.is_closing.store(true, Ordering::Release);
        if let Some(thread) = self.shared.thread.get() {
            thread.unpark();
        }
        let until = Instant::now() + CLOSE_TIMEOUT;
        let sink = self.sink.close();
        for ended in iter::once(&self.ended).chain(&sink) {
            // A timeout is no error: the output does not take the last lines.
            let _ = ended.recv_timeout(until.saturating_duration_since(Instant::now()));
        }
    }
}

/// Keeps the lines of the access log in memory, as JSON, for a program that has Weir in it and no
/// [`Log`]. Does nothing if the process has a log already.
pub fn keep_access_lines() {
    CURRENT.get_or_init(|| Current {
        shared: Arc::default(),
        sink: Arc::default(),
        form: LineForm {
            format: LogFormat::Json,
            is_coloured: false,
        },
        has_access: AtomicBool::new(true),
        levels: None,
        limits_failures: false,
    });
}

/// The lines of the access log since the last call, if they are [kept](keep_access_lines).
pub fn take_access_lines() -> Vec<u8> {
    let mut taken = Vec::new();
    for queue in CURRENT.get().iter().flat_map(|log| &log.shared.queues) {
        let mut lines = Vec::new();
        queue.swap(&mut lines);
        taken.append(&mut lines);
    }
    taken
}

/// Colours for a terminal, unless they are switched off: <https://no-color.org>.
fn is_coloured() -> bool {
    let is_plain = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    io::stdout().is_terminal() && !is_plain
}

/// Turns events into lines of the log, and into entries of the journal.
fn subscriber(shared: &Arc<Shared>, form: LineForm, levels: Levels) -> Dispatch {
    let LineForm {
        format,
        is_coloured,
    } = form;
    let lines = LineMaker {
        shared: Arc::clone(shared),
        format,
    };
    let log = tracing_subscriber::fmt::layer()
        .with_ansi(is_coloured)
        // Without the module of the event, which would be a second `target` beside the target of
        // a request.
        .with_target(false)
        .with_writer(lines);
    let filter = LineFilter {
        levels,
        shared: Arc::clone(shared),
    };
    let registry = Registry::default().with(EventLayer.with_filter(HasKind));
    match format {
        LogFormat::Pretty => registry
            .with(log.fmt_fields(EscapedFields).with_filter(filter))
            .into(),
        LogFormat::Json => registry
            .with(log.json().flatten_event(true).with_filter(filter))
            .into(),
    }
}

/// Logs what the standard library would write to standard error, for which a thread may wait.
fn log_panic(info: &std::panic::PanicHookInfo<'_>) {
    let current = thread::current();
    let thread = current.name().unwrap_or("unnamed");
    let location = info.location().map(tracing::field::display);
    let message = panic_message(info.payload());
    let captured = Backtrace::capture();
    let backtrace =
        (captured.status() == BacktraceStatus::Captured).then(|| tracing::field::display(captured));
    error!(thread, location, backtrace, "panicked: {message}");
}

#[cfg(test)]
mod tests {
    use tracing::{debug, info, warn};

    use super::*;
    use crate::model::is_unsafe;

    /// The lines that `events` log.
    fn logged(shared: &Arc<Shared>, format: LogFormat, events: impl FnOnce()) -> Vec<String> {
        let form = LineForm {
            format,
            is_coloured: false,
        };
        let subscriber = subscriber(shared, form, Levels::new("info".parse().unwrap()));
        tracing::dispatcher::with_default(&subscriber, events);
        let mut lines = Vec::new();
        shared.own_queue().swap(&mut lines);
        let lines = String::from_utf8(lines).unwrap();
        lines.lines().map(str::to_owned).collect()
    }

    const HOSTILE: &str = "a\0\n\r\u{1b}[31m\u{7f}\u{9b}\u{202e}\u{2066}\u{2028}\u{61c}b";

    #[test]
    fn any_event_becomes_one_safe_line() {
        for format in [LogFormat::Pretty, LogFormat::Json] {
            let lines = logged(&Arc::default(), format, || {
                info!(text = HOSTILE, shown = %HOSTILE, seen = ?HOSTILE, "it said {HOSTILE}");
            });
            let [line] = lines.as_slice() else {
                panic!("{lines:?} are not one line");
            };
            assert!(!line.contains(is_unsafe), "{line:?}");
            if format == LogFormat::Json {
                let object: serde_json::Value = serde_json::from_str(line).unwrap();
                assert_eq!(object["text"], HOSTILE);
                assert_eq!(object["shown"], HOSTILE);
                assert_eq!(object["message"], format!("it said {HOSTILE}"));
            }
        }
    }

    #[test]
    fn pretty_lines_name_their_fields() {
        let lines = logged(&Arc::default(), LogFormat::Pretty, || {
            warn!(group = %"todo", count = 3, name = "a b", none = None::<u8>, "it happened");
            debug!("not wanted");
        });
        assert_eq!(lines.len(), 1, "{lines:?}");
        let end = " WARN it happened group=todo count=3 name=\"a b\"";
        assert!(lines[0].ends_with(end), "{lines:?}");
    }

    #[test]
    fn equal_events_are_limited_by_their_fields() {
        let shared = Arc::default();
        let lines = logged(&shared, LogFormat::Pretty, || {
            for n in 0..300 {
                let (group, error) = (["one", "other", "third"][n % 3], n);
                warn!(group, error, "it failed");
            }
        });
        assert_eq!(lines.len(), 30, "{lines:?}");
        let summaries = shared.floods.sweep(Instant::now(), true);
        let more: Vec<u64> = summaries.iter().map(|summary| summary.more).collect();
        assert_eq!(more, [90, 90, 90]);
    }
}
