//! Watches the slices of a service, so that a change of the pods is seen at once.

use std::time::Duration;

use futures_util::StreamExt;
use kube::api::WatchEvent;
use tokio::time::{Instant, sleep_until};
use tracing::debug;

use super::cluster::{Cluster, Events};

/// After this time the server ends a watch, and it is opened again.
const WATCH_DURATION: Duration = Duration::from_secs(290);

/// How much later than that the watch is given up: the connection is broken.
const END_TIMEOUT: Duration = Duration::from_secs(10);

/// Between two attempts to open one.
const OPEN_INTERVAL: Duration = Duration::from_secs(2);

/// A watch, which is opened by the first call that waits for a change.
#[derive(Default)]
pub(super) struct SliceWatch {
    open: Option<OpenWatch>,
    /// When the next one may be opened; `None` stands for now.
    open_at: Option<Instant>,
}

struct OpenWatch {
    events: Events,
    ends_at: Instant,
}

impl SliceWatch {
    /// Waits until a slice has changed, or until the watch has ended and the slices have to be
    /// listed again. Without an open watch and a server to open one at it never completes.
    ///
    /// Cancel-safe: the call returns with the event that it takes off the stream.
    pub(super) async fn changed(&mut self, watched: Option<(&Cluster, &str, &str)>) {
        if self.open.is_none() {
            if let Some(open_at) = self.open_at {
                sleep_until(open_at).await;
            }
            let Some((cluster, service, version)) = watched else {
                return std::future::pending().await;
            };
            // Also if it fails.
            self.open_at = Some(Instant::now() + OPEN_INTERVAL);
            match cluster.watch(service, version, WATCH_DURATION).await {
                Ok(events) => *self = Self::open(events),
                Err(error) => {
                    debug!(%error, "cannot watch endpoint slices, polling them");
                    return;
                }
            }
        }
        self.next().await;
    }

    pub(super) fn open(events: Events) -> Self {
        let now = Instant::now();
        Self {
            open: Some(OpenWatch {
                events,
                ends_at: now + WATCH_DURATION + END_TIMEOUT,
            }),
            open_at: Some(now + OPEN_INTERVAL),
        }
    }

    async fn next(&mut self) {
        while let Some(OpenWatch { events, ends_at }) = &mut self.open {
            let event = tokio::select! {
                event = events.next() => event,
                () = sleep_until(*ends_at) => None,
            };
            match event {
                Some(Ok(
                    WatchEvent::Added(_) | WatchEvent::Modified(_) | WatchEvent::Deleted(_),
                )) => return,
                Some(Ok(WatchEvent::Bookmark(_))) => {}
                // The server has ended the watch, or the version is too old for it.
                Some(Ok(WatchEvent::Error(_)) | Err(_)) | None => self.open = None,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::timeout;

    use super::super::fixture;
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_end_of_a_watch_is_a_change_and_so_is_a_broken_connection() {
        let expired = kube::core::Status::failure("too old", "Expired");
        let ends = [
            None,
            Some(Ok(WatchEvent::Error(Box::new(expired)))),
            Some(Err(kube::Error::LinesCodecMaxLineLengthExceeded)),
        ];
        for end in ends {
            let mut watch = SliceWatch::open(fixture::ended(end));
            timeout(END_TIMEOUT, watch.changed(None))
                .await
                .expect("a change");
            assert!(watch.open.is_none());
            assert!(watch.open_at.is_some_and(|at| at > Instant::now()));
        }
        let start = Instant::now();
        let mut broken = SliceWatch::open(fixture::silent());
        broken.changed(None).await;
        assert_eq!(start.elapsed(), WATCH_DURATION + END_TIMEOUT);
        assert!(broken.open.is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn without_a_watch_no_change_is_reported() {
        let mut watch = SliceWatch::default();
        assert!(timeout(WATCH_DURATION, watch.changed(None)).await.is_err());
    }
}
