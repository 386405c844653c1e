//! What of a provider's list can be used. Pure.

use std::collections::HashSet;
use std::net::SocketAddr;

use super::{Fault, Fleet, Replica, ReplicaId, ReplicaState};

/// Most replicas that are believed: ten times what any engine places for one service, and
/// what the rosters are built for.
const MOST: usize = 10_000;

/// A replica that has been started again so often and still does not run is not going to by
/// itself.
const HOPELESS: u32 = 3;

/// A provider's list by what its replicas are for.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Listed {
    /// Those that accept connections, each address once.
    pub(super) running: Vec<(ReplicaId, SocketAddr)>,
    /// Those that are to get nothing new.
    pub(super) draining: Vec<(ReplicaId, Option<SocketAddr>)>,
    /// Every address, whatever is said about it.
    pub(super) addresses: HashSet<SocketAddr>,
    /// How many were more than is believed.
    pub(super) ignored: usize,
}

impl Listed {
    pub(super) fn of(fleet: &Fleet) -> Self {
        let mut listed = Self {
            ignored: fleet.replicas.len().saturating_sub(MOST),
            ..Self::default()
        };
        let mut seen = HashSet::new();
        for replica in fleet.replicas.iter().take(MOST) {
            let address = address(replica);
            listed.addresses.extend(address);
            match replica.state {
                ReplicaState::Running => {
                    let new = address.filter(|address| seen.insert(*address));
                    listed.running.extend(new.map(|new| (replica.id, new)));
                }
                ReplicaState::Draining => listed.draining.push((replica.id, address)),
                ReplicaState::Starting | ReplicaState::Stopping => {}
            }
        }
        listed
    }
}

/// Where a replica answers, if that can be an address at all.
fn address(replica: &Replica) -> Option<SocketAddr> {
    let is_address = |address: &SocketAddr| !address.ip().is_unspecified() && address.port() != 0;
    replica.address.filter(is_address)
}

impl Fleet {
    /// How many exist that nobody has told to go.
    pub(super) fn lasting(&self) -> u32 {
        let stays = |replica: &&Replica| match replica.state {
            ReplicaState::Starting | ReplicaState::Running => true,
            ReplicaState::Draining | ReplicaState::Stopping => false,
        };
        u32::try_from(self.replicas.iter().filter(stays).count()).unwrap_or(u32::MAX)
    }

    /// What is wrong with replicas that die again and again before they serve.
    pub(super) fn dying(&self) -> Option<Fault> {
        let dies = |replica: &&Replica| {
            replica.state == ReplicaState::Starting && replica.restarts >= HOPELESS
        };
        let dying = || self.replicas.iter().filter(dies);
        let (count, all) = (dying().count(), self.replicas.len());
        let restarts = dying().map(|replica| replica.restarts).max()?;
        let message = if count == 1 {
            format!("1 of {all} replicas does not run, started again {restarts} times: see its log")
        } else {
            format!(
                "{count} of {all} replicas do not run, started again up to {restarts} times: see \
                 their logs"
            )
        };
        let since = dying().map(|replica| replica.since).min()?;
        Some(Fault { message, since })
    }
}

#[cfg(test)]
mod tests {
    use super::super::fixture::replica;
    use super::*;

    fn fleet(replicas: Vec<Replica>) -> Fleet {
        Fleet {
            desired: 1,
            replicas,
        }
    }

    fn addr(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    #[test]
    fn addresses_that_lead_nowhere_are_ignored_and_the_same_ones_collapse() {
        let mut replicas: Vec<Replica> = [
            "10.0.0.1:80",
            "0.0.0.0:80",
            "10.0.0.2:0",
            "[::]:80",
            "10.0.0.1:80",
        ]
        .into_iter()
        .zip(0..)
        .map(|(address, id)| replica(id, address, ReplicaState::Running))
        .collect();
        replicas.push(Replica {
            address: None,
            ..replicas[0].clone()
        });
        let listed = Listed::of(&fleet(replicas));
        assert_eq!(listed.running, [(ReplicaId(0), addr("10.0.0.1:80"))]);
    }

    #[test]
    fn only_those_that_run_get_requests() {
        use ReplicaState::{Draining, Running, Starting, Stopping};
        let states = [Starting, Running, Draining, Stopping];
        let replicas = states.into_iter().zip(1..);
        let fleet = fleet(
            replicas
                .map(|(state, id)| replica(id, &format!("10.0.0.{id}:80"), state))
                .collect(),
        );
        let listed = Listed::of(&fleet);
        assert_eq!(listed.running, [(ReplicaId(2), addr("10.0.0.2:80"))]);
        let draining = [(ReplicaId(3), Some(addr("10.0.0.3:80")))];
        assert_eq!(listed.draining, draining);
        assert_eq!(listed.addresses.len(), 4);
        assert_eq!(fleet.lasting(), 2);
    }

    #[test]
    fn a_list_without_end_is_cut() {
        let replicas = (0..MOST as u64 + 3).map(|id| {
            let address = format!("10.0.{}.{}:80", id / 250, id % 250 + 1);
            replica(id, &address, ReplicaState::Running)
        });
        let listed = Listed::of(&fleet(replicas.collect()));
        assert_eq!((listed.running.len(), listed.ignored), (MOST, 3));
    }
}
