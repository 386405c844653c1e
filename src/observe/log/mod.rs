//! The log of a running Weir: written by a thread of its own, so that an output that stalls,
//! fails or loses its reader stops nothing else.
//!
//! Lines are formatted where they arise and put into bounded queues: threads share none as long
//! as there are not more of them than queues, and none waits for the output. A queue that is
//! full drops the line and counts it. The log thread writes what the output takes, tries again
//! when that fails, and says how many lines were lost once it is well.

mod flood;
mod format;
mod output;
mod queue;
mod writer;

use std::cell::Cell;
use std::io::{self, IsTerminal};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock, mpsc};
use std::thread::{self, Thread};
use std::time::Duration;

use crossbeam_utils::CachePadded;
use tracing::{Dispatch, error};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use self::flood::{FloodLayer, Floods};
use self::format::{EscapedFields, LineMaker};
use self::output::Output;
use self::queue::{Dropped, Kind, Queue};
use self::writer::LogWriter;
use crate::model::Failure;

pub use self::format::LogFormat;

/// The target of the access log's events.
pub(super) const ACCESS: &str = "access";

/// More threads than that share queues. Bounds the memory of the log together with
/// [`queue::QUEUE_BYTES`].
const QUEUES: usize = 16;

/// How long the end of Weir may wait for the output to take the last lines.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);

/// The log of this process, if it has been started.
static CURRENT: OnceLock<Arc<Shared>> = OnceLock::new();

thread_local! {
    /// Which queue the thread's lines go into.
    static QUEUE: Cell<Option<usize>> = const { Cell::new(None) };
}

/// What the threads that log share with the one that writes.
#[derive(Debug, Default)]
struct Shared {
    /// For standard output.
    queues: [CachePadded<Queue>; QUEUES],
    /// For standard error.
    errors: Queue,
    next_queue: AtomicUsize,
    /// Whether the log thread knows that there are lines.
    is_awake: AtomicBool,
    is_closing: AtomicBool,
    /// Set before the first line.
    thread: OnceLock<Thread>,
    floods: Floods,
}

impl Shared {
    /// Queues a line of the calling thread.
    fn push(&self, kind: Kind, line: &[u8]) {
        self.own_queue().push(kind, line);
        self.wake();
    }

    fn own_queue(&self) -> &Queue {
        // Another one than its own for a thread that is at its end.
        let index = QUEUE.try_with(|own| {
            own.get().unwrap_or_else(|| {
                let index = self.next_queue.fetch_add(1, Ordering::Relaxed) % QUEUES;
                own.set(Some(index));
                index
            })
        });
        &self.queues[index.unwrap_or_default()]
    }

    /// A system call only for the first line after the thread has looked.
    fn wake(&self) {
        if !self.is_awake.swap(true, Ordering::SeqCst)
            && let Some(thread) = self.thread.get()
        {
            thread.unpark();
        }
    }

    fn dropped(&self) -> Dropped {
        let queues = self.queues.iter().map(|queue| queue.dropped());
        queues.fold(self.errors.dropped(), |sum, queue| sum + queue)
    }
}

/// How many lines of this process's log were dropped.
pub(super) fn dropped() -> Dropped {
    CURRENT
        .get()
        .map_or_else(Dropped::default, |log| log.dropped())
}

/// Whether the access log, which is to have failures alone, is to have this one too.
pub(super) fn admits(failure: Failure, group: Option<&str>) -> bool {
    CURRENT
        .get()
        .is_none_or(|log| log.floods.admit_failure(failure, group))
}

/// The log as long as it is open. Dropping it writes what is left, within a second.
#[derive(Debug)]
pub struct Log {
    shared: Arc<Shared>,
    format: LogFormat,
    /// Hangs up when the thread has ended.
    ended: mpsc::Receiver<()>,
}

impl Log {
    /// Starts the thread and makes it what events and panics of this process go to. Fails if
    /// the system gives no thread, or there is a log already.
    pub fn start(format: LogFormat, filter: EnvFilter) -> io::Result<Self> {
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
        let subscriber = subscriber(&shared, format, filter);
        subscriber.try_init().map_err(io::Error::other)?;
        CURRENT.get_or_init(|| Arc::clone(&shared));
        std::panic::set_hook(Box::new(log_panic));
        Ok(Self {
            shared,
            format,
            ended,
        })
    }

    /// How its lines look.
    pub fn format(&self) -> LogFormat {
        self.format
    }

    /// Writes a text of several lines to standard error, in one piece and as it is.
    pub fn print_error(&self, text: &str) {
        let text = format!("{text}\n");
        self.shared.errors.push(Kind::Event, text.as_bytes());
        self.shared.wake();
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        self.shared.is_closing.store(true, Ordering::Release);
        if let Some(thread) = self.shared.thread.get() {
            thread.unpark();
        }
        // Time is up or the thread has ended: nothing more can be done either way.
        let _ = self.ended.recv_timeout(CLOSE_TIMEOUT);
    }
}

/// What turns events into lines of the log.
fn subscriber(shared: &Arc<Shared>, format: LogFormat, filter: EnvFilter) -> Dispatch {
    // Colours unless they are switched off: <https://no-color.org>.
    let is_plain = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    let lines = LineMaker {
        shared: Arc::clone(shared),
        format,
    };
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(io::stdout().is_terminal() && !is_plain)
        // Without the module an event comes from, which would be a second `target`
        // beside the one that a request went to.
        .with_target(false)
        .with_writer(lines);
    let floods = FloodLayer(Arc::clone(shared));
    match format {
        LogFormat::Pretty => log.fmt_fields(EscapedFields).finish().with(floods).into(),
        LogFormat::Json => log.json().flatten_event(true).finish().with(floods).into(),
    }
}

/// What the standard library would write to standard error, waiting for it.
fn log_panic(info: &std::panic::PanicHookInfo<'_>) {
    let current = thread::current();
    let thread = current.name().unwrap_or("unnamed");
    let location = info.location().map(tracing::field::display);
    let payload = info.payload();
    let message = payload.downcast_ref::<&str>().copied();
    let message = message.or_else(|| payload.downcast_ref().map(String::as_str));
    let message = message.unwrap_or("no message");
    let backtrace = std::backtrace::Backtrace::capture();
    let backtrace = (backtrace.status() == std::backtrace::BacktraceStatus::Captured)
        .then(|| tracing::field::display(backtrace));
    error!(thread, location, backtrace, "panicked: {message}");
}

#[cfg(test)]
mod tests {
    use tracing::{debug, info, warn};

    use super::*;
    use crate::model::is_unsafe;

    /// The lines that `events` lead to.
    fn logged(shared: &Arc<Shared>, format: LogFormat, events: impl FnOnce()) -> Vec<String> {
        let subscriber = subscriber(shared, format, EnvFilter::new("info"));
        tracing::dispatcher::with_default(&subscriber, events);
        let mut lines = Vec::new();
        shared.own_queue().swap(&mut lines);
        let lines = String::from_utf8(lines).unwrap();
        lines.lines().map(str::to_owned).collect()
    }

    const HOSTILE: &str = "a\0\n\r\u{1b}[31m\u{7f}\u{9b}\u{202e}\u{2066}\u{2028}\u{61c}b";

    #[test]
    fn whatever_an_event_holds_is_one_safe_line() {
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
    fn lines_for_people_name_their_fields() {
        let lines = logged(&Arc::default(), LogFormat::Pretty, || {
            warn!(group = %"todo", count = 3, name = "a b", none = None::<u8>, "it happened");
            debug!("not wanted");
        });
        assert_eq!(lines.len(), 1, "{lines:?}");
        let end = " WARN it happened group=todo count=3 name=\"a b\"";
        assert!(lines[0].ends_with(end), "{lines:?}");
    }

    #[test]
    fn equal_events_are_limited_by_what_they_name() {
        let shared = Arc::default();
        let lines = logged(&shared, LogFormat::Pretty, || {
            for n in 0..300 {
                let (group, error) = (["one", "other", "third"][n % 3], n);
                warn!(group, error, "it failed");
            }
        });
        assert_eq!(lines.len(), 30, "{lines:?}");
        let summaries = shared.floods.sweep(std::time::Instant::now(), true);
        let more: Vec<u64> = summaries.iter().map(|summary| summary.more).collect();
        assert_eq!(more, [90, 90, 90]);
    }
}
