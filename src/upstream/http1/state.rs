//! What a connection to a target has as long as its socket.

use std::time::{Duration, Instant};

use super::exchange::Http1;
use crate::net::descriptors::DescriptorPermit;

/// What a connection has while it is in use and while it is idle. Boxed, because it is moved from
/// one to the other.
pub(in crate::upstream) struct ConnectionState {
    pub(super) http: Http1,
    /// For how long it was idle before its last request; `None` if that was its first.
    pub(super) idle: Option<Duration>,
    /// Since when it is idle.
    pub(super) since: Instant,
    pub(super) descriptor: DescriptorPermit,
}

impl ConnectionState {
    /// For how long it has been idle.
    pub(super) fn age(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.since)
    }
}
