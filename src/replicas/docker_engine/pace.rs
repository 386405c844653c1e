//! When to ask an engine again.

use std::time::Duration;

use tokio::time::{Instant, sleep_until};

/// While everything is as it should be.
const STEADY: Duration = Duration::from_secs(1);

/// While replicas come and go.
const BUSY: Duration = Duration::from_millis(250);

/// While the engine does not answer: doubling up to this.
const LONGEST: Duration = Duration::from_secs(10);

/// The time of the next look.
#[derive(Debug)]
pub(in super::super) struct Pace {
    interval: Duration,
    next: Instant,
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            interval: STEADY,
            next: Instant::now(),
        }
    }
}

impl Pace {
    /// The engine has answered.
    pub(in super::super) fn succeed(&mut self, is_settled: bool) {
        self.interval = if is_settled { STEADY } else { BUSY };
        self.next = Instant::now() + self.interval;
    }

    /// It has not, or refused.
    pub(in super::super) fn fail(&mut self) {
        self.interval = LONGEST.min(self.interval.max(STEADY) * 2);
        self.next = Instant::now() + self.interval;
    }

    /// Something has changed: look now.
    pub(in super::super) fn hurry(&mut self) {
        self.next = Instant::now();
    }

    /// Not later than this.
    pub(in super::super) fn at_latest(&mut self, time: Instant) {
        self.next = self.next.min(time);
    }

    /// Waits for the next look. Cancel-safe; whoever does not look is told again an interval
    /// later.
    pub(in super::super) async fn due(&mut self) {
        sleep_until(self.next).await;
        self.next = Instant::now() + self.interval;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn looks_are_rarer_while_the_engine_is_down() {
        let mut pace = Pace::default();
        let mut waits = Vec::new();
        for _ in 0..5 {
            pace.fail();
            let before = Instant::now();
            pace.due().await;
            waits.push(before.elapsed().as_secs());
        }
        assert_eq!(waits, [2, 4, 8, 10, 10]);
        pace.succeed(true);
        let before = Instant::now();
        pace.due().await;
        assert_eq!(before.elapsed(), STEADY);
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_spins_when_nobody_looks() {
        let mut pace = Pace::default();
        pace.hurry();
        let before = Instant::now();
        pace.due().await;
        assert_eq!(before.elapsed(), Duration::ZERO);
        pace.due().await;
        assert_eq!(before.elapsed(), STEADY);
    }
}
