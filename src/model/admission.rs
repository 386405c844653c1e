//! How many requests a group's targets take at a time.

use std::num::NonZeroU32;
use std::sync::atomic::{AtomicU32, Ordering};

/// The concurrency limit of a group's targets, shared by all of them.
///
/// A setting, and yet live state: a request that ends must know whether its place goes
/// to somebody, and it knows nothing but its target.
#[derive(Debug)]
pub struct Admission {
    /// Requests each target takes at a time; `u32::MAX` is no limit.
    limit: AtomicU32,
}

impl Default for Admission {
    fn default() -> Self {
        Self {
            limit: AtomicU32::new(u32::MAX),
        }
    }
}

impl Admission {
    /// Changes the limit; `None` takes it away. Requests beyond a smaller one go on.
    pub fn set_limit(&self, limit: Option<NonZeroU32>) {
        let limit = limit.map_or(u32::MAX, NonZeroU32::get);
        self.limit.store(limit, Ordering::Relaxed);
    }

    /// Requests each target takes at a time.
    #[inline] // read for every request
    pub(super) fn limit(&self) -> u32 {
        self.limit.load(Ordering::Relaxed)
    }
}
