//! The clock of the data plane: one reading serves all that happens at the same moment.
//!
//! What handles a request reads it when something has been waited for: the request's head, the head
//! and the end of its response. What follows without a wait takes that reading over.

use std::cell::Cell;

use tokio::time::Instant;

thread_local! {
    static LAST: Cell<Option<Instant>> = const { Cell::new(None) };
}

/// Reads the clock.
pub fn now() -> Instant {
    let now = Instant::now();
    LAST.set(Some(now));
    now
}

/// The last reading of this thread. To be used only where [`now`] was called a moment before,
/// without a wait in between: it may be as old as the thread otherwise.
pub fn last() -> Instant {
    LAST.get().unwrap_or_else(now)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_last_reading_stays_until_the_next() {
        let (first, second) = (now(), Duration::from_secs(1));
        tokio::time::advance(second).await;
        assert_eq!(last(), first);
        assert_eq!(now(), first + second);
        assert_eq!(last(), first + second);
    }
}
