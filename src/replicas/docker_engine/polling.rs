//! How often the list of an engine is polled.

use std::time::Duration;

use crate::replicas::poll_timer::PollTimer;

/// While all replicas run that should.
const SETTLED_INTERVAL: Duration = Duration::from_secs(1);

/// While replicas come and go.
const CHANGING_INTERVAL: Duration = Duration::from_millis(250);

/// While the engine does not answer: doubling from the first to the last.
const FAILING_INTERVAL: (Duration, Duration) = (Duration::from_secs(2), Duration::from_secs(10));

pub(crate) fn poll_timer() -> PollTimer {
    PollTimer::new(SETTLED_INTERVAL, FAILING_INTERVAL)
}

/// The interval after an answer of the engine.
pub(crate) const fn poll_interval(is_settled: bool) -> Duration {
    if is_settled {
        SETTLED_INTERVAL
    } else {
        CHANGING_INTERVAL
    }
}
