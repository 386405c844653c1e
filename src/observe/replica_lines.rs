//! What replicas print: the last lines of each, of those that run and of those that have stopped
//! lately. The levels of the log do not concern them.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

/// Lines that are kept of a replica, and their bytes.
const KEPT_LINES: usize = 200;
const KEPT_BYTES: usize = 64 * 1024;

/// Replicas of which lines are kept: with their bytes they bound the memory.
const KEPT_REPLICAS: usize = 256;

/// Most that follow the lines at a time.
const MAX_FOLLOWERS: usize = 32;

/// Lines that a follower gets at a time.
const BATCH: usize = 200;

/// A line that a replica has printed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct ReplicaLine {
    /// Counts up by one with each line of any replica, from 1.
    pub sequence: u64,
    /// When it was read.
    pub at: Timestamp,
    /// The target group of the replica.
    pub group: String,
    /// The number of the replica.
    pub replica: u64,
    /// `stdout` or `stderr`; `weir` of a line which says how many were left out.
    pub stream: String,
    /// Without its end.
    pub text: String,
}

/// Which lines are wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WantedLines {
    /// Of this group.
    pub group: String,
    /// Of this replica; `None` for all.
    pub replica: Option<u64>,
}

/// The last lines of replicas.
#[derive(Debug)]
pub struct ReplicaLines {
    /// By group and number.
    replicas: Mutex<BTreeMap<(String, u64), Kept>>,
    /// The number of the last line.
    last: watch::Sender<u64>,
    followers: AtomicUsize,
}

/// The last lines of a replica; there is one at least.
#[derive(Debug, Default)]
struct Kept {
    lines: VecDeque<Arc<ReplicaLine>>,
    bytes: usize,
}

static LINES: LazyLock<ReplicaLines> = LazyLock::new(ReplicaLines::new);

/// The lines of the replicas of this process.
pub fn replica_lines() -> &'static ReplicaLines {
    &LINES
}

impl Kept {
    fn add(&mut self, line: ReplicaLine) {
        self.bytes += line.text.len();
        self.lines.push_back(Arc::new(line));
        while self.lines.len() > KEPT_LINES || (self.bytes > KEPT_BYTES && self.lines.len() > 1) {
            if let Some(oldest) = self.lines.pop_front() {
                self.bytes -= oldest.text.len();
            }
        }
    }

    /// The lines after number `since`.
    fn after(&self, since: u64) -> impl Iterator<Item = &Arc<ReplicaLine>> {
        let from = self.lines.partition_point(|line| line.sequence <= since);
        self.lines.range(from..)
    }

    fn last(&self) -> u64 {
        self.lines.back().map_or(0, |line| line.sequence)
    }
}

impl ReplicaLines {
    fn new() -> Self {
        Self {
            replicas: Mutex::default(),
            last: watch::Sender::new(0),
            followers: AtomicUsize::new(0),
        }
    }

    /// Adds a line, which is of bounded length.
    pub fn add(&self, group: &str, replica: u64, stream: &str, text: &str) {
        let mut replicas = self.lock();
        let sequence = *self.last.borrow() + 1;
        let key = (group.to_owned(), replica);
        if replicas.len() >= KEPT_REPLICAS && !replicas.contains_key(&key) {
            forget_one(&mut replicas);
        }
        replicas.entry(key).or_default().add(ReplicaLine {
            sequence,
            at: Timestamp::now(),
            group: group.to_owned(),
            replica,
            stream: stream.to_owned(),
            text: text.to_owned(),
        });
        // Under the lock, so that numbers go up.
        self.last.send_replace(sequence);
    }

    /// The number of the last line; 0 before the first.
    pub fn last(&self) -> u64 {
        *self.last.borrow()
    }

    /// The first `most` lines after number `since`, oldest first.
    pub fn after(&self, since: u64, wanted: &WantedLines, most: usize) -> Vec<Arc<ReplicaLine>> {
        let mut lines = self.wanted(since, wanted);
        lines.truncate(most);
        lines
    }

    /// The last `most` lines, oldest first.
    pub fn newest(&self, wanted: &WantedLines, most: usize) -> Vec<Arc<ReplicaLine>> {
        let mut lines = self.wanted(0, wanted);
        lines.split_off(lines.len().saturating_sub(most))
    }

    fn wanted(&self, since: u64, wanted: &WantedLines) -> Vec<Arc<ReplicaLine>> {
        let replicas = self.lock();
        let (first, last) = match wanted.replica {
            Some(replica) => (replica, replica),
            None => (0, u64::MAX),
        };
        let own = replicas.range((wanted.group.clone(), first)..=(wanted.group.clone(), last));
        let lines = own.flat_map(|(_, kept)| kept.after(since));
        let mut lines: Vec<_> = lines.cloned().collect();
        drop(replicas);
        lines.sort_unstable_by_key(|line| line.sequence);
        lines
    }

    /// Follows the lines from the one after number `since`; `None` if too many do.
    pub fn follow(&'static self, since: u64, wanted: WantedLines) -> Option<LineFollower> {
        let add = |count| (count < MAX_FOLLOWERS).then_some(count + 1);
        let followers = &self.followers;
        let added = followers.fetch_update(Ordering::Relaxed, Ordering::Relaxed, add);
        added.ok().map(|_| LineFollower {
            lines: self,
            since,
            wanted,
            last: self.last.subscribe(),
        })
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<(String, u64), Kept>> {
        // A panic leaves every entry whole.
        self.replicas.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Forgets the replica that has printed nothing for longest.
fn forget_one(replicas: &mut BTreeMap<(String, u64), Kept>) {
    let oldest = replicas.iter().min_by_key(|(_, kept)| kept.last());
    if let Some(key) = oldest.map(|(key, _)| key.clone()) {
        replicas.remove(&key);
    }
}

/// Follows the lines of replicas. It has no queue of its own: one that is slow reads later, and
/// misses what is not kept any more.
#[derive(Debug)]
pub struct LineFollower {
    lines: &'static ReplicaLines,
    since: u64,
    wanted: WantedLines,
    last: watch::Receiver<u64>,
}

impl LineFollower {
    /// Waits for lines. Cancel-safe.
    pub async fn next(&mut self) -> Vec<Arc<ReplicaLine>> {
        loop {
            let last = *self.last.borrow_and_update();
            let lines = self.lines.after(self.since, &self.wanted, BATCH);
            match lines.last() {
                Some(line) => {
                    self.since = line.sequence;
                    return lines;
                }
                None => self.since = self.since.max(last),
            }
            // The sender lives as long as the process.
            let _ = self.last.changed().await;
        }
    }
}

impl Drop for LineFollower {
    fn drop(&mut self) {
        self.lines.followers.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines() -> &'static ReplicaLines {
        Box::leak(Box::new(ReplicaLines::new()))
    }

    fn of(group: &str, replica: Option<u64>) -> WantedLines {
        WantedLines {
            group: group.to_owned(),
            replica,
        }
    }

    fn texts(lines: &[Arc<ReplicaLine>]) -> Vec<&str> {
        lines.iter().map(|line| line.text.as_str()).collect()
    }

    #[test]
    fn the_last_lines_of_each_replica_are_kept_in_their_order() {
        let lines = lines();
        for n in 0..KEPT_LINES + 50 {
            lines.add("todo", n as u64 % 2, "stdout", &n.to_string());
        }
        lines.add("other", 0, "stderr", "other");
        let all = lines.newest(&of("todo", None), 3);
        assert_eq!(texts(&all), ["247", "248", "249"]);
        assert_eq!(texts(&lines.after(248, &of("todo", Some(1)), 9)), ["249"]);
        assert_eq!(lines.after(0, &of("todo", None), 999).len(), 250);
        for n in 0..KEPT_LINES {
            lines.add("todo", 0, "stdout", &n.to_string());
        }
        let own = lines.after(0, &of("todo", Some(0)), 999);
        assert_eq!((own.len(), own[0].text.as_str()), (KEPT_LINES, "0"));
        assert_eq!(texts(&lines.newest(&of("other", None), 9)), ["other"]);
        assert!(lines.newest(&of("none", None), 9).is_empty());
    }

    #[test]
    fn bytes_and_replicas_are_bounded() {
        let lines = lines();
        let long = "x".repeat(KEPT_BYTES / 4);
        for replica in 0..KEPT_REPLICAS as u64 + 10 {
            lines.add("todo", replica, "stdout", "first");
        }
        assert_eq!(lines.after(0, &of("todo", None), 999).len(), KEPT_REPLICAS);
        assert!(lines.newest(&of("todo", Some(9)), 9).is_empty());
        for _ in 0..9 {
            lines.add("todo", 99, "stdout", &long);
        }
        assert_eq!(lines.newest(&of("todo", Some(99)), 9).len(), 4);
    }

    #[tokio::test]
    async fn a_follower_gets_the_lines_of_its_replica_as_they_come() {
        let lines = lines();
        lines.add("todo", 1, "stdout", "before");
        let mut follower = lines.follow(0, of("todo", Some(1))).unwrap();
        assert_eq!(texts(&follower.next().await), ["before"]);
        let next = tokio::spawn(async move { follower.next().await });
        lines.add("todo", 2, "stdout", "of another");
        lines.add("todo", 1, "stderr", "after");
        assert_eq!(texts(&next.await.unwrap()), ["after"]);
        let followers: Vec<_> = (0..MAX_FOLLOWERS)
            .map(|_| lines.follow(0, of("todo", None)).unwrap())
            .collect();
        assert!(lines.follow(0, of("todo", None)).is_none());
        drop(followers);
        assert!(lines.follow(0, of("todo", None)).is_some());
    }
}
