//! When a certificate is ordered: pure.

use std::time::{Duration, SystemTime};

/// Pauses after orders that the authority has refused: it counts them, and refuses all for hours
/// after a few.
const REFUSED: Pauses = Pauses {
    first: Duration::from_secs(60),
    factor: 3,
    longest: Duration::from_secs(6 * 3600),
};

/// Pauses after orders that did not come so far.
const UNREACHABLE: Pauses = Pauses {
    first: Duration::from_secs(5),
    factor: 2,
    longest: Duration::from_secs(3600),
};

/// The share of a pause by which it is longer or shorter by chance, so that several Weirs do not
/// come at once when an authority is back.
const JITTER: f64 = 0.2;

/// The authority may say later than two thirds of the lifetime, and not later than this share of it.
const LATEST_SHARE: f64 = 0.9;

/// And it may say at once, but not before this share: one that is mistaken would be asked for
/// another without end.
const EARLIEST_SHARE: f64 = 0.1;

/// How long to wait before the authority is asked again whether to renew, whatever it says.
pub(super) const ASK_INTERVAL: (Duration, Duration) =
    (Duration::from_secs(60), Duration::from_secs(24 * 3600));

struct Pauses {
    first: Duration,
    factor: u32,
    longest: Duration,
}

/// From when until when a certificate is valid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Lifetime {
    pub(super) from: SystemTime,
    pub(super) until: SystemTime,
}

impl Lifetime {
    fn at(&self, share: f64) -> SystemTime {
        let length = self.until.duration_since(self.from).unwrap_or_default();
        self.from + length.mul_f64(share)
    }

    /// When it is renewed if the authority says nothing.
    pub(super) fn renewal(&self) -> SystemTime {
        self.at(2.0 / 3.0)
    }

    /// When it is renewed if the authority names a window. `chance` is 0 to 1.
    pub(super) fn renewal_within(
        &self,
        (start, end): (SystemTime, SystemTime),
        chance: f64,
    ) -> SystemTime {
        let window = end.duration_since(start).unwrap_or_default();
        let chosen = start + window.mul_f64(chance);
        chosen.clamp(self.at(EARLIEST_SHARE), self.at(LATEST_SHARE))
    }
}

/// How long to wait after so many failures in a row. `chance` is 0 to 1.
pub(super) fn pause(failures: u32, is_refusal: bool, chance: f64) -> Duration {
    let pauses = if is_refusal { &REFUSED } else { &UNREACHABLE };
    let growth = pauses.factor.saturating_pow(failures.saturating_sub(1));
    let pause = pauses.first.saturating_mul(growth).min(pauses.longest);
    pause.mul_f64(1.0 + JITTER * (2.0 * chance - 1.0))
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use super::*;

    fn day(number: u64) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(number * 24 * 3600)
    }

    const NINETY: fn() -> Lifetime = || Lifetime {
        from: day(100),
        until: day(190),
    };

    #[test]
    fn a_certificate_is_renewed_at_two_thirds_or_within_the_window() {
        let life = NINETY();
        assert_eq!(life.renewal(), day(160));
        assert_eq!(life.renewal_within((day(150), day(152)), 0.0), day(150));
        assert_eq!(life.renewal_within((day(150), day(152)), 0.5), day(151));
        // One that was revoked has a window in the past.
        assert_eq!(life.renewal_within((day(0), day(1)), 1.0), day(109));
        assert_eq!(life.renewal_within((day(500), day(501)), 0.0), day(181));
        // A window that ends before it starts, and a lifetime that does.
        assert_eq!(life.renewal_within((day(150), day(140)), 1.0), day(150));
        let wrong = Lifetime {
            from: day(2),
            until: day(1),
        };
        assert_eq!(wrong.renewal(), day(2));
    }

    #[test]
    fn pauses_grow_to_a_limit_and_vary() {
        let seconds = |failures, is_refusal| pause(failures, is_refusal, 0.5).as_secs();
        assert_eq!([1, 2, 3].map(|n| seconds(n, true)), [60, 180, 540]);
        assert_eq!([1, 2, 3].map(|n| seconds(n, false)), [5, 10, 20]);
        assert_eq!(seconds(u32::MAX, true), 6 * 3600);
        assert_eq!(seconds(u32::MAX, false), 3600);
        assert_eq!(pause(1, true, 0.0), Duration::from_secs(48));
        assert_eq!(pause(1, true, 1.0), Duration::from_secs(72));
    }
}
