//! Requests in flight that two processes report to each other, so that the limit of a target
//! holds over both.
//!
//! The counts of the other process are kept by name: they are added to a target that this
//! process does not know yet (its lookup is not answered) as soon as it does.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::message::{HandoverMessage, InFlight, Outbox};
use crate::model::{Endpoint, TargetGroupId};
use crate::state::{Reader, Snapshot};
use crate::target::{RemoteLeases, Target};

/// Targets in one message: far below the most that a message holds.
const PER_MESSAGE: usize = 200;

/// A target, by the names that both processes use.
type Key = (TargetGroupId, Endpoint);

/// The requests that another process has in flight, by its reports. Clones share the counts.
#[derive(Clone, Debug, Default)]
pub(in crate::server) struct RemoteCounts(Arc<Mutex<Counts>>);

#[derive(Debug, Default)]
struct Counts {
    /// As reported, without those that are 0.
    reported: HashMap<Key, u32>,
    /// Of those, the ones that are added to a target of this process.
    added: HashMap<Key, RemoteLeases>,
}

impl RemoteCounts {
    /// Notes a report of the other process.
    pub(super) fn update(&self, report: Vec<InFlight>) {
        let mut counts = self.lock();
        for InFlight {
            group,
            target,
            count,
        } in report
        {
            let key = (group.as_str().into(), target);
            if count == 0 {
                counts.reported.remove(&key);
                counts.added.remove(&key);
            } else {
                counts.reported.insert(key, count);
            }
        }
    }

    /// Adds the counts to the targets of this process. Cheap if there are none.
    pub(in crate::server) fn apply(&self, reader: &Reader) {
        let mut counts = self.lock();
        let Counts { reported, added } = &mut *counts;
        if reported.is_empty() {
            return;
        }
        let snapshot = reader.load_full();
        for (key, target) in targets(&snapshot) {
            let Some(count) = reported.get(&key) else {
                continue;
            };
            let is_added = added
                .get(&key)
                .is_some_and(|known| known.target().serial == target.serial);
            if !is_added {
                added.insert(key.clone(), RemoteLeases::on(target));
            }
            if let Some(elsewhere) = added.get_mut(&key) {
                elsewhere.set(*count);
            }
        }
    }

    /// Removes all counts: the other process has no requests in flight any more.
    pub(super) fn clear(&self) {
        *self.lock() = Counts::default();
    }

    fn lock(&self) -> MutexGuard<'_, Counts> {
        // A panic cannot leave the maps in an illegal state.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Reports this process's requests in flight to the other one.
#[derive(Debug, Default)]
pub(super) struct Reporter {
    reported: HashMap<Key, u32>,
}

impl Reporter {
    /// The counts that have changed since the last report, in parts that fit into a message.
    /// The counts of `remote` are not included: they are the other process's own.
    pub(super) fn report(&mut self, reader: &Reader, remote: &RemoteCounts) -> Vec<Vec<InFlight>> {
        let remote = remote.lock();
        let theirs = |key: &Key, target: &Arc<Target>| {
            let known = remote.added.get(key);
            let known = known.filter(|known| known.target().serial == target.serial);
            known.map_or(0, RemoteLeases::count)
        };
        let snapshot = reader.load_full();
        let now: HashMap<Key, u32> = targets(&snapshot)
            .filter(|(_, target)| target.load().in_flight() > 0)
            .map(|(key, target)| {
                let own = target
                    .load()
                    .in_flight()
                    .saturating_sub(theirs(&key, target));
                (key, own)
            })
            .filter(|(_, own)| *own > 0)
            .collect();
        let ended = self.reported.keys().filter(|key| !now.contains_key(key));
        let mut changed: Vec<InFlight> = ended.map(|key| in_flight(key, 0)).collect();
        changed.extend(
            now.iter()
                .filter(|(key, count)| self.reported.get(key) != Some(count))
                .map(|(key, count)| in_flight(key, *count)),
        );
        self.reported = now;
        changed.chunks(PER_MESSAGE).map(<[_]>::to_vec).collect()
    }

    /// Sends a report. If too many messages wait, its counts are sent with the next one.
    pub(super) fn send(&mut self, reader: &Reader, remote: &RemoteCounts, outbox: &Outbox) {
        for part in self.report(reader, remote) {
            if !outbox.try_send(HandoverMessage::InFlight(part)) {
                self.forget();
                break;
            }
        }
    }

    /// Includes all counts in the next report: the last one was not sent.
    fn forget(&mut self) {
        for count in self.reported.values_mut() {
            *count = u32::MAX;
        }
    }
}

fn in_flight((group, target): &Key, count: u32) -> InFlight {
    InFlight {
        group: group.to_string(),
        target: target.clone(),
        count,
    }
}

fn targets(snapshot: &Snapshot) -> impl Iterator<Item = (Key, &Arc<Target>)> {
    snapshot
        .groups()
        .iter()
        .flat_map(|group| group.targets.iter())
        .map(|registered| {
            let target = &registered.target;
            ((target.id.group.clone(), target.id.addr.clone()), target)
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{TargetAddress, TargetGroup, TargetSpec};
    use crate::state::fixture::{config, empty_group, publish};

    const A: &str = "127.0.0.1:6400";
    const B: &str = "127.0.0.1:6401";

    fn group_of(targets: &[&str]) -> TargetGroup {
        let targets = targets.iter().map(|addr| TargetSpec {
            address: TargetAddress::Socket(addr.parse().unwrap()),
            weight: 1,
        });
        TargetGroup {
            targets: targets.collect(),
            ..empty_group()
        }
    }

    fn counts(report: Vec<Vec<InFlight>>) -> Vec<(String, u32)> {
        let report = report.into_iter().flatten();
        let mut counts: Vec<_> = report
            .map(|entry| (entry.target.to_string(), entry.count))
            .collect();
        counts.sort();
        counts
    }

    fn reported(target: &str, count: u32) -> Vec<InFlight> {
        vec![InFlight {
            group: "todo".to_owned(),
            target: target.parse().unwrap(),
            count,
        }]
    }

    fn target(reader: &Reader, addr: &str) -> Arc<Target> {
        let addr: Endpoint = addr.parse().unwrap();
        let snapshot = reader.load_full();
        let mut found = targets(&snapshot);
        let (_, target) = found.find(|((_, target), _)| *target == addr).unwrap();
        Arc::clone(target)
    }

    #[tokio::test]
    async fn a_report_has_the_changes_without_the_counts_of_the_other_process() {
        let (_publisher, reader) = publish(vec![group_of(&[A, B])]).await;
        let (a, remote) = (target(&reader, A), RemoteCounts::default());
        let mut reporter = Reporter::default();
        assert_eq!(counts(reporter.report(&reader, &remote)), []);
        let lease = a.lease();
        remote.update(reported(A, 5));
        remote.apply(&reader);
        assert_eq!(a.load().in_flight(), 6);
        assert_eq!(
            counts(reporter.report(&reader, &remote)),
            [(A.to_owned(), 1)]
        );
        assert_eq!(counts(reporter.report(&reader, &remote)), []);
        reporter.forget();
        assert_eq!(
            counts(reporter.report(&reader, &remote)),
            [(A.to_owned(), 1)]
        );
        drop(lease);
        assert_eq!(
            counts(reporter.report(&reader, &remote)),
            [(A.to_owned(), 0)]
        );
        assert_eq!(counts(reporter.report(&reader, &remote)), []);
    }

    #[tokio::test]
    async fn a_reported_count_is_added_once_its_target_is_known() {
        let (publisher, reader) = publish(vec![group_of(&[A])]).await;
        let remote = RemoteCounts::default();
        remote.update(reported(B, 3));
        remote.apply(&reader);
        let both = config(vec![group_of(&[A, B])]);
        publisher.configure(both).await.unwrap();
        let b = target(&reader, B);
        assert_eq!(b.load().in_flight(), 0);
        remote.apply(&reader);
        assert_eq!(b.load().in_flight(), 3);
        remote.update(reported(B, 1));
        remote.apply(&reader);
        assert_eq!(b.load().in_flight(), 1);
        remote.clear();
        assert_eq!(b.load().in_flight(), 0);
    }
}
