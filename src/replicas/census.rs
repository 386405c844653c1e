//! What an engine lists, as replicas with numbers.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::SystemTime;

use super::{Replica, ReplicaId, ReplicaState};

/// A replica as an engine's list shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Sighting {
    /// What the engine calls it; unique among those that live.
    pub(super) name: String,
    /// Where it answers or is going to.
    pub(super) address: Option<SocketAddr>,
    /// Where it is in its life.
    pub(super) state: ReplicaState,
}

/// Gives each name a number in the order first seen, and remembers since when it is in its
/// state. Holds as much as the engine listed last.
#[derive(Debug, Default)]
pub(super) struct Census {
    next_id: u64,
    known: BTreeMap<String, Replica>,
}

impl Census {
    /// Those that are listed, those seen first before the others. Whoever is missing is
    /// forgotten, and would be a new one. Of two with one name the first is taken.
    pub(super) fn take(&mut self, listed: Vec<Sighting>) -> Vec<Replica> {
        let mut before = std::mem::take(&mut self.known);
        for sighting in listed {
            if self.known.contains_key(&sighting.name) {
                continue;
            }
            let replica = match before.remove(&sighting.name) {
                Some(replica) => seen_again(replica, &sighting),
                None => self.seen_first(&sighting),
            };
            self.known.insert(sighting.name, replica);
        }
        let mut replicas: Vec<Replica> = self.known.values().cloned().collect();
        replicas.sort_by_key(|replica| replica.id);
        replicas
    }

    /// What the engine calls a replica.
    #[cfg(any(test, feature = "ecs", feature = "kubernetes"))]
    pub(super) fn name(&self, id: ReplicaId) -> Option<&str> {
        let mut known = self.known.iter();
        let (name, _) = known.find(|(_, replica)| replica.id == id)?;
        Some(name)
    }

    /// All that were listed last.
    #[cfg(any(feature = "ecs", feature = "kubernetes"))]
    pub(super) fn replicas(&self) -> impl Iterator<Item = (&str, &Replica)> {
        self.known
            .iter()
            .map(|(name, replica)| (name.as_str(), replica))
    }

    fn seen_first(&mut self, sighting: &Sighting) -> Replica {
        let id = ReplicaId(self.next_id);
        self.next_id += 1;
        Replica {
            id,
            name: Some(sighting.name.clone()),
            pid: None,
            address: sighting.address,
            state: sighting.state,
            restarts: 0,
            since: SystemTime::now(),
        }
    }
}

fn seen_again(mut replica: Replica, sighting: &Sighting) -> Replica {
    if replica.state != sighting.state {
        replica.state = sighting.state;
        replica.since = SystemTime::now();
    }
    replica.address = sighting.address;
    replica
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(name: &str, state: ReplicaState) -> Sighting {
        Sighting {
            name: name.to_owned(),
            address: None,
            state,
        }
    }

    fn ids(replicas: &[Replica]) -> Vec<(u64, &str)> {
        let named = |replica: &Replica| replica.name.clone().unwrap();
        let pairs = replicas.iter();
        pairs
            .map(|replica| (replica.id.0, &*named(replica).leak()))
            .collect()
    }

    #[test]
    fn a_number_stays_with_its_name_and_is_never_used_again() {
        use ReplicaState::{Running, Starting};
        let mut census = Census::default();
        let first = census.take(vec![seen("b", Running), seen("a", Starting)]);
        assert_eq!(ids(&first), [(0, "b"), (1, "a")]);
        let second = census.take(vec![seen("a", Running), seen("c", Starting)]);
        assert_eq!(ids(&second), [(1, "a"), (2, "c")]);
        assert!(second[0].since >= first[1].since);
        assert_eq!(second[0].state, Running);
        let third = census.take(vec![seen("b", Running), seen("c", Starting)]);
        assert_eq!(ids(&third), [(2, "c"), (3, "b")]);
        assert_eq!(third[0].since, second[1].since, "the same state as before");
        assert_eq!(census.name(ReplicaId(3)), Some("b"));
        assert_eq!(census.name(ReplicaId(0)), None);
    }

    #[test]
    fn a_name_listed_twice_is_one_replica() {
        let mut census = Census::default();
        let listed = vec![
            seen("a", ReplicaState::Draining),
            seen("a", ReplicaState::Running),
        ];
        let replicas = census.take(listed);
        assert_eq!(ids(&replicas), [(0, "a")]);
        assert_eq!(replicas[0].state, ReplicaState::Draining);
    }
}
