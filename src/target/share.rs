//! Which part of the requests it is picked for a target gets.

use std::sync::atomic::{AtomicU32, Ordering};

/// The share of a target that gets all requests it is picked for, in thousandths.
pub const WHOLE_SHARE: u32 = 1000;

/// The share of one target, which anomaly mitigation lowers while the target does worse than
/// its peers (`weighted_random` only).
#[derive(Debug)]
pub struct ShareCell(AtomicU32);

impl Default for ShareCell {
    fn default() -> Self {
        Self(AtomicU32::new(WHOLE_SHARE))
    }
}

impl ShareCell {
    /// The share, in thousandths.
    pub fn get(&self) -> u32 {
        self.0.load(Ordering::Relaxed)
    }

    /// Changes the share; more than [`WHOLE_SHARE`] counts as the whole.
    pub fn set(&self, thousandths: u32) {
        self.0
            .store(thousandths.min(WHOLE_SHARE), Ordering::Relaxed);
    }
}
