//! The access log, where its lines go elsewhere than into the log of the process: its queues, and a
//! thread of its own, so that a disk or a server that hangs holds up nothing else.
//!
//! A line that cannot be written waits in a queue; a full queue drops lines and counts them. The log
//! of the process says once that it is so, and how many were lost when it works again.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use tracing::{info, warn};

use super::appender::Appender;
use super::datagrams::{Datagrams, Sent};
use super::output::shrink;
use super::shared::Shared;
use super::writer::GATHER_INTERVAL;
use crate::model::LogSink;
use crate::observe::events::kind;

/// After the first of several failures in a row; doubled with each further one.
const FIRST_PAUSE: Duration = Duration::from_millis(20);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// The access log outside of the log of the process.
#[derive(Debug, Default)]
pub(super) struct Sink {
    pub(super) shared: Shared,
    is_used: AtomicBool,
    order: Mutex<Order>,
}

/// What the thread is to do.
#[derive(Debug, Default)]
struct Order {
    sink: LogSink,
    /// Whether it has not done so.
    is_new: bool,
    /// Closed when it has ended.
    ended: Option<mpsc::Receiver<()>>,
}

impl Sink {
    /// Whether lines go here.
    #[inline]
    pub(super) fn is_used(&self) -> bool {
        self.is_used.load(Ordering::Relaxed)
    }

    /// Writes to `sink` from now on; opens its file again if it is the same. Fails if the system
    /// gives no thread: then nothing changes.
    pub(super) fn set(self: &Arc<Self>, sink: &LogSink) -> io::Result<()> {
        let is_elsewhere = *sink != LogSink::Stdout;
        let mut order = self.order();
        if is_elsewhere && order.ended.is_none() {
            order.ended = Some(self.spawn()?);
        }
        order.sink.clone_from(sink);
        order.is_new = true;
        drop(order);
        self.is_used.store(is_elsewhere, Ordering::Relaxed);
        self.shared.wake();
        Ok(())
    }

    /// Opens the file again.
    pub(super) fn reopen(&self) {
        self.order().is_new = true;
        self.shared.wake();
    }

    /// Lets the thread end. What is returned is closed when it has.
    pub(super) fn close(&self) -> Option<mpsc::Receiver<()>> {
        self.shared.is_closing.store(true, Ordering::Release);
        if let Some(thread) = self.shared.thread.get() {
            thread.unpark();
        }
        self.order().ended.take()
    }

    fn spawn(self: &Arc<Self>) -> io::Result<mpsc::Receiver<()>> {
        let (running, ended) = mpsc::channel::<()>();
        let writer = SinkWriter::new(Arc::clone(self));
        let thread = thread::Builder::new()
            .name("weir-access-log".to_owned())
            .spawn(move || {
                writer.run();
                drop(running);
            })?;
        self.shared.thread.get_or_init(|| thread.thread().clone());
        Ok(ended)
    }

    fn order(&self) -> MutexGuard<'_, Order> {
        // No statement under the lock can leave half an order behind.
        self.order.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The state of the thread.
#[derive(Debug)]
struct SinkWriter {
    sink: Arc<Sink>,
    output: Output,
    /// The name of the output in the log.
    name: String,
    pending: Vec<u8>,
    written: usize,
    /// An empty buffer for the next queue.
    spare: Vec<u8>,
    /// After a failure: when the next attempt is, and how long the pause before it was.
    retry: Option<(Instant, Duration)>,
    /// Whether the log says that lines are not written.
    is_reported: bool,
    /// Dropped lines that were reported.
    dropped: u64,
}

/// What takes the lines.
#[derive(Debug)]
enum Output {
    /// Nothing does: they go into the log of the process.
    None,
    File(Appender),
    Datagrams(Datagrams),
}

impl Output {
    fn of(sink: &LogSink) -> Self {
        match sink {
            LogSink::Stdout => Self::None,
            LogSink::File(file) => Self::File(Appender::new(file.clone())),
            LogSink::Syslog(_) | LogSink::Journald(_) => {
                Self::Datagrams(Datagrams::new(sink.clone()))
            }
        }
    }

    fn reopen(&mut self) {
        match self {
            Self::None => {}
            Self::File(file) => file.reopen(),
            Self::Datagrams(socket) => socket.reconnect(),
        }
    }

    /// Writes what comes after the first `written` bytes, and counts them. Returns how many lines
    /// are given up.
    fn write(&mut self, lines: &[u8], written: &mut usize) -> io::Result<u64> {
        match self {
            Self::None => {
                *written = lines.len();
                Ok(0)
            }
            Self::File(file) => append(file, lines, written),
            Self::Datagrams(socket) => send(socket, lines, written),
        }
    }
}

fn append(file: &mut Appender, lines: &[u8], written: &mut usize) -> io::Result<u64> {
    let mut lost = 0;
    let is_new = file.look()?;
    let is_within_line = lines.get(..*written).and_then(<[u8]>::last);
    if is_new && is_within_line.is_some_and(|byte| *byte != b'\n') {
        // Its beginning is in the file before.
        *written += next_line(&lines[*written..]);
        lost = 1;
    }
    while *written < lines.len() {
        match file.write(&lines[*written..]) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(count) => *written += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(lost)
}

fn send(socket: &mut Datagrams, lines: &[u8], written: &mut usize) -> io::Result<u64> {
    let mut lost = 0;
    while *written < lines.len() {
        let rest = &lines[*written..];
        let length = next_line(rest);
        if socket.send(rest[..length].trim_ascii_end())? == Sent::TooLarge {
            lost += 1;
        }
        *written += length;
    }
    Ok(lost)
}

/// The bytes up to the next line.
fn next_line(lines: &[u8]) -> usize {
    memchr::memchr(b'\n', lines).map_or(lines.len(), |end| end + 1)
}

impl SinkWriter {
    fn new(sink: Arc<Sink>) -> Self {
        Self {
            sink,
            output: Output::None,
            name: String::new(),
            pending: Vec::new(),
            written: 0,
            spare: Vec::new(),
            retry: None,
            is_reported: false,
            dropped: 0,
        }
    }

    /// Writes until the log is closed.
    fn run(mut self) {
        self.adapt();
        loop {
            let is_closing = self.sink.shared.is_closing.load(Ordering::Acquire);
            self.collect();
            self.write(is_closing);
            self.report();
            // After the lines of before.
            self.adapt();
            if is_closing {
                self.collect();
                self.write(true);
                return;
            }
            self.wait();
        }
    }

    /// Does what was ordered since the last time.
    fn adapt(&mut self) {
        let sink = Arc::clone(&self.sink);
        let mut order = sink.order();
        if !std::mem::take(&mut order.is_new) {
            return;
        }
        let name = order.sink.to_string();
        let is_file = matches!(self.output, Output::File(_));
        // A file may have got other bounds.
        if name == self.name && !is_file {
            self.output.reopen();
        } else {
            self.output = Output::of(&order.sink);
        }
        self.name = name;
        self.retry = None;
    }

    /// Takes the lines that wait, unless those before them are still to be written.
    fn collect(&mut self) {
        if self.pending.is_empty() {
            let shared = &self.sink.shared;
            // Before the queues are read: a line which comes later wakes the thread again.
            shared.is_awake.store(false, Ordering::SeqCst);
            for queue in &shared.queues {
                queue.swap(&mut self.spare);
                self.pending.append(&mut self.spare);
                shrink(&mut self.spare);
            }
        }
    }

    fn write(&mut self, is_urgent: bool) {
        let is_early = |(at, _): (Instant, Duration)| Instant::now() < at;
        if self.pending.is_empty() || (self.retry.is_some_and(is_early) && !is_urgent) {
            return;
        }
        match self.output.write(&self.pending, &mut self.written) {
            Ok(lost) => {
                self.sink.shared.lose(lost);
                self.pending.clear();
                shrink(&mut self.pending);
                (self.written, self.retry) = (0, None);
            }
            Err(error) => self.fail(&error),
        }
    }

    fn fail(&mut self, error: &io::Error) {
        let pause = self
            .retry
            .map_or(FIRST_PAUSE, |(_, pause)| LONGEST_PAUSE.min(pause * 2));
        self.retry = Some((Instant::now() + pause, pause));
        // One that is slow is no trouble as long as nothing is lost.
        let is_slow = error.kind() == io::ErrorKind::WouldBlock;
        if !is_slow {
            let fault = format!("the access log, {}: {error}", self.name);
            self.sink.shared.note(Some(fault));
        }
        if !is_slow && !std::mem::replace(&mut self.is_reported, true) {
            warn!(
                event = kind::LIMIT,
                name = self.name,
                %error,
                "the access log cannot be written; its lines wait, and are dropped and counted when they are too many"
            );
        }
    }

    /// Logs once that lines are lost, and how many when the output works again.
    fn report(&mut self) {
        let dropped = self.sink.shared.dropped().access;
        let lost = dropped - self.dropped;
        if self.pending.is_empty() && (lost > 0 || self.is_reported) {
            (self.dropped, self.is_reported) = (dropped, false);
            self.sink.shared.note(None);
            info!(
                event = kind::LIMIT,
                name = self.name,
                lost,
                "the access log is written again; lines which were too many are lost"
            );
        } else if lost > 0 && !std::mem::replace(&mut self.is_reported, true) {
            warn!(
                event = kind::LIMIT,
                name = self.name,
                "the access log is written too slowly; its lines are dropped and counted"
            );
        }
    }

    fn wait(&mut self) {
        if let Some((at, _)) = self.retry {
            thread::park_timeout(at.saturating_duration_since(Instant::now()));
        } else if self.pending.is_empty() && !self.sink.shared.is_awake.load(Ordering::SeqCst) {
            thread::park();
        }
        thread::sleep(GATHER_INTERVAL);
    }
}
