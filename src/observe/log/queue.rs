//! Lines that wait for the log thread.
//!
//! A queue is one buffer behind a lock that is held only to append a line or to swap the buffer,
//! never across a system call of the log thread. A line costs its bytes and nothing else, so a
//! bound on bytes bounds the number of lines too.

use std::mem;
use std::ops::{Add, Sub};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Most bytes that wait in a queue: some thousand lines, a moment of the busiest worker.
pub(super) const QUEUE_BYTES: usize = 1024 * 1024;

/// How many of them lines of the access log may take: events need room, because they tell the
/// reasons.
const ACCESS_BYTES: usize = QUEUE_BYTES / 4 * 3;

/// Which log a line belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum LineKind {
    /// The access log.
    Access,
    /// Events of the process.
    Event,
}

/// Lines that were not written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Dropped {
    /// Of the access log.
    pub(crate) access: u64,
    /// Of events.
    pub(crate) events: u64,
}

impl Dropped {
    fn count(&mut self, kind: LineKind) {
        match kind {
            LineKind::Access => self.access += 1,
            LineKind::Event => self.events += 1,
        }
    }
}

impl Add for Dropped {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            access: self.access + other.access,
            events: self.events + other.events,
        }
    }
}

impl Sub for Dropped {
    type Output = Self;

    fn sub(self, earlier: Self) -> Self {
        Self {
            access: self.access - earlier.access,
            events: self.events - earlier.events,
        }
    }
}

/// A bounded queue of lines.
#[derive(Debug, Default)]
pub(super) struct Queue(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    lines: Vec<u8>,
    dropped: Dropped,
}

impl Queue {
    /// Appends a line, which ends in a newline; counts it as dropped if there is no room.
    pub(super) fn push(&self, kind: LineKind, line: &[u8]) {
        let limit = match kind {
            LineKind::Access => ACCESS_BYTES,
            LineKind::Event => QUEUE_BYTES,
        };
        let mut state = self.lock();
        if state.lines.len() + line.len() > limit {
            state.dropped.count(kind);
        } else {
            state.lines.extend_from_slice(line);
        }
    }

    /// Takes all lines, and leaves `empty` in their place.
    pub(super) fn swap(&self, empty: &mut Vec<u8>) {
        mem::swap(&mut self.lock().lines, empty);
    }

    /// Counts lines of the access log as dropped.
    pub(super) fn lose(&self, lines: u64) {
        self.lock().dropped.access += lines;
    }

    /// How many lines were dropped since the start.
    pub(super) fn dropped(&self) -> Dropped {
        self.lock().dropped
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // No statement under the lock can leave half a line behind.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_queue_drops_and_counts_by_kind() {
        let queue = Queue::default();
        let line = vec![b'x'; QUEUE_BYTES / 4];
        for _ in 0..5 {
            queue.push(LineKind::Access, &line);
        }
        for _ in 0..3 {
            queue.push(LineKind::Event, &line);
        }
        let dropped = Dropped {
            access: 2,
            events: 2,
        };
        assert_eq!(queue.dropped(), dropped);
        let mut taken = Vec::new();
        queue.swap(&mut taken);
        assert_eq!(taken.len(), QUEUE_BYTES);
        queue.push(LineKind::Access, b"room again\n");
        assert_eq!(queue.dropped(), dropped);
        taken.clear();
        queue.swap(&mut taken);
        assert_eq!(taken, b"room again\n");
    }
}
