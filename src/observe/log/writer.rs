//! The log thread: takes lines out of the queues, writes them, and logs what was dropped or left
//! out.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::{Duration, Instant};

use rustix::io::Errno;
use tracing::{Level, event, warn};

use super::flood::Summary;
use super::output::{Output, OutputState, is_ready};
use super::queue::Dropped;
use super::shared::{ACCESS, Shared};

/// The module of the events which the log writes about itself.
pub(super) const MODULE: &str = module_path!();

/// From the first line after a pause to its write: lines of this time are written together, and
/// wake the thread only once.
pub(super) const GATHER_INTERVAL: Duration = Duration::from_millis(1);

/// How often the other output is written to while one stalls.
const STALLED_INTERVAL: Duration = Duration::from_millis(100);

/// Between two reports of lines that were dropped or left out.
const REPORT_INTERVAL: Duration = Duration::from_secs(1);

/// The state of the log thread.
#[derive(Debug)]
pub(super) struct LogWriter {
    shared: Arc<Shared>,
    out: Output,
    err: Output,
    /// An empty buffer for the next queue.
    spare: Vec<u8>,
    /// Dropped lines that were reported.
    reported: Dropped,
    reported_at: Instant,
    /// Why the output fails, as the status has it.
    noted: Option<Errno>,
}

impl LogWriter {
    pub(super) fn new(shared: Arc<Shared>, out: Output, err: Output) -> Self {
        Self {
            shared,
            out,
            err,
            spare: Vec::new(),
            reported: Dropped::default(),
            reported_at: Instant::now(),
            noted: None,
        }
    }

    /// Writes until the log is closed and everything is written that can be.
    pub(super) fn run(mut self) {
        let mut is_last = false;
        loop {
            let is_closing = self.shared.is_closing.load(Ordering::Acquire);
            self.collect();
            let states = [self.out.write(is_closing), self.err.write(is_closing)];
            self.note_fault();
            let is_stalled = states.contains(&OutputState::Stalled);
            if is_last && !is_stalled {
                return;
            }
            is_last = is_closing && !is_stalled;
            if states[0] == OutputState::Done {
                self.report(is_last);
            }
            // The last report is still to be written.
            if !is_last {
                self.wait(states);
            }
        }
    }

    /// Tells the status whether the log can be written.
    fn note_fault(&mut self) {
        let error = self.out.error();
        if error != self.noted {
            self.noted = error;
            let fault = error.map(|error| format!("the log, standard output: {error}"));
            self.shared.note(fault);
        }
    }

    /// Takes the lines that wait, unless those before them are still to be written.
    fn collect(&mut self) {
        if self.out.is_empty() {
            // Before the queues are read: a line which comes later wakes the thread again.
            self.shared.is_awake.store(false, Ordering::SeqCst);
            for queue in &self.shared.queues {
                queue.swap(&mut self.spare);
                self.out.take(&mut self.spare);
            }
        }
        if self.err.is_empty() {
            self.shared.errors.swap(&mut self.spare);
            self.err.take(&mut self.spare);
        }
    }

    /// Logs how many lines were dropped, now that the output works, and how many were left out.
    fn report(&mut self, is_last: bool) {
        let now = Instant::now();
        if !is_last && now.duration_since(self.reported_at) < REPORT_INTERVAL {
            return;
        }
        self.reported_at = now;
        let dropped = self.shared.dropped();
        if dropped != self.reported {
            let Dropped { access, events } = dropped - self.reported;
            self.reported = dropped;
            warn!(
                access,
                events, "log lines were dropped: the output of the log was stalled or failing"
            );
        }
        let summaries = self.shared.floods.sweep(now, is_last);
        summaries.iter().for_each(summarize);
    }

    fn wait(&mut self, [out, err]: [OutputState; 2]) {
        let outputs = [(out, &self.out), (err, &self.err)];
        let mut stalled: Vec<_> = outputs
            .iter()
            .filter(|(state, _)| *state == OutputState::Stalled)
            .map(|(_, output)| output.poll_fd())
            .collect();
        if !stalled.is_empty() {
            is_ready(&mut stalled, STALLED_INTERVAL);
            return;
        }
        let retry = [out, err].into_iter().filter_map(|state| match state {
            OutputState::Failing(at) => Some(at),
            OutputState::Done | OutputState::Stalled => None,
        });
        if let Some(at) = retry.min() {
            thread::park_timeout(at.saturating_duration_since(Instant::now()));
        } else if self.shared.is_awake.load(Ordering::SeqCst) {
            // Lines came while others were still to be written: no wake-up follows for them.
        } else if self.shared.floods.is_empty() && self.shared.dropped() == self.reported {
            thread::park();
        } else {
            thread::park_timeout(REPORT_INTERVAL);
        }
        thread::sleep(GATHER_INTERVAL);
    }
}

/// Logs one line in place of those that were left out.
fn summarize(summary: &Summary) {
    let subject = &summary.subject;
    // The level and the target of an event are constants.
    macro_rules! log {
        ($target:expr, $level:expr) => {
            event!(
                target: $target,
                $level,
                listener = subject.field("listener"),
                group = subject.field("group"),
                target = subject.field("target"),
                reason = subject.field("reason"),
                replica = subject.field("replica"),
                name = subject.field("name"),
                more = summary.more,
                "{} … {} more like this in the last {}s",
                subject.field("message").unwrap_or_default(),
                summary.more,
                summary.window.as_secs().max(1),
            )
        };
    }
    match subject.level {
        _ if subject.is_access => log!(ACCESS, Level::INFO),
        Level::ERROR => log!(MODULE, Level::ERROR),
        Level::WARN => log!(MODULE, Level::WARN),
        _ => log!(MODULE, Level::INFO),
    }
}
