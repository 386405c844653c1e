//! What follows when a part of Weir panics.
//!
//! | what panics                              | what follows                                   |
//! |------------------------------------------|------------------------------------------------|
//! | a connection                             | it is closed; no other is affected             |
//! | a worker, or an accept loop on it        | the process ends: the clients in that worker's |
//! |                                          | queue would not be served                      |
//! | the publisher                            | the process ends: it owns the live targets     |
//! | the supervisor of the replicas           | the process ends: its replicas died with it    |
//! | checks, outlier detection, discovery,    | it is started again, with a back-off: its      |
//! | autoscaler, housekeeping, admin          | state is kept elsewhere or found out anew      |
//!
//! Each panic is counted by its place and logged with its message.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep};
use tracing::error;

use crate::observe::{Metrics, panic_message};

/// Pause between the first panic of a task and its next start. It doubles with each panic.
const MIN_BACK_OFF: Duration = Duration::from_secs(1);

/// Longest pause. A task that ran for longer than this begins with the shortest again.
const MAX_BACK_OFF: Duration = Duration::from_secs(60);

/// A part has panicked that cannot be started again.
#[derive(Debug)]
pub(super) struct Defect {
    /// The name of the part.
    pub(super) place: &'static str,
    /// The message of the panic.
    pub(super) message: String,
}

/// Runs tasks and threads and handles their panics.
#[derive(Clone, Debug)]
pub(super) struct Supervision {
    metrics: Arc<Metrics>,
    defects: mpsc::UnboundedSender<Defect>,
}

impl Supervision {
    /// Panics of parts that cannot be started again are sent to `defects`.
    pub(super) fn new(metrics: &Arc<Metrics>, defects: mpsc::UnboundedSender<Defect>) -> Self {
        Self {
            metrics: Arc::clone(metrics),
            defects,
        }
    }

    /// Runs a task until it ends without a panic, and starts it again after each panic.
    pub(super) async fn restart<F>(self, place: &'static str, mut start: impl FnMut() -> F)
    where
        F: Future<Output = ()>,
    {
        let mut wait = MIN_BACK_OFF;
        loop {
            let began = Instant::now();
            let Err(panic) = AssertUnwindSafe(start()).catch_unwind().await else {
                return;
            };
            if began.elapsed() > MAX_BACK_OFF {
                wait = MIN_BACK_OFF;
            }
            let message = self.count(place, &*panic);
            error!(
                place,
                panic = message,
                "a task panicked; starting it again in {wait:?}"
            );
            sleep(wait).await;
            wait = MAX_BACK_OFF.min(wait * 2);
        }
    }

    /// Runs a task that cannot be started again: its panic is a defect that ends the process.
    pub(super) async fn require(self, place: &'static str, task: impl Future<Output = ()>) {
        if let Err(panic) = AssertUnwindSafe(task).catch_unwind().await {
            self.report(place, &*panic);
        }
    }

    /// Runs the main function of a thread; its panic is a defect that ends the process.
    pub(super) fn require_thread(self, place: &'static str, run: impl FnOnce()) {
        if let Err(panic) = catch_unwind(AssertUnwindSafe(run)) {
            self.report(place, &*panic);
        }
    }

    fn report(&self, place: &'static str, panic: &(dyn Any + Send)) {
        let message = self.count(place, panic).to_owned();
        // Fails only when the process ends already.
        let _ = self.defects.send(Defect { place, message });
    }

    fn count<'p>(&self, place: &'static str, panic: &'p (dyn Any + Send)) -> &'p str {
        self.metrics.panicked(place);
        panic_message(panic)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    fn supervision() -> (Supervision, mpsc::UnboundedReceiver<Defect>) {
        let (defects, found) = mpsc::unbounded_channel();
        (Supervision::new(&Arc::default(), defects), found)
    }

    #[tokio::test(start_paused = true)]
    async fn a_task_that_panics_is_started_again_later_and_later() {
        let (supervision, _defects) = supervision();
        let (starts, began) = (AtomicU32::new(0), Instant::now());
        let run = || async {
            let n = starts.fetch_add(1, Ordering::SeqCst);
            assert!(n >= 3, "start {n}");
        };
        supervision.restart("discovery", run).await;
        assert_eq!(starts.load(Ordering::SeqCst), 4);
        assert_eq!(began.elapsed().as_secs(), 1 + 2 + 4);
    }

    #[tokio::test]
    async fn the_panic_of_a_required_task_is_a_defect_and_its_end_is_none() {
        let (supervision, mut defects) = supervision();
        supervision.clone().require("publisher", async {}).await;
        assert!(defects.try_recv().is_err());
        supervision
            .require("publisher", async { panic!("out of {}", "luck") })
            .await;
        let defect = defects.recv().await.unwrap();
        assert_eq!(
            (defect.place, &*defect.message),
            ("publisher", "out of luck")
        );
    }
}
