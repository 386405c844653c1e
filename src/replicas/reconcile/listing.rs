//! What of a provider's list can be used. Pure.

use std::collections::HashSet;
use std::net::SocketAddr;

use crate::replicas::{Fault, Fleet, Replica, ReplicaId, ReplicaState};

/// Most replicas of a list that are used: ten times what any engine places for one service,
/// and what the rosters are built for.
const MAX_REPLICAS: usize = 10_000;

/// A replica that has been started again so often and still does not run is not going to by
/// itself.
const MANY_RESTARTS: u32 = 3;

/// A provider's list by what its replicas are for.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Listing {
    /// Those that accept connections, each address once.
    pub(super) running: Vec<Running>,
    /// Those that get no new requests.
    pub(super) draining: Vec<Draining>,
    /// Every address, whatever the state of its replica.
    pub(super) addresses: HashSet<SocketAddr>,
    /// How many replicas there were beyond the limit.
    pub(super) ignored: usize,
}

/// A replica that accepts connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Running {
    pub(super) id: ReplicaId,
    pub(super) address: SocketAddr,
}

/// A replica that is told to go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Draining {
    pub(super) id: ReplicaId,
    pub(super) address: Option<SocketAddr>,
}

impl Listing {
    pub(super) fn of(fleet: &Fleet) -> Self {
        let mut listing = Self {
            ignored: fleet.replicas.len().saturating_sub(MAX_REPLICAS),
            ..Self::default()
        };
        let mut seen = HashSet::new();
        for replica in fleet.replicas.iter().take(MAX_REPLICAS) {
            let (id, address) = (replica.id, usable_address(replica));
            listing.addresses.extend(address);
            match replica.state {
                ReplicaState::Running => {
                    let new = address.filter(|address| seen.insert(*address));
                    listing
                        .running
                        .extend(new.map(|address| Running { id, address }));
                }
                ReplicaState::Draining => listing.draining.push(Draining { id, address }),
                ReplicaState::Starting | ReplicaState::Stopping => {}
            }
        }
        listing
    }
}

/// Where a replica answers, if that can be an address at all.
fn usable_address(replica: &Replica) -> Option<SocketAddr> {
    replica
        .address
        .filter(|address| !address.ip().is_unspecified() && address.port() != 0)
}

impl Fleet {
    /// How many exist that have not been told to go.
    pub(super) fn staying(&self) -> u32 {
        let stays = |replica: &&Replica| replica.state.is_staying();
        u32::try_from(self.replicas.iter().filter(stays).count()).unwrap_or(u32::MAX)
    }

    /// What is wrong with replicas that die again and again before they serve.
    pub(super) fn crash_loop(&self) -> Option<Fault> {
        let dying: Vec<&Replica> = self
            .replicas
            .iter()
            .filter(|r| r.state == ReplicaState::Starting && r.restarts >= MANY_RESTARTS)
            .collect();
        let (count, all) = (dying.len(), self.replicas.len());
        let restarts = dying.iter().map(|replica| replica.restarts).max()?;
        let message = if count == 1 {
            format!("1 of {all} replicas does not run, started again {restarts} times: see its log")
        } else {
            format!(
                "{count} of {all} replicas do not run, started again up to {restarts} times: see \
                 their logs"
            )
        };
        let since = dying.iter().map(|replica| replica.since).min()?;
        Some(Fault { message, since })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::replicas::fixture::replica;

    fn fleet(replicas: Vec<Replica>) -> Fleet {
        Fleet {
            desired: 1,
            stopped: Vec::new(),
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
        let listing = Listing::of(&fleet(replicas));
        assert_eq!(
            listing.running,
            [Running {
                id: ReplicaId(0),
                address: addr("10.0.0.1:80")
            }]
        );
    }

    #[test]
    fn only_those_that_run_get_requests() {
        let states = [
            ReplicaState::Starting,
            ReplicaState::Running,
            ReplicaState::Draining,
            ReplicaState::Stopping,
        ];
        let replicas = states.into_iter().zip(1..);
        let fleet = fleet(
            replicas
                .map(|(state, id)| replica(id, &format!("10.0.0.{id}:80"), state))
                .collect(),
        );
        let listing = Listing::of(&fleet);
        assert_eq!(
            listing.running,
            [Running {
                id: ReplicaId(2),
                address: addr("10.0.0.2:80")
            }]
        );
        let draining = [Draining {
            id: ReplicaId(3),
            address: Some(addr("10.0.0.3:80")),
        }];
        assert_eq!(listing.draining, draining);
        assert_eq!(listing.addresses.len(), 4);
        assert_eq!(fleet.staying(), 2);
    }

    #[test]
    fn a_list_beyond_the_limit_is_cut() {
        let replicas = (0..MAX_REPLICAS as u64 + 3).map(|id| {
            let address = format!("10.0.{}.{}:80", id / 250, id % 250 + 1);
            replica(id, &address, ReplicaState::Running)
        });
        let listing = Listing::of(&fleet(replicas.collect()));
        assert_eq!((listing.running.len(), listing.ignored), (MAX_REPLICAS, 3));
    }
}
