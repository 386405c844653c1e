//! When the next check of a target starts. Pure: the random number is an argument.

use std::time::Duration;

/// How far one gap may deviate from the interval, as a part of it. Each gap is random, so checks
/// of targets that were registered together drift apart, while the mean stays the interval.
const SPREAD: f64 = 0.1;

/// The time from the start of one check to the start of the next. `random` lies in `[0, 1)`.
///
/// How long the check took plays no part (ALB user guide, "Health check settings"). A check that
/// outlasts its gap is followed by the next at once, not by several.
pub(super) fn gap(interval: Duration, random: f64) -> Duration {
    interval.mul_f64(1.0 - SPREAD + 2.0 * SPREAD * random)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_mean_gap_is_the_interval() {
        let interval = Duration::from_secs(10);
        let total: Duration = (0..1000)
            .map(|n| gap(interval, f64::from(n) / 1000.0))
            .sum();
        let mean = total / 1000;
        assert!(
            mean.abs_diff(interval) < Duration::from_millis(10),
            "{mean:?}"
        );
    }

    proptest! {
        #[test]
        fn a_gap_stays_within_a_tenth_of_the_interval(millis in 1_u64..3_600_000, random in 0.0..1.0) {
            let interval = Duration::from_millis(millis);
            let gap = gap(interval, random);
            let slack = Duration::from_nanos(10);
            prop_assert!(gap + slack >= interval.mul_f64(0.9));
            prop_assert!(gap <= interval.mul_f64(1.1) + slack);
        }
    }
}
