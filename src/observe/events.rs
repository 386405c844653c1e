//! What has happened: a bounded journal of the events that operators look for.
//!
//! A line of the log that has a field `event`, with a name of [`kind`], is an event: the line and
//! the entry of the journal are one call. The levels of the log do not concern the journal.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use tokio::sync::watch;

/// Events that are kept: some megabytes at most.
pub const KEPT_EVENTS: usize = 10_000;

/// Most that follow the journal at a time.
const MAX_FOLLOWERS: usize = 128;

/// Events that a follower gets at a time.
const BATCH: usize = 100;

/// The kinds of events.
pub mod kind {
    /// A target is healthy, or is not any more.
    pub const HEALTH: &str = "health";
    /// Outlier detection ejects a target, readmits it, or may not eject it.
    pub const EJECTION: &str = "ejection";
    /// A group has too few healthy targets, or enough again.
    pub const FAIL_OPEN: &str = "fail_open";
    /// A configuration comes into force, or is refused.
    pub const RELOAD: &str = "reload";
    /// A target drains, or has drained.
    pub const DRAIN: &str = "drain";
    /// A target is changed at run time.
    pub const TARGET: &str = "target";
    /// The desired count of a group changes.
    pub const SCALING: &str = "scaling";
    /// A replica starts, exits, or cannot be started; or what runs them fails.
    pub const REPLICA: &str = "replica";
    /// A name or a file has other targets, or cannot be used.
    pub const DISCOVERY: &str = "discovery";
    /// A certificate is ordered, or none was given.
    pub const CERTIFICATE: &str = "certificate";
    /// A limit is reached, or the log cannot be written.
    pub const LIMIT: &str = "limit";
    /// Another process takes this one's place.
    pub const HANDOVER: &str = "handover";
    /// The process is ready, or stops.
    pub const PROCESS: &str = "process";
    /// Something is changed through the admin API.
    pub const ADMIN: &str = "admin";

    /// All of them.
    pub const ALL: [&str; 14] = [
        HEALTH,
        EJECTION,
        FAIL_OPEN,
        RELOAD,
        DRAIN,
        TARGET,
        SCALING,
        REPLICA,
        DISCOVERY,
        CERTIFICATE,
        LIMIT,
        HANDOVER,
        PROCESS,
        ADMIN,
    ];
}

/// Something that has happened.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Event {
    /// Counts up by one with each event of this process, from 1.
    pub sequence: u64,
    /// When it happened.
    pub at: Timestamp,
    /// What has happened: `health`, `ejection`, `fail_open`, `reload`, `drain`, `target`,
    /// `scaling`, `replica`, `discovery`, `certificate`, `limit`, `handover`, `process` or `admin`.
    pub kind: String,
    /// `info`, `warning` or `error`.
    pub severity: String,
    /// The listener that it concerns.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub listener: Option<String>,
    /// The target group that it concerns.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
    /// The target that it concerns.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
    /// The replica that it concerns, by its number or name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replica: Option<String>,
    /// What the line of the log says.
    pub text: String,
    /// Its other fields.
    pub details: Map<String, Value>,
}

/// Which events are wanted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    /// Their kinds; all of them if it is empty.
    pub kinds: Vec<String>,
    /// The group that they concern; `None` for any, or none.
    pub group: Option<String>,
}

impl Wanted {
    fn has(&self, event: &Event) -> bool {
        let is_kind = self.kinds.is_empty() || self.kinds.contains(&event.kind);
        is_kind && (self.group.is_none() || self.group == event.group)
    }
}

/// The last events of this process.
#[derive(Debug)]
pub struct Journal {
    kept: Mutex<VecDeque<Arc<Event>>>,
    /// The number of the last event.
    last: watch::Sender<u64>,
    followers: AtomicUsize,
    /// Followers that were too slow.
    lost: AtomicUsize,
}

static JOURNAL: LazyLock<Journal> = LazyLock::new(Journal::new);

/// The journal of this process.
pub fn journal() -> &'static Journal {
    &JOURNAL
}

impl Journal {
    fn new() -> Self {
        Self {
            kept: Mutex::default(),
            last: watch::Sender::new(0),
            followers: AtomicUsize::new(0),
            lost: AtomicUsize::new(0),
        }
    }

    /// Adds an event, and gives it its number.
    pub(super) fn add(&self, event: Event) {
        let mut kept = self.lock();
        let sequence = *self.last.borrow() + 1;
        if kept.len() >= KEPT_EVENTS {
            kept.pop_front();
        }
        kept.push_back(Arc::new(Event { sequence, ..event }));
        // Under the lock, so that numbers go up.
        self.last.send_replace(sequence);
    }

    /// The number of the last event; 0 before the first.
    pub fn last(&self) -> u64 {
        *self.last.borrow()
    }

    /// The number of the oldest event that is kept.
    pub fn oldest(&self) -> u64 {
        self.lock().front().map_or(1, |event| event.sequence)
    }

    /// The first `most` events after number `since`, oldest first.
    pub fn after(&self, since: u64, wanted: &Wanted, most: usize) -> Vec<Arc<Event>> {
        let kept = self.lock();
        let from = kept.partition_point(|event| event.sequence <= since);
        let later = kept.iter().skip(from).filter(|event| wanted.has(event));
        later.take(most).cloned().collect()
    }

    /// The last `most` events, oldest first.
    pub fn newest(&self, wanted: &Wanted, most: usize) -> Vec<Arc<Event>> {
        let kept = self.lock();
        let newest = kept.iter().rev().filter(|event| wanted.has(event));
        let mut newest: Vec<_> = newest.take(most).cloned().collect();
        newest.reverse();
        newest
    }

    /// Follows the journal from the event after number `since`; `None` if too many do.
    pub fn follow(&'static self, since: u64, wanted: Wanted) -> Option<Follower> {
        let add = |count| (count < MAX_FOLLOWERS).then_some(count + 1);
        let followers = &self.followers;
        let added = followers.fetch_update(Ordering::Relaxed, Ordering::Relaxed, add);
        added.ok().map(|_| Follower {
            journal: self,
            since,
            wanted,
            last: self.last.subscribe(),
        })
    }

    /// How many follow the journal, and how many were too slow since the start.
    pub fn followers(&self) -> (usize, usize) {
        let load = |count: &AtomicUsize| count.load(Ordering::Relaxed);
        (load(&self.followers), load(&self.lost))
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<Arc<Event>>> {
        // A panic leaves every entry whole.
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Follows the journal. It has no queue of its own: one that is slow reads later.
#[derive(Debug)]
pub struct Follower {
    journal: &'static Journal,
    since: u64,
    wanted: Wanted,
    last: watch::Receiver<u64>,
}

impl Follower {
    /// Waits for events; `None` if it was so slow that some are gone. Cancel-safe.
    pub async fn next(&mut self) -> Option<Vec<Arc<Event>>> {
        loop {
            let last = *self.last.borrow_and_update();
            if self.since + 1 < self.journal.oldest() {
                self.journal.lost.fetch_add(1, Ordering::Relaxed);
                return None;
            }
            let events = self.journal.after(self.since, &self.wanted, BATCH);
            match events.last() {
                Some(event) => {
                    self.since = event.sequence;
                    return Some(events);
                }
                None => self.since = self.since.max(last),
            }
            // The sender lives as long as the process.
            let _ = self.last.changed().await;
        }
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        self.journal.followers.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn journal(events: usize) -> &'static Journal {
        let journal: &'static Journal = Box::leak(Box::new(Journal::new()));
        for n in 0..events {
            add(journal, n);
        }
        journal
    }

    fn add(journal: &Journal, n: usize) {
        journal.add(Event {
            kind: [kind::HEALTH, kind::DRAIN][n % 2].to_owned(),
            group: Some(["a", "b", "c"][n % 3].to_owned()),
            ..Event::default()
        });
    }

    fn numbers(events: &[Arc<Event>]) -> Vec<u64> {
        events.iter().map(|event| event.sequence).collect()
    }

    #[test]
    fn the_newest_are_kept() {
        let journal = journal(KEPT_EVENTS + 5);
        assert_eq!((journal.oldest(), journal.last()), (6, 10_005));
        assert_eq!(numbers(&journal.after(0, &Wanted::default(), 2)), [6, 7]);
        let newest = journal.newest(&Wanted::default(), 2);
        assert_eq!(numbers(&newest), [10_004, 10_005]);
        assert_eq!(
            numbers(&journal.after(10_004, &Wanted::default(), 9)),
            [10_005]
        );
    }

    #[test]
    fn kinds_and_groups_are_chosen() {
        let journal = journal(12);
        let wanted = Wanted {
            kinds: vec![kind::DRAIN.to_owned()],
            group: Some("a".to_owned()),
        };
        assert_eq!(numbers(&journal.after(0, &wanted, 9)), [4, 10]);
        assert_eq!(numbers(&journal.newest(&wanted, 1)), [10]);
    }

    #[tokio::test]
    async fn a_follower_gets_what_comes_and_a_slow_one_is_told() {
        let journal = journal(3);
        let mut follower = journal.follow(1, Wanted::default()).unwrap();
        assert_eq!(numbers(&follower.next().await.unwrap()), [2, 3]);
        let next = tokio::spawn(async move {
            let events = follower.next().await;
            (events, follower)
        });
        add(journal, 3);
        let (events, mut follower) = next.await.unwrap();
        assert_eq!(numbers(&events.unwrap()), [4]);
        (0..=KEPT_EVENTS).for_each(|n| add(journal, n));
        assert_eq!(follower.next().await, None);
        assert_eq!(journal.followers(), (1, 1));
    }

    #[test]
    fn followers_are_bounded() {
        let journal = journal(0);
        let follow = || journal.follow(0, Wanted::default());
        let mut followers: Vec<_> = (0..MAX_FOLLOWERS).map(|_| follow().unwrap()).collect();
        assert!(follow().is_none());
        followers.pop();
        assert!(follow().is_some());
    }
}
