//! The status as a stream: written once a second at most, whatever the number of clients.
//!
//! While clients follow, each admin listener writes the status once a second, and if anything in
//! it has changed but the time, all of them get the same bytes. What all of them get together is
//! bounded, so that a hundred dashboards of a thousand targets slow nothing: the more it is, the
//! rarer the status is sent.

use std::convert::Infallible;
use std::time::Duration;

use bytes::Bytes;
use jiff::Timestamp;
use tokio::time::sleep;

use super::call::Call;
use super::context::Context;
use super::event_stream::{self, Source};
use super::findings;
use super::operation::Answer;
use super::problem::Kind;
use super::status::Status;
use super::status_feed::{StatusFeed, StatusFollower};
use crate::model::escape_json;

/// From one status to the next.
const INTERVAL: Duration = Duration::from_secs(1);

/// Bytes within a second, to all clients together: a hundredth of a core copies as much.
const MAX_RATE: usize = 16 * 1024 * 1024;

/// The status from now on.
pub(super) fn follow(call: &Call) -> Answer {
    let too_many = || {
        let detail = "as many clients follow the status as may at a time";
        Kind::TooManyStreams.because(detail).retry_after(10)
    };
    let follower = call.feed.follow().ok_or_else(too_many)?;
    Ok(event_stream::response(follower, call))
}

impl Source for StatusFollower {
    async fn next(&mut self) -> Option<Bytes> {
        StatusFollower::next(self).await
    }
}

/// Writes the status while clients follow it.
pub(super) async fn run(feed: &StatusFeed, context: &Context) -> Infallible {
    loop {
        feed.followed().await;
        let mut known = None;
        while feed.followers() > 0 {
            let status = findings::status(context);
            let event = written(&status);
            let size = event.len();
            let lasting = without_times(status);
            if known.as_ref() != Some(&lasting) {
                known = Some(lasting);
                feed.send(event);
            }
            sleep(pause(size, feed.followers())).await;
        }
    }
}

fn written(status: &Status) -> Bytes {
    // Structs of texts and numbers are always written, in one line.
    let json = serde_json::to_string(status).unwrap_or_default();
    let event = format!("event: status\ndata: {}\n\n", escape_json(&json));
    Bytes::from(event)
}

/// The status without what changes all the time and says nothing.
fn without_times(mut status: Status) -> Status {
    status.now = Timestamp::default();
    status.uptime = Duration::ZERO;
    status.process.memory_bytes = None;
    for listener in &mut status.listeners {
        listener.limit_reached = None;
    }
    for group in &mut status.target_groups {
        group.minute.seconds = 0.0;
        for target in &mut group.targets {
            target.minute.seconds = 0.0;
        }
    }
    status
}

/// How long to wait after a status of so many bytes.
fn pause(size: usize, followers: usize) -> Duration {
    let sent = size.saturating_mul(followers) as f64;
    INTERVAL.max(Duration::from_secs_f64(sent / MAX_RATE as f64))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_clients_of_a_long_status_get_it_more_rarely() {
        assert_eq!(pause(20_000, 100), INTERVAL);
        assert_eq!(pause(0, 0), INTERVAL);
        assert_eq!(pause(4 * MAX_RATE, 2), Duration::from_secs(8));
    }
}
