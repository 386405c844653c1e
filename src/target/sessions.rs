//! How many requests of sessions a target has served lately.

use std::sync::atomic::{AtomicU32, Ordering};

/// Responses of one target to requests that began a session or belonged to one, in the last
/// minutes. Counts requests, not clients: Weir remembers no clients.
#[derive(Debug, Default)]
pub struct SessionCount(AtomicU32);

impl SessionCount {
    /// Counts a response to a request of a session. Called only in groups with sticky
    /// sessions: others pay nothing.
    pub fn count(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    /// Responses counted, without those which [`SessionCount::halve`] has taken off.
    pub fn get(&self) -> u32 {
        self.0.load(Ordering::Relaxed)
    }

    /// Takes off half of the count. Called at a steady pace.
    pub fn halve(&self) {
        let known = self.get();
        if known > 0 {
            self.0.fetch_sub(known.div_ceil(2), Ordering::Relaxed);
        }
    }
}
