//! Numbers for replicas, and what an engine lists as numbered replicas.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::SystemTime;

use super::{Replica, ReplicaId, ReplicaState};

/// Counts the replicas of one provider: each gets a greater number than those before.
#[derive(Debug, Default)]
pub(super) struct ReplicaIds(u64);

impl ReplicaIds {
    pub(super) fn assign(&mut self) -> ReplicaId {
        let id = ReplicaId(self.0);
        self.0 += 1;
        id
    }
}

/// A replica as an engine's list shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ListedReplica {
    /// The engine's name for it; unique among those that exist.
    pub(super) name: String,
    /// Where it accepts connections, or is going to.
    pub(super) address: Option<SocketAddr>,
    pub(super) state: ReplicaState,
    /// When it entered this state. `None` if the engine does not report it: then it is the
    /// time of the first list with this state.
    pub(super) since: Option<SystemTime>,
}

/// Gives each name a number in the order of the first listing, and remembers since when each
/// replica is in its state. Holds as many replicas as the engine listed last.
#[derive(Debug, Default)]
pub(super) struct ReplicaIndex {
    ids: ReplicaIds,
    known: BTreeMap<String, Replica>,
}

impl ReplicaIndex {
    /// Takes in a list and returns its replicas, those listed first before the others. One that
    /// is not listed is forgotten, and would get a new number. Of two with the same name the
    /// first counts.
    pub(super) fn update(&mut self, list: Vec<ListedReplica>) -> Vec<Replica> {
        let mut before = std::mem::take(&mut self.known);
        for listed in list {
            if self.known.contains_key(&listed.name) {
                continue;
            }
            let known = before.remove(&listed.name);
            let since = match &known {
                Some(known) if known.state == listed.state => known.since,
                Some(_) | None => SystemTime::now(),
            };
            let is_up = listed.state != ReplicaState::Starting;
            let started = known.as_ref().and_then(|known| known.started);
            let started = started.or_else(|| is_up.then_some(listed.since.unwrap_or(since)));
            let replica = Replica {
                id: known.map_or_else(|| self.ids.assign(), |known| known.id),
                name: Some(listed.name.clone()),
                pid: None,
                address: listed.address,
                state: listed.state,
                restarts: 0,
                since: listed.since.unwrap_or(since),
                started,
                last_exit: None,
            };
            self.known.insert(listed.name, replica);
        }
        let mut replicas: Vec<Replica> = self.known.values().cloned().collect();
        replicas.sort_by_key(|replica| replica.id);
        replicas
    }

    /// The number of a replica that was listed last.
    #[cfg(any(feature = "docker", feature = "kubernetes"))]
    pub(super) fn id(&self, name: &str) -> Option<ReplicaId> {
        self.known.get(name).map(|replica| replica.id)
    }

    /// The engine's name for a replica that was listed last.
    #[cfg(any(test, feature = "ecs", feature = "kubernetes"))]
    pub(super) fn name(&self, id: ReplicaId) -> Option<&str> {
        let mut names = self.known.iter();
        let (name, _) = names.find(|(_, replica)| replica.id == id)?;
        Some(name)
    }

    /// All that were listed last, by name.
    #[cfg(feature = "ecs")]
    pub(super) fn replicas(&self) -> impl Iterator<Item = (&str, &Replica)> {
        self.known
            .iter()
            .map(|(name, replica)| (name.as_str(), replica))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listed(name: &str, state: ReplicaState) -> ListedReplica {
        ListedReplica {
            name: name.to_owned(),
            address: None,
            state,
            since: None,
        }
    }

    fn ids(replicas: &[Replica]) -> Vec<(u64, &str)> {
        replicas
            .iter()
            .map(|replica| (replica.id.0, replica.name.as_deref().unwrap()))
            .collect()
    }

    #[test]
    fn a_number_stays_with_its_name_and_is_never_used_again() {
        use ReplicaState::{Running, Starting};
        let mut index = ReplicaIndex::default();
        let first = index.update(vec![listed("b", Running), listed("a", Starting)]);
        assert_eq!(ids(&first), [(0, "b"), (1, "a")]);
        let second = index.update(vec![listed("a", Running), listed("c", Starting)]);
        assert_eq!(ids(&second), [(1, "a"), (2, "c")]);
        assert!(second[0].since >= first[1].since);
        assert_eq!(second[0].state, Running);
        let third = index.update(vec![listed("b", Running), listed("c", Starting)]);
        assert_eq!(ids(&third), [(2, "c"), (3, "b")]);
        assert_eq!(third[0].since, second[1].since, "the same state as before");
        assert_eq!(index.name(ReplicaId(3)), Some("b"));
        assert_eq!(index.name(ReplicaId(0)), None);
    }

    #[test]
    fn a_name_listed_twice_is_one_replica() {
        let mut index = ReplicaIndex::default();
        let replicas = index.update(vec![
            listed("a", ReplicaState::Draining),
            listed("a", ReplicaState::Running),
        ]);
        assert_eq!(ids(&replicas), [(0, "a")]);
        assert_eq!(replicas[0].state, ReplicaState::Draining);
    }
}
