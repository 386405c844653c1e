//! When to poll the list of an engine again.

use std::time::Duration;

use tokio::time::{Instant, sleep_until};

use super::backoff::Backoff;

/// Polls in the interval that the last answer asks for, and less and less often after failures.
#[derive(Debug)]
pub(super) struct PollTimer {
    interval: Duration,
    next: Instant,
    backoff: Backoff,
}

impl PollTimer {
    /// The first poll is due at once. After failures the interval doubles from the first to the
    /// last of `failing`.
    pub(super) fn new(interval: Duration, failing: (Duration, Duration)) -> Self {
        Self {
            interval,
            next: Instant::now(),
            backoff: Backoff::new(failing.0, failing.1),
        }
    }

    /// The engine has answered: polls in this interval.
    pub(super) fn succeeded(&mut self, interval: Duration) {
        self.backoff.reset();
        self.interval = interval;
        self.restart();
    }

    /// The engine has not answered, or refused.
    pub(super) fn failed(&mut self) {
        self.interval = self.backoff.next_wait();
        self.restart();
    }

    /// The next poll is due an interval from now.
    pub(super) fn restart(&mut self) {
        self.next = Instant::now() + self.interval;
    }

    /// Puts the next poll off by up to a fifth of the interval, so that several instances do not
    /// poll in step.
    #[cfg(feature = "ecs")]
    pub(super) fn spread(&mut self) {
        self.next += self.interval.mul_f64(fastrand::f64() / 5.0);
    }

    /// The next poll is due at once.
    #[cfg(any(test, feature = "docker"))]
    pub(super) fn poll_now(&mut self) {
        self.next = Instant::now();
    }

    /// The next poll is due at this time or earlier.
    #[cfg(feature = "docker")]
    pub(super) fn poll_by(&mut self, time: Instant) {
        self.next = self.next.min(time);
    }

    /// Waits until the next poll is due. Returns again an interval later if no poll follows.
    /// Cancel-safe.
    pub(super) async fn due(&mut self) {
        sleep_until(self.next).await;
        self.restart();
    }

    #[cfg(all(test, feature = "ecs"))]
    pub(super) fn interval(&self) -> Duration {
        self.interval
    }

    #[cfg(all(test, feature = "ecs"))]
    pub(super) fn next_poll(&self) -> Instant {
        self.next
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const INTERVAL: Duration = Duration::from_secs(1);

    fn timer() -> PollTimer {
        PollTimer::new(INTERVAL, (2 * INTERVAL, 10 * INTERVAL))
    }

    #[tokio::test(start_paused = true)]
    async fn polls_are_rarer_while_the_engine_is_down() {
        let mut timer = timer();
        let mut waits = Vec::new();
        for _ in 0..5 {
            timer.failed();
            let before = Instant::now();
            timer.due().await;
            waits.push(before.elapsed().as_secs());
        }
        assert_eq!(waits, [2, 4, 8, 10, 10]);
        timer.succeeded(INTERVAL);
        let before = Instant::now();
        timer.due().await;
        assert_eq!(before.elapsed(), INTERVAL);
    }

    #[tokio::test(start_paused = true)]
    async fn without_a_poll_it_is_due_once_in_an_interval() {
        let mut timer = timer();
        timer.poll_now();
        let before = Instant::now();
        timer.due().await;
        assert_eq!(before.elapsed(), Duration::ZERO);
        timer.due().await;
        assert_eq!(before.elapsed(), INTERVAL);
    }
}
