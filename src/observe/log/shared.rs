//! What the threads that log share with the thread that writes.

use std::cell::Cell;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::thread::Thread;

use crossbeam_utils::CachePadded;

use super::flood::Floods;
use super::queue::{Dropped, LineKind, Queue};

/// The target of the access log's events.
pub(in crate::observe) const ACCESS: &str = "access";

/// More threads than this share queues. Bounds the memory of the log together with
/// [`super::queue::QUEUE_BYTES`].
const QUEUES: usize = 16;

thread_local! {
    /// Index of the queue of this thread.
    static QUEUE: Cell<Option<usize>> = const { Cell::new(None) };
}

/// The index of the next thread.
static NEXT_QUEUE: AtomicUsize = AtomicUsize::new(0);

/// The queues, and how the log thread is woken.
#[derive(Debug, Default)]
pub(super) struct Shared {
    /// For standard output.
    pub(super) queues: [CachePadded<Queue>; QUEUES],
    /// For standard error.
    pub(super) errors: Queue,
    /// Whether the log thread knows that there are lines.
    pub(super) is_awake: AtomicBool,
    pub(super) is_closing: AtomicBool,
    /// Set before the first line.
    pub(super) thread: OnceLock<Thread>,
    pub(super) floods: Floods,
    /// Why nothing can be written now.
    fault: Mutex<Option<String>>,
}

impl Shared {
    /// Queues a line of the calling thread.
    pub(super) fn push(&self, kind: LineKind, line: &[u8]) {
        self.own_queue().push(kind, line);
        self.wake();
    }

    /// The queue of the calling thread.
    pub(super) fn own_queue(&self) -> &Queue {
        // A thread that is at its end has no value any more: then it is the first queue.
        let index = QUEUE.try_with(|own| {
            own.get().unwrap_or_else(|| {
                let index = NEXT_QUEUE.fetch_add(1, Ordering::Relaxed) % QUEUES;
                own.set(Some(index));
                index
            })
        });
        &self.queues[index.unwrap_or_default()]
    }

    /// Wakes the log thread. A system call only for the first line after the thread has taken
    /// all lines.
    pub(super) fn wake(&self) {
        if !self.is_awake.swap(true, Ordering::SeqCst)
            && let Some(thread) = self.thread.get()
        {
            thread.unpark();
        }
    }

    /// Notes why nothing can be written now; `None` when it can again.
    pub(super) fn note(&self, fault: Option<String>) {
        // An assignment leaves the value whole.
        *self.fault.lock().unwrap_or_else(PoisonError::into_inner) = fault;
    }

    /// Why nothing can be written now.
    pub(super) fn fault(&self) -> Option<String> {
        let fault = self.fault.lock().unwrap_or_else(PoisonError::into_inner);
        fault.clone()
    }

    /// Counts lines of the access log that were taken out of a queue and given up.
    pub(super) fn lose(&self, lines: u64) {
        if lines > 0 {
            self.queues[0].lose(lines);
        }
    }

    /// How many lines were dropped since the start.
    pub(super) fn dropped(&self) -> Dropped {
        self.queues
            .iter()
            .map(|queue| queue.dropped())
            .fold(self.errors.dropped(), |sum, queue| sum + queue)
    }
}
