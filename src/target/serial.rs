//! The identity of a target.

use std::sync::atomic::{AtomicU64, Ordering};

/// A number which no other target of this process has or had.
///
/// An address may leave a group and come back: it is another target then, with the same
/// [`TargetId`](crate::model::TargetId) and another serial number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Serial(u64);

impl Serial {
    pub(super) fn next() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        Self(NEXT.fetch_add(1, Ordering::Relaxed))
    }

    /// The number itself. Targets are numbered as they appear, from 0.
    pub fn number(self) -> u64 {
        self.0
    }
}
