//! Work that would keep the control thread from its timers, on a thread of its own.

use std::sync::mpsc;
use std::thread;

use tokio::sync::oneshot;
use tracing::warn;

/// Starts some work on a thread of its own. The receiver gets its result, or an error if it
/// panicked.
///
/// If the system gives no thread, the work is done at once by the caller: late checks are
/// better than a change that is lost. (`spawn_blocking` would panic.)
pub(super) fn off_thread<T, W>(work: W) -> oneshot::Receiver<T>
where
    T: Send + 'static,
    W: FnOnce() -> T + Send + 'static,
{
    let (done, result) = oneshot::channel();
    // Handed over once the thread exists: a closure that no thread takes would be lost.
    let (job, inbox) = mpsc::channel::<(W, oneshot::Sender<T>)>();
    let thread = thread::Builder::new().name("weir-builder".to_owned());
    let started = thread.spawn(move || inbox.into_iter().for_each(run));
    match started {
        // The thread waits for the job.
        Ok(_) => drop(job.send((work, done))),
        Err(error) => {
            warn!(%error, "no thread for a large change: it is applied on the control thread, timers are late");
            run((work, done));
        }
    }
    result
}

fn run<T>((work, done): (impl FnOnce() -> T, oneshot::Sender<T>)) {
    // The receiver may be gone.
    let _ = done.send(work());
}
