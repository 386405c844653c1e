//! How algorithms that compare response times treat times that are unknown or nearly equal.

use std::time::Duration;

/// The time to the response's head which a target is assumed to need that has requests and
/// has not responded yet (linkerd's default). An idle one is tried at once until it has
/// responded a few times: so it is not flooded before its speed is known, and not starved
/// beside targets that are faster than this.
pub(super) const UNKNOWN_TIME: Duration = Duration::from_secs(1);

/// Times that differ by no more than one part in so many of the shorter are the same: of two
/// equal targets the luckier one would get all requests of a quiet hour otherwise.
pub(super) const NOISE_PARTS: u64 = 4;
