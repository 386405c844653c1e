//! Work on a blocking thread which may hang.

use std::fmt;
use std::time::Duration;

use tokio::task::{JoinHandle, spawn_blocking};
use tokio::time::timeout;

/// Runs one piece of work at a time: work that hangs holds one thread, however often it is
/// requested.
#[derive(Debug)]
pub struct Blocking<T>(Option<JoinHandle<T>>);

/// Why there is no result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unfinished {
    /// The work goes on, and may be waited for again.
    TimedOut(Duration),
    /// The work panicked and has ended.
    Panicked,
}

impl<T: Send + 'static> Blocking<T> {
    /// Whether there is work with a result that was not taken.
    pub fn is_running(&self) -> bool {
        self.0.is_some()
    }

    /// Waits for the work that runs already, or else starts `work`. Cancel-safe: what runs goes on,
    /// and the next call waits for it.
    pub async fn run(
        &mut self,
        limit: Duration,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Unfinished> {
        let running = self.0.get_or_insert_with(|| spawn_blocking(work));
        let Ok(ended) = timeout(limit, running).await else {
            return Err(Unfinished::TimedOut(limit));
        };
        self.0 = None;
        ended.map_err(|_| Unfinished::Panicked)
    }
}

impl<T> Default for Blocking<T> {
    fn default() -> Self {
        Self(None)
    }
}

impl fmt::Display for Unfinished {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TimedOut(limit) => write!(f, "no answer within {limit:?}"),
            Self::Panicked => f.write_str("reading it panicked"),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    #[tokio::test]
    async fn work_that_hangs_is_waited_for_again_and_not_started_twice() {
        let (sender, receiver) = mpsc::channel();
        let mut work = Blocking::default();
        let limit = Duration::from_millis(1);
        let hung = work.run(limit, move || receiver.recv().unwrap()).await;
        assert_eq!(hung, Err(Unfinished::TimedOut(limit)));
        assert!(work.is_running());
        sender.send("first").unwrap();
        let late = work.run(Duration::from_secs(30), || "second").await;
        assert_eq!(late, Ok("first"));
        let next = work.run(Duration::from_secs(30), || "second").await;
        assert_eq!(next, Ok("second"));
        let panicked = work.run(Duration::from_secs(30), || panic!("on purpose"));
        assert_eq!(panicked.await, Err(Unfinished::Panicked));
        assert!(!work.is_running());
    }
}
