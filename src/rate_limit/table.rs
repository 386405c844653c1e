//! The buckets of a rate limit: when each will be full again.
//!
//! A bucket is one number (GCRA, ITU-T I.371: the time at which it will be full again). The
//! table is bounded, and bounded for each owner, the address that brought a key first: a
//! client that invents keys pushes out its own oldest ones and never those of others. When
//! there are too many owners, one of those with the most keys gives way.
//!
//! Known buckets are found under the lock of one part of the table. Only a key that is new
//! takes the lock of the owners too, always before that of a part.

use std::collections::VecDeque;
use std::hash::{BuildHasherDefault, Hash, Hasher};
use std::sync::{Mutex, MutexGuard, PoisonError};

use indexmap::IndexMap;
use rustc_hash::{FxHashMap, FxHasher};

/// A client: its address, or the hash of what it sends. Made with a secret where the client
/// chooses it, so keys spread evenly.
pub(super) type Key = u128;

/// Parts with a lock each; a power of two.
const PARTS: usize = 64;

/// Buckets that one [`Table::sweep`] looks at.
const SWEEP: usize = 8192;

/// Owners that are compared when one must give way.
const CANDIDATES: usize = 8;

/// How many buckets there may be.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    pub(super) total: usize,
    /// Those of one owner.
    pub(super) of_owner: usize,
}

/// The buckets of one limiter.
#[derive(Debug)]
pub(super) struct Table {
    bounds: Bounds,
    parts: Box<[Mutex<FxHashMap<Key, u64>>]>,
    owners: Mutex<Owners>,
}

/// Which keys each owner brought, oldest first.
#[derive(Debug, Default)]
struct Owners {
    keys: IndexMap<Key, VecDeque<Key>, BuildHasherDefault<FxHasher>>,
    /// Keys of all owners.
    total: usize,
    /// Where the next sweep begins, and where candidates are drawn.
    cursor: usize,
}

impl Table {
    pub(super) fn new(bounds: Bounds) -> Self {
        Self {
            bounds,
            parts: (0..PARTS).map(|_| Mutex::default()).collect(),
            owners: Mutex::default(),
        }
    }

    /// Replaces the time at which the bucket of `key` is full; `take` is given that time, 0
    /// for a bucket that is full or new. A new key belongs to `owner`.
    pub(super) fn update<T>(&self, key: Key, owner: Key, take: impl Fn(u64) -> (u64, T)) -> T {
        if let Some(full_at) = lock(self.part(key)).get_mut(&key) {
            let (next, taken) = take(*full_at);
            *full_at = next;
            return taken;
        }
        let mut owners = lock(&self.owners);
        // Another worker may have brought it meanwhile.
        let is_new = !lock(self.part(key)).contains_key(&key);
        if is_new {
            for pushed_out in owners.add(key, owner, self.bounds) {
                lock(self.part(pushed_out)).remove(&pushed_out);
            }
        }
        let mut part = lock(self.part(key));
        let full_at = part.entry(key).or_default();
        let (next, taken) = take(*full_at);
        *full_at = next;
        taken
    }

    /// Forgets buckets that are full at `now`, in a part of the table; the next call goes on
    /// behind it.
    pub(super) fn sweep(&self, now: u64) {
        let mut owners = lock(&self.owners);
        let mut seen = 0;
        for _ in 0..owners.keys.len() {
            if seen >= SWEEP {
                break;
            }
            let at = owners.cursor % owners.keys.len();
            let Some((_, keys)) = owners.keys.get_index_mut(at) else {
                break;
            };
            let before = keys.len();
            keys.retain(|key| {
                let mut part = lock(self.part(*key));
                let is_full = part.get(key).is_none_or(|full_at| *full_at <= now);
                if is_full {
                    part.remove(key);
                }
                !is_full
            });
            let left = keys.len();
            seen += before;
            owners.total -= before - left;
            if left == 0 {
                // Another owner takes its place and is looked at next.
                owners.keys.swap_remove_index(at);
            } else {
                owners.cursor = at + 1;
            }
            if owners.keys.is_empty() {
                break;
            }
        }
    }

    /// All buckets: key, owner, when it will be full.
    pub(super) fn buckets(&self) -> Vec<(Key, Key, u64)> {
        let owners = lock(&self.owners);
        owners
            .keys
            .iter()
            .flat_map(|(owner, keys)| keys.iter().map(|key| (*key, *owner)))
            .filter_map(|(key, owner)| {
                let full_at = lock(self.part(key)).get(&key).copied()?;
                Some((key, owner, full_at))
            })
            .collect()
    }

    /// How many buckets there are.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        lock(&self.owners).total
    }

    fn part(&self, key: Key) -> &Mutex<FxHashMap<Key, u64>> {
        let mut hasher = FxHasher::default();
        key.hash(&mut hasher);
        // The map of a part uses the low bits.
        let high = (hasher.finish() >> 48) as usize;
        &self.parts[high % PARTS]
    }
}

impl Owners {
    /// Adds a key and returns those that are pushed out by it.
    fn add(&mut self, key: Key, owner: Key, bounds: Bounds) -> Vec<Key> {
        let mut pushed_out = Vec::new();
        if self.total >= bounds.total {
            pushed_out.extend(self.give_way());
        }
        let keys = self.keys.entry(owner).or_default();
        if keys.len() >= bounds.of_owner {
            pushed_out.extend(keys.pop_front());
        }
        keys.push_back(key);
        self.total = self.total + 1 - pushed_out.len();
        pushed_out
    }

    /// Removes the oldest key of the owner with the most keys, of a few owners.
    fn give_way(&mut self) -> Option<Key> {
        let owners = self.keys.len();
        let candidates = (0..CANDIDATES.min(owners)).map(|n| (self.cursor + n) % owners);
        let chosen = candidates.max_by_key(|at| self.keys[*at].len())?;
        self.cursor += CANDIDATES;
        let (_, keys) = self.keys.get_index_mut(chosen)?;
        let key = keys.pop_front();
        if keys.is_empty() {
            self.keys.swap_remove_index(chosen);
        }
        key
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing under these locks panics; a table that did would still be legal.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOUNDS: Bounds = Bounds {
        total: 40,
        of_owner: 10,
    };

    fn fill(table: &Table, owner: Key, keys: std::ops::Range<Key>) {
        for key in keys {
            table.update(key, owner, |_| (100, ()));
        }
    }

    fn is_known(table: &Table, key: Key) -> bool {
        lock(table.part(key)).contains_key(&key)
    }

    #[test]
    fn an_owner_with_too_many_keys_loses_its_own_oldest() {
        let table = Table::new(BOUNDS);
        fill(&table, 1, 100..101);
        fill(&table, 2, 200..400);
        assert_eq!(table.len(), 11);
        assert!(is_known(&table, 100), "that of another owner");
        assert!(!is_known(&table, 389) && is_known(&table, 390));
    }

    #[test]
    fn with_too_many_owners_those_with_the_most_keys_give_way() {
        let table = Table::new(BOUNDS);
        fill(&table, 1, 1000..1010);
        for owner in 2..500 {
            fill(&table, owner, owner * 10_000..owner * 10_000 + 1);
        }
        assert_eq!(table.len(), 40);
        assert_eq!(table.buckets().len(), 40);
        let of_first = (1000..1010).filter(|key| is_known(&table, *key)).count();
        assert!(of_first <= 1, "{of_first}");
    }

    #[test]
    fn sweeps_forget_full_buckets_and_their_owners() {
        let table = Table::new(BOUNDS);
        fill(&table, 1, 1..6);
        fill(&table, 2, 10..12);
        table.update(3, 1, |_| (200, ()));
        table.sweep(99);
        assert_eq!(table.len(), 7);
        table.sweep(100);
        assert_eq!(table.buckets(), [(3, 1, 200)]);
        table.sweep(200);
        assert_eq!((table.len(), lock(&table.owners).keys.len()), (0, 0));
    }

    #[test]
    fn workers_that_bring_the_same_keys_keep_one_bucket_each() {
        let table = Table::new(Bounds {
            total: 1000,
            of_owner: 1000,
        });
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for key in 0..500 {
                        table.update(key, 1, |taken| (taken + 1, ()));
                    }
                });
            }
        });
        let buckets = table.buckets();
        assert_eq!(buckets.len(), 500);
        assert!(buckets.iter().all(|(.., taken)| *taken == 4));
    }
}
