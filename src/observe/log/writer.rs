//! The log thread: takes lines out of the queues, writes them, and says what was lost or left
//! out.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::{Duration, Instant};

use tracing::{Level, event, warn};

use super::flood::Summary;
use super::output::{Output, Progress, is_ready};
use super::queue::Dropped;
use super::{ACCESS, Shared};

/// Where events come from that the log writes about itself.
pub(super) const MODULE: &str = module_path!();

/// From the first line after a silence to its write: what comes in this time is written
/// together, and wakes the thread only once.
const GATHER: Duration = Duration::from_millis(1);

/// How often the other output is looked after while one stalls.
const STALLED: Duration = Duration::from_millis(100);

/// From one look for what is to be said of lines that were lost or left out to the next.
const REPORT: Duration = Duration::from_secs(1);

/// What the log thread owns.
#[derive(Debug)]
pub(super) struct LogWriter {
    shared: Arc<Shared>,
    out: Output,
    err: Output,
    /// An empty buffer for the next queue that is taken.
    spare: Vec<u8>,
    /// Losses that were told.
    told: Dropped,
    reported: Instant,
}

impl LogWriter {
    pub(super) fn new(shared: Arc<Shared>, out: Output, err: Output) -> Self {
        Self {
            shared,
            out,
            err,
            spare: Vec::new(),
            told: Dropped::default(),
            reported: Instant::now(),
        }
    }

    /// Writes until the log is closed and everything is written that can be.
    pub(super) fn run(mut self) {
        let mut is_last = false;
        loop {
            let is_closing = self.shared.is_closing.load(Ordering::Acquire);
            self.collect();
            let progress = [self.out.write(is_closing), self.err.write(is_closing)];
            let is_stalled = progress.contains(&Progress::Stalled);
            if is_last && !is_stalled {
                return;
            }
            is_last = is_closing && !is_stalled;
            if progress[0] == Progress::Done {
                self.report(is_last);
            }
            // The last report is still to be written.
            if !is_last {
                self.wait(progress);
            }
        }
    }

    /// Takes the lines that wait, unless those before them are still to be written.
    fn collect(&mut self) {
        if self.out.is_empty() {
            // Before the queues are looked at: what comes after wakes the thread again.
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

    /// Says what was lost, now that the output is well, and sums up what was left out.
    fn report(&mut self, is_last: bool) {
        let now = Instant::now();
        if !is_last && now.duration_since(self.reported) < REPORT {
            return;
        }
        self.reported = now;
        let dropped = self.shared.dropped();
        if dropped != self.told {
            let Dropped { access, events } = dropped - self.told;
            self.told = dropped;
            warn!(
                access,
                events, "log lines were dropped: the output of the log was stalled or failing"
            );
        }
        let summaries = self.shared.floods.sweep(now, is_last);
        summaries.iter().for_each(summarize);
    }

    fn wait(&mut self, [out, err]: [Progress; 2]) {
        let outputs = [(out, &self.out), (err, &self.err)];
        let stalled = outputs.iter().filter(|(p, _)| *p == Progress::Stalled);
        let mut stalled: Vec<_> = stalled.map(|(_, output)| output.poll_fd()).collect();
        if !stalled.is_empty() {
            is_ready(&mut stalled, STALLED);
            return;
        }
        let retry = [out, err]
            .into_iter()
            .filter_map(|progress| match progress {
                Progress::Failing(at) => Some(at),
                Progress::Done | Progress::Stalled => None,
            });
        if let Some(at) = retry.min() {
            thread::park_timeout(at.saturating_duration_since(Instant::now()));
        } else if self.shared.is_awake.load(Ordering::SeqCst) {
            // Lines have come while others were still to be written: nothing wakes for them.
        } else if self.shared.floods.is_empty() && self.shared.dropped() == self.told {
            thread::park();
        } else {
            thread::park_timeout(REPORT);
        }
        thread::sleep(GATHER);
    }
}

/// Writes one line in the place of those that were left out.
fn summarize(summary: &Summary) {
    let subject = &summary.subject;
    // The level and the target of an event are constants.
    macro_rules! say {
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
        _ if subject.is_access => say!(ACCESS, Level::INFO),
        Level::ERROR => say!(MODULE, Level::ERROR),
        Level::WARN => say!(MODULE, Level::WARN),
        _ => say!(MODULE, Level::INFO),
    }
}
