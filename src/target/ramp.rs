//! How a target comes to its full share of the requests: at once, or over a while.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::share::WHOLE_SHARE;

/// The least share on a ramp, in thousandths: a target must get requests to warm up by.
const LEAST_SHARE: u32 = 10;

/// Where a target is on its way into service. The control plane moves it along.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Ramp {
    /// Registered a moment ago.
    #[default]
    New,
    /// One of its group's first targets, and not in service yet: no other target is there to
    /// take the requests, so it will start with its whole share.
    First,
    /// Not in service: it has failed, been ejected or drained, or came late to its group.
    Out,
    /// In service since then, with a share that rises.
    Since(Instant),
    /// In service with its whole share.
    Whole,
}

/// The [`Ramp`] of one target, read and written by what builds the rosters of its group.
#[derive(Debug, Default)]
pub struct RampCell(Mutex<Ramp>);

impl RampCell {
    /// Where the target is now.
    pub fn get(&self) -> Ramp {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Moves the target along.
    pub fn set(&self, ramp: Ramp) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = ramp;
    }
}

impl Ramp {
    /// Whether the target gets requests.
    pub fn is_in_service(self) -> bool {
        matches!(self, Self::Since(_) | Self::Whole)
    }

    /// Its share of the requests it is picked for, in thousandths. It rises linearly, and
    /// is whole `over` after it began.
    pub fn share(self, over: Duration, now: Instant) -> u32 {
        let Self::Since(began) = self else {
            return WHOLE_SHARE;
        };
        let elapsed = now.saturating_duration_since(began);
        if elapsed >= over {
            return WHOLE_SHARE;
        }
        let part = elapsed.as_secs_f64() / over.as_secs_f64();
        ((part * f64::from(WHOLE_SHARE)) as u32).max(LEAST_SHARE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_rises_linearly_from_a_hundredth_to_the_whole() {
        let (began, over) = (Instant::now(), Duration::from_secs(100));
        let share = |seconds| Ramp::Since(began).share(over, began + Duration::from_secs(seconds));
        assert_eq!(
            [0, 1, 2, 50, 99, 100, 200].map(share),
            [10, 10, 20, 500, 990, 1000, 1000]
        );
    }

    #[test]
    fn without_a_ramp_every_share_is_whole() {
        let now = Instant::now();
        let over = Duration::from_secs(100);
        for ramp in [Ramp::New, Ramp::First, Ramp::Out, Ramp::Whole] {
            assert_eq!(ramp.share(over, now), WHOLE_SHARE);
        }
        assert_eq!(Ramp::Since(now).share(Duration::ZERO, now), WHOLE_SHARE);
    }
}
