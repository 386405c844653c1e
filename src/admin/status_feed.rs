//! The status for all that follow it: the same bytes for each of them.
//!
//! A client that is slow misses some.

use bytes::Bytes;
use tokio::sync::{Notify, watch};

/// Clients at a time.
pub(super) const MAX_FOLLOWERS: usize = 256;

/// What the clients of one admin listener follow.
#[derive(Debug)]
pub(super) struct StatusFeed {
    /// The last status as an event; empty while no client follows.
    latest: watch::Sender<Bytes>,
    followed: Notify,
}

/// Follows the status.
#[derive(Debug)]
pub(super) struct StatusFollower(watch::Receiver<Bytes>);

impl Default for StatusFeed {
    fn default() -> Self {
        Self {
            latest: watch::Sender::new(Bytes::new()),
            followed: Notify::new(),
        }
    }
}

impl StatusFeed {
    /// Follows from now on; `None` if too many do.
    pub(super) fn follow(&self) -> Option<StatusFollower> {
        if self.followers() >= MAX_FOLLOWERS {
            return None;
        }
        let mut follower = self.latest.subscribe();
        // What is there already is new to this client.
        follower.mark_changed();
        self.followed.notify_one();
        Some(StatusFollower(follower))
    }

    pub(super) fn followers(&self) -> usize {
        self.latest.receiver_count()
    }

    /// Waits until a client follows. Cancel-safe.
    pub(super) async fn followed(&self) {
        while self.followers() == 0 {
            // What is there would be old for the next one.
            self.latest.send_replace(Bytes::new());
            self.followed.notified().await;
        }
    }

    /// Gives all that follow an event.
    pub(super) fn send(&self, event: Bytes) {
        self.latest.send_replace(event);
    }
}

impl StatusFollower {
    /// Waits for the next event; `None` when the listener has ended. Cancel-safe.
    pub(super) async fn next(&mut self) -> Option<Bytes> {
        loop {
            self.0.changed().await.ok()?;
            let event = self.0.borrow_and_update().clone();
            if !event.is_empty() {
                return Some(event);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_are_bounded() {
        let feed = StatusFeed::default();
        let mut followers: Vec<_> = (0..MAX_FOLLOWERS).map(|_| feed.follow().unwrap()).collect();
        assert!(feed.follow().is_none());
        followers.pop();
        assert!(feed.follow().is_some());
    }

    #[tokio::test]
    async fn a_slow_client_misses_some_and_all_have_the_same_bytes() {
        let feed = StatusFeed::default();
        let (mut quick, mut slow) = (feed.follow().unwrap(), feed.follow().unwrap());
        feed.send(Bytes::from_static(b"one"));
        assert_eq!(quick.next().await.unwrap(), "one");
        let two = Bytes::from_static(b"two");
        feed.send(two.clone());
        let (quick, slow) = (quick.next().await.unwrap(), slow.next().await.unwrap());
        assert_eq!(
            (quick.as_ptr(), slow.as_ptr()),
            (two.as_ptr(), two.as_ptr())
        );
        let mut late = feed.follow().unwrap();
        assert_eq!(
            late.next().await.unwrap(),
            "two",
            "not at the next change only"
        );
    }
}
