//! What is found by looking every few seconds, and told as events: queues that are full, and
//! certificates that end soon.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::time::{Instant, interval};
use tracing::{error, warn};

use crate::config::Config;
use crate::model::{Failure, ListenerId, TargetGroupId};
use crate::observe::{Metrics, kind};
use crate::state::Reader;

/// From one look to the next.
const INTERVAL: Duration = Duration::from_secs(5);

/// Shortest time between two events about the queue of a group.
const QUEUE_INTERVAL: Duration = Duration::from_secs(60);

/// Before a certificate ends by less than this, it is told: ACME has renewed it long before.
const EXPIRY_WARNING: Duration = Duration::from_secs(14 * 24 * 3600);

/// What has been told.
#[derive(Debug, Default)]
struct Notices {
    queues: BTreeMap<TargetGroupId, FullQueue>,
    /// The certificates that end soon, and those that have ended, by listener, file and end.
    certificates: BTreeSet<(ListenerId, String, SystemTime, Expiry)>,
}

/// Requests of a group that found its queue full.
#[derive(Debug, Default)]
struct FullQueue {
    /// Those that were told of.
    told: u64,
    told_at: Option<Instant>,
}

/// How far a certificate is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Expiry {
    Soon,
    Over,
}

impl Expiry {
    /// `None` if the end is far.
    fn at(now: SystemTime, end: SystemTime) -> Option<Self> {
        if end <= now {
            return Some(Self::Over);
        }
        (end <= now + EXPIRY_WARNING).then_some(Self::Soon)
    }
}

/// Looks until it is dropped.
pub(super) async fn run(reader: Reader, metrics: Arc<Metrics>) {
    let (mut ticks, mut notices) = (interval(INTERVAL), Notices::default());
    loop {
        ticks.tick().await;
        let snapshot = reader.load_full();
        notices.look_at_queues(&metrics.failures(Failure::QueueFull), Instant::now());
        notices.look_at_certificates(&snapshot.config, SystemTime::now());
    }
}

impl Notices {
    fn look_at_queues(&mut self, refused: &BTreeMap<TargetGroupId, u64>, now: Instant) {
        for (group, count) in refused {
            if let Some(requests) = self.refused(group, *count, now) {
                warn!(
                    event = kind::LIMIT, %group, requests,
                    "queue of a target group is full: requests are answered with 503"
                );
            }
        }
    }

    /// How many requests found the queue full since that was told last, if it is to be told.
    fn refused(&mut self, group: &TargetGroupId, count: u64, now: Instant) -> Option<u64> {
        let queue = self.queues.entry(group.clone()).or_default();
        let is_due = queue.told_at.is_none_or(|at| now >= at + QUEUE_INTERVAL);
        let requests = count.saturating_sub(queue.told);
        if requests == 0 || !is_due {
            return None;
        }
        (queue.told, queue.told_at) = (count, Some(now));
        Some(requests)
    }

    fn look_at_certificates(&mut self, config: &Config, now: SystemTime) {
        let mut found = BTreeSet::new();
        for listener in &config.listeners {
            for certificate in listener.tls.iter().flat_map(|tls| &tls.certificates) {
                let end = certificate.not_after;
                let Some(expiry) = Expiry::at(now, end) else {
                    continue;
                };
                let notice = (
                    listener.id.clone(),
                    certificate.file.to_string(),
                    end,
                    expiry,
                );
                if !self.certificates.contains(&notice) {
                    tell(&notice, now);
                }
                found.insert(notice);
            }
        }
        self.certificates = found;
    }
}

fn tell((listener, file, end, expiry): &(ListenerId, String, SystemTime, Expiry), now: SystemTime) {
    let expires = jiff::Timestamp::try_from(*end).unwrap_or_default();
    match expiry {
        Expiry::Soon => {
            let left = end.duration_since(now).unwrap_or_default();
            let days = left.as_secs() / (24 * 3600);
            warn!(
                event = kind::CERTIFICATE, %listener, file, %expires,
                "certificate ends in {days} days, and no later one has taken its place"
            );
        }
        Expiry::Over => error!(
            event = kind::CERTIFICATE, %listener, file, %expires,
            "certificate has ended: clients refuse it"
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_queue_is_told_once_a_minute_with_what_has_come() {
        let (mut notices, begun) = (Notices::default(), Instant::now());
        let group = TargetGroupId::from("todo");
        let mut told =
            |seconds, count| notices.refused(&group, count, begun + Duration::from_secs(seconds));
        assert_eq!(told(0, 0), None);
        assert_eq!(told(5, 3), Some(3));
        assert_eq!(told(10, 9), None);
        assert_eq!(told(65, 9), Some(6));
        assert_eq!(told(200, 9), None);
    }

    #[test]
    fn a_certificate_ends_soon_and_then_has_ended() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000);
        let day = Duration::from_secs(24 * 3600);
        assert_eq!(Expiry::at(now, now + 15 * day), None);
        assert_eq!(Expiry::at(now, now + 13 * day), Some(Expiry::Soon));
        assert_eq!(Expiry::at(now, now), Some(Expiry::Over));
    }
}
