//! How slowly a peer may send or accept a body. Only the time in which the peer is waited for
//! counts: a fast peer is not blamed for a slow one on the other side.

use std::num::NonZeroU32;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::Instant;

use super::timer::Timer;
use crate::model::BODY_MIN_RATE_GRACE;

/// How many bytes of a body a peer has sent or accepted, and how long it was waited for.
#[derive(Debug)]
pub struct Pace {
    /// Longest time without a byte.
    stall: Duration,
    /// Bytes per second; `None` sets no limit.
    min_rate: Option<NonZeroU32>,
    moved: u64,
    /// In all, in waits that have ended.
    waited: Duration,
    /// When the wait of now began; `None` while the peer is not waited for.
    since: Option<Instant>,
    timer: Timer,
}

impl Pace {
    /// For a body of which nothing has moved. `stall` is the longest wait for a byte, `min_rate`
    /// the fewest bytes per second of waiting, once [`BODY_MIN_RATE_GRACE`] was waited in all;
    /// `None` sets no limit.
    pub fn new(stall: Duration, min_rate: Option<NonZeroU32>) -> Self {
        Self {
            stall,
            min_rate,
            moved: 0,
            waited: Duration::ZERO,
            since: None,
            timer: Timer::default(),
        }
    }

    /// Notes that the peer is not waited for any more.
    pub fn arrived(&mut self) {
        if let Some(since) = self.since.take() {
            self.waited += since.elapsed();
        }
    }

    /// Notes that the peer has sent or accepted `count` bytes, which ends the wait for them.
    pub fn moved(&mut self, count: usize) {
        if count == 0 {
            return;
        }
        self.moved += count as u64;
        self.arrived();
    }

    /// To be polled while the peer is waited for; the first poll begins the wait. Ready once the
    /// peer has stalled, or is slower than the least rate.
    pub fn poll_too_slow(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let since = *self.since.get_or_insert_with(Instant::now);
        let mut allowed = self.stall;
        if let Some(rate) = self.min_rate {
            let enough = Duration::from_secs(self.moved / u64::from(rate.get()));
            let grace = enough.max(BODY_MIN_RATE_GRACE);
            allowed = allowed.min(grace.saturating_sub(self.waited));
        }
        self.timer.poll(cx, since + allowed)
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use tokio::time::sleep;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    const RATE: Option<NonZeroU32> = NonZeroU32::new(500);

    async fn lasts(pace: &mut Pace) -> u64 {
        let begun = Instant::now();
        poll_fn(|cx| pace.poll_too_slow(cx)).await;
        (begun.elapsed() + SECOND / 2).as_secs()
    }

    #[tokio::test(start_paused = true)]
    async fn a_peer_that_does_nothing_is_waited_for_as_long_as_a_stall_may_last() {
        assert_eq!(lasts(&mut Pace::new(5 * SECOND, RATE)).await, 5);
        assert_eq!(lasts(&mut Pace::new(60 * SECOND, RATE)).await, 10);
        assert_eq!(lasts(&mut Pace::new(60 * SECOND, None)).await, 60);
    }

    #[tokio::test(start_paused = true)]
    async fn a_trickle_is_too_slow_after_the_grace_and_a_fast_peer_may_pause() {
        let mut trickle = Pace::new(60 * SECOND, RATE);
        for _ in 0..9 {
            let too_slow = poll_fn(|cx| Poll::Ready(trickle.poll_too_slow(cx).is_ready())).await;
            assert!(!too_slow);
            sleep(SECOND).await;
            trickle.moved(1);
        }
        assert_eq!(lasts(&mut trickle).await, 1);
        let mut fast = Pace::new(60 * SECOND, RATE);
        fast.moved(500 * 30);
        assert_eq!(lasts(&mut fast).await, 30);
    }
}
