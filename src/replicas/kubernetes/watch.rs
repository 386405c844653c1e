//! News of the slices of a service, as the API server sends them.

use std::pin::Pin;
use std::time::Duration;

use futures_util::{Stream, StreamExt};
use kube::api::WatchEvent;
use serde::de::IgnoredAny;
use tokio::time::{Instant, sleep_until};
use tracing::debug;

use super::cluster::Cluster;

/// After which the server ends a watch, and it is opened again.
const DURATION: Duration = Duration::from_secs(290);

/// More than that, and the connection is dead.
const PATIENCE: Duration = Duration::from_secs(10);

/// Between two tries to open one.
const AGAIN: Duration = Duration::from_secs(2);

/// Tells that something has changed, whatever it was.
pub(super) type Events = Pin<Box<dyn Stream<Item = kube::Result<WatchEvent<IgnoredAny>>> + Send>>;

/// A watch that is opened when somebody waits for news.
#[derive(Default)]
pub(super) struct Watch {
    open: Option<(Events, Instant)>,
    /// When one may be opened; `None` is at once.
    from: Option<Instant>,
}

impl Watch {
    /// Until something is said of the slices, or the watch has ended and they have to be
    /// listed again. Pends while there is none and nobody to open one at.
    ///
    /// Cancel-safe: an event that is taken off the stream is told at once.
    pub(super) async fn news(&mut self, watched: Option<(&Cluster, &str, &str)>) {
        if self.open.is_none() {
            if let Some(from) = self.from {
                sleep_until(from).await;
            }
            let Some((cluster, service, version)) = watched else {
                return std::future::pending().await;
            };
            // Whatever comes of it.
            self.from = Some(Instant::now() + AGAIN);
            match cluster.watch(service, version, DURATION).await {
                Ok(events) => *self = Self::of(events),
                Err(error) => {
                    debug!(%error, "no watch");
                    return;
                }
            }
        }
        self.next().await;
    }

    pub(super) fn of(events: Events) -> Self {
        let now = Instant::now();
        Self {
            open: Some((events, now + DURATION + PATIENCE)),
            from: Some(now + AGAIN),
        }
    }

    async fn next(&mut self) {
        while let Some((events, until)) = &mut self.open {
            let event = tokio::select! {
                event = events.next() => event,
                () = sleep_until(*until) => None,
            };
            match event {
                Some(Ok(
                    WatchEvent::Added(_) | WatchEvent::Modified(_) | WatchEvent::Deleted(_),
                )) => return,
                Some(Ok(WatchEvent::Bookmark(_))) => {}
                // The server has ended it, or the version is too old for it.
                Some(Ok(WatchEvent::Error(_)) | Err(_)) | None => self.open = None,
            }
        }
    }
}

#[cfg(test)]
pub(super) mod fixture {
    use futures_util::stream;

    use super::*;

    /// So many changes at once, and then nothing.
    pub(in super::super) fn modified(count: usize) -> Events {
        let event = || Ok(WatchEvent::Modified(IgnoredAny));
        let events = stream::repeat_with(event).take(count);
        Box::pin(events.chain(silent()))
    }

    pub(in super::super) fn silent() -> Events {
        Box::pin(stream::pending())
    }

    /// Ends at once, with what the server says then.
    pub(super) fn ended(last: Option<kube::Result<WatchEvent<IgnoredAny>>>) -> Events {
        Box::pin(stream::iter(last))
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::timeout;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_watch_that_ends_is_news_and_so_is_one_that_has_died() {
        let gone = kube::core::Status::failure("too old", "Expired");
        let ends = [
            None,
            Some(Ok(WatchEvent::Error(Box::new(gone)))),
            Some(Err(kube::Error::LinesCodecMaxLineLengthExceeded)),
        ];
        for end in ends {
            let mut watch = Watch::of(fixture::ended(end));
            timeout(PATIENCE, watch.news(None)).await.expect("news");
            assert!(watch.open.is_none());
            assert!(watch.from.is_some_and(|from| from > Instant::now()));
        }
        let start = Instant::now();
        let mut dead = Watch::of(fixture::silent());
        dead.news(None).await;
        assert_eq!(start.elapsed(), DURATION + PATIENCE);
        assert!(dead.open.is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn without_a_watch_nothing_is_told() {
        let mut watch = Watch::default();
        assert!(timeout(DURATION, watch.news(None)).await.is_err());
    }
}
