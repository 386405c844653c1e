//! How the requests of a target have ended.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

/// How one request on a target has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RequestResult {
    /// The target responded with a status below 500.
    Served,
    /// The target responded with a 5xx status other than 502, 503 and 504.
    ServerError,
    /// The target could not be reached, broke off, did not respond in time, or responded
    /// with 502, 503 or 504.
    GatewayError,
}

impl RequestResult {
    /// Whether it counts as a failure of the target.
    pub fn is_failure(self) -> bool {
        self != Self::Served
    }
}

/// Counters of failed requests, for outlier detection.
#[derive(Debug, Default)]
pub struct Outcomes {
    errors: AtomicU64,
    /// Errors since the last request that was served.
    run: AtomicU32,
    /// Gateway errors since the last request that ended in any other way.
    gateway_run: AtomicU32,
}

/// What a target has failed at so far; the difference between two readings is what it failed
/// at in between.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Failings {
    /// Requests on the target that have ended.
    pub finished: u64,
    /// Requests that failed in any way.
    pub errors: u64,
    /// Errors since the last request that was served.
    pub run: u32,
    /// Gateway errors since the last request that ended in any other way.
    pub gateway_run: u32,
}

impl Outcomes {
    /// Counts the result of a request.
    pub(super) fn record(&self, result: RequestResult) {
        match result {
            RequestResult::Served => {
                // Read first: a cache line that is only read stays in every core's cache.
                if self.run.load(Ordering::Relaxed) != 0 {
                    self.forget_runs();
                }
            }
            RequestResult::ServerError => {
                self.gateway_run.store(0, Ordering::Relaxed);
                self.count_error();
            }
            RequestResult::GatewayError => {
                self.gateway_run.fetch_add(1, Ordering::Relaxed);
                self.count_error();
            }
        }
    }

    /// Starts the runs of errors anew, for a target that gets requests again.
    pub fn forget_runs(&self) {
        self.run.store(0, Ordering::Relaxed);
        self.gateway_run.store(0, Ordering::Relaxed);
    }

    /// A reading of the counters beside `finished` requests.
    pub(super) fn read(&self, finished: u64) -> Failings {
        Failings {
            finished,
            errors: self.errors.load(Ordering::Relaxed),
            run: self.run.load(Ordering::Relaxed),
            gateway_run: self.gateway_run.load(Ordering::Relaxed),
        }
    }

    fn count_error(&self) {
        self.errors.fetch_add(1, Ordering::Relaxed);
        self.run.fetch_add(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_of_failures_end_with_a_request_that_is_served() {
        use RequestResult::{GatewayError, Served, ServerError};
        let outcomes = Outcomes::default();
        let runs = [
            (GatewayError, (1, 1)),
            (GatewayError, (2, 2)),
            (ServerError, (3, 0)),
            (GatewayError, (4, 1)),
            (Served, (0, 0)),
            (GatewayError, (1, 1)),
        ];
        for (result, expected) in runs {
            outcomes.record(result);
            let failings = outcomes.read(0);
            assert_eq!((failings.run, failings.gateway_run), expected);
        }
        assert_eq!(outcomes.read(0).errors, 5);
        outcomes.forget_runs();
        let failings = outcomes.read(0);
        assert_eq!((failings.run, failings.gateway_run), (0, 0));
    }
}
