//! A lease whose result is reported to its target when it ends.

use crate::target::{Lease, RequestResult};

/// A lease that reports a result to its target's statistics when it is dropped, and ends.
#[derive(Debug)]
pub(super) struct Reported {
    lease: Lease,
    result: RequestResult,
}

impl Reported {
    /// `result` is what is reported unless [`Self::set`] says otherwise.
    pub(super) fn new(lease: Lease, result: RequestResult) -> Self {
        Self { lease, result }
    }

    /// Reports this instead.
    pub(super) fn set(&mut self, result: RequestResult) {
        self.result = result;
    }
}

impl Drop for Reported {
    fn drop(&mut self) {
        self.lease.target().report(self.result);
    }
}
