//! Automatic target weights: a target that fails more of its requests than its peers gets fewer
//! of them, and slowly more again when it does better.
//!
//! ALB's anomaly detection and mitigation, from two targets up instead of three. Pure.

use std::time::Duration;

use super::tally::Tally;
use crate::target::WHOLE_SHARE;

/// Between two comparisons of targets with their peers. Four of them fit into the default
/// interval of outlier detection, so that a bad target is down to its floor after 10 s and has
/// its whole share 40 s after the last anomaly.
pub const COMPARE_INTERVAL: Duration = Duration::from_millis(2500);

/// The smallest share: enough requests to notice that the target works again.
const FLOOR: u32 = WHOLE_SHARE / 16;

/// How much a share grows in a step, in thousandths.
const RISE: u32 = WHOLE_SHARE.div_ceil(16);

/// Fewer failures within an interval say nothing about a target.
const MIN_ERRORS: u64 = 3;

/// Standard deviations by which a target has to do worse than its peers: by chance that
/// happens once in a thousand intervals.
const DEVIATIONS: f64 = 3.0;

/// How many times as large its failed share has to be. With very many requests a difference
/// that does not matter would be significant too.
const FACTOR: f64 = 2.0;

/// Whether a target did worse than its peers in the same time.
pub fn is_anomalous(own: Tally, peers: Tally) -> bool {
    if own.errors < MIN_ERRORS || peers.requests == 0 {
        return false;
    }
    let expected = peers.expected_ratio();
    let requests = own.requests.max(own.errors) as f64;
    let deviation = (requests * expected * (1.0 - expected)).sqrt();
    let errors = own.errors as f64;
    errors > requests * expected + DEVIATIONS * deviation && own.ratio() >= FACTOR * peers.ratio()
}

/// The share after an interval: half of it for an anomalous target, a little more otherwise.
pub fn next_share(share: u32, anomalous: bool) -> u32 {
    if anomalous {
        (share / 2).max(FLOOR)
    } else {
        (share + RISE).min(WHOLE_SHARE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tally(requests: u64, errors: u64) -> Tally {
        Tally { requests, errors }
    }

    #[test]
    fn a_target_is_anomalous_that_clearly_does_worse() {
        assert!(is_anomalous(tally(100, 30), tally(100, 0)));
        assert!(is_anomalous(tally(100, 30), tally(300, 15)));
        assert!(is_anomalous(tally(5, 5), tally(20, 0)));
    }

    #[test]
    fn chance_a_shared_failure_and_a_target_without_peers_are_no_anomaly() {
        let normal = [
            (tally(0, 0), tally(100, 0)),
            (tally(100, 2), tally(100, 0)),
            (tally(100, 30), tally(100, 30)),
            (tally(100, 100), tally(300, 300)),
            (tally(100, 100), tally(0, 0)),
            (tally(1_000_000, 5500), tally(1_000_000, 5000)),
        ];
        for (own, peers) in normal {
            assert!(!is_anomalous(own, peers), "{own:?} {peers:?}");
        }
    }

    #[test]
    fn a_share_falls_fast_and_never_to_nothing_and_rises_slowly() {
        let steps = |anomalous| {
            let start = if anomalous { WHOLE_SHARE } else { FLOOR };
            let next = |share: &u32| Some(next_share(*share, anomalous));
            let end = if anomalous { FLOOR } else { WHOLE_SHARE };
            std::iter::successors(Some(start), next)
                .position(|share| share == end)
                .unwrap()
        };
        assert_eq!((steps(true), steps(false)), (4, 15));
        assert_eq!(next_share(FLOOR, true), FLOOR);
        assert_eq!(next_share(WHOLE_SHARE, false), WHOLE_SHARE);
    }
}
