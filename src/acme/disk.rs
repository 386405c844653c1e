//! Work on the state directory, on blocking threads of which few may hang.

use std::io::{self, ErrorKind};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;
use tokio::time::timeout;

/// How long a file system that does not answer is waited for.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Threads that may hang at a time.
const THREADS: usize = 2;

/// Where the work is done.
#[derive(Clone, Debug)]
pub(super) struct Disk(Arc<Semaphore>);

impl Default for Disk {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(THREADS)))
    }
}

impl Disk {
    /// Does some work. What does not end in time goes on, and holds its thread.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> io::Result<T> + Send + 'static,
    ) -> io::Result<T> {
        let permits = Arc::clone(&self.0);
        let working = async {
            let permit = permits.acquire_owned().await.map_err(io::Error::other)?;
            let work = spawn_blocking(move || {
                let done = work();
                drop(permit);
                done
            });
            work.await.map_err(io::Error::other)?
        };
        let late = || io::Error::new(ErrorKind::TimedOut, format!("no answer within {TIMEOUT:?}"));
        timeout(TIMEOUT, working)
            .await
            .unwrap_or_else(|_| Err(late()))
    }
}
