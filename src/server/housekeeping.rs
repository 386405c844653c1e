//! What each thread does about once a second: it closes idle upstream connections and gives
//! memory back.

use std::time::{Duration, Instant};

use crate::state::Reader;

/// Time between two rounds of a thread.
pub(super) const INTERVAL: Duration = Duration::from_secs(1);

/// The rounds of the control thread: rate limiters forget clients with all their tokens,
/// then `housekeeping` is called.
pub(super) async fn run(reader: Reader, housekeeping: fn()) {
    let mut ticks = tokio::time::interval(INTERVAL);
    loop {
        ticks.tick().await;
        for listener in reader.load_full().listeners() {
            if let Some(limiter) = &listener.rate_limit {
                limiter.sweep(Instant::now());
            }
        }
        housekeeping();
    }
}
