//! The connections that are kept to a target, as the workers have counted them last.

use std::sync::atomic::{AtomicUsize, Ordering};

/// The connections that are kept to a target: each worker adds what it counts about once a second.
#[derive(Debug, Default)]
pub struct KeptConnections {
    idle: AtomicUsize,
    http2: AtomicUsize,
}

/// What one worker has counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct KeptCount {
    /// Connections without a request.
    pub idle: usize,
    /// Connections of HTTP/2, with requests or without.
    pub http2: usize,
}

impl KeptConnections {
    /// Replaces what a worker has counted before.
    pub fn replace(&self, before: KeptCount, now: KeptCount) {
        // Counts of other workers are in the sums too, so that they never fall below zero.
        self.idle
            .fetch_add(now.idle.wrapping_sub(before.idle), Ordering::Relaxed);
        self.http2
            .fetch_add(now.http2.wrapping_sub(before.http2), Ordering::Relaxed);
    }

    /// The sums over all workers.
    pub fn sum(&self) -> KeptCount {
        KeptCount {
            idle: self.idle.load(Ordering::Relaxed),
            http2: self.http2.load(Ordering::Relaxed),
        }
    }
}
