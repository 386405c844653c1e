//! Which replicas go first when there are too many. Pure.
//!
//! One that does not run yet costs no client anything. Of those that run the one with the
//! fewest clients goes first, and of these the youngest, which has the coldest caches.

use std::cmp::Reverse;
use std::net::SocketAddr;

use crate::replicas::{Fleet, ReplicaId, ReplicaState};

/// All replicas that have not been told to go, the first victim first. `clients` is how many
/// clients of the target at an address would have to wait or to move.
pub(super) fn victims(fleet: &Fleet, clients: impl Fn(SocketAddr) -> u64) -> Vec<ReplicaId> {
    let mut ranked: Vec<_> = fleet
        .replicas
        .iter()
        .filter_map(|replica| match replica.state {
            ReplicaState::Starting => Some((false, 0, Reverse(replica.id))),
            ReplicaState::Running => {
                let clients = replica.address.map_or(0, &clients);
                Some((true, clients, Reverse(replica.id)))
            }
            ReplicaState::Draining | ReplicaState::Stopping => None,
        })
        .collect();
    ranked.sort_unstable();
    ranked.into_iter().map(|(.., Reverse(id))| id).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::replicas::fixture::replica;

    fn port(id: u64) -> u16 {
        6400 + id as u16
    }

    fn fleet(states: &[ReplicaState]) -> Fleet {
        let replicas = states.iter().zip(0..).map(|(state, id)| {
            let address = format!("127.0.0.1:{}", port(id));
            replica(id, &address, *state)
        });
        Fleet {
            desired: 0,
            stopped: Vec::new(),
            replicas: replicas.collect(),
        }
    }

    #[test]
    fn those_that_do_not_run_then_the_fewest_clients_then_the_youngest() {
        use ReplicaState::{Draining, Running, Starting, Stopping};
        let fleet = fleet(&[
            Running, Starting, Running, Draining, Running, Running, Stopping, Starting,
        ]);
        let clients = [3, 9, 0, 0, 0, 1];
        let clients = |addr: SocketAddr| clients[usize::from(addr.port() - 6400)];
        let order: Vec<u64> = victims(&fleet, clients)
            .into_iter()
            .map(|id| id.0)
            .collect();
        assert_eq!(order, [7, 1, 4, 2, 5, 0]);
    }

    fn state() -> impl Strategy<Value = ReplicaState> {
        prop::sample::select(vec![
            ReplicaState::Starting,
            ReplicaState::Running,
            ReplicaState::Draining,
            ReplicaState::Stopping,
        ])
    }

    proptest! {
        #[test]
        fn no_replica_goes_before_one_that_costs_less(
            some in prop::collection::vec((state(), 0_u64..4), 0..20),
        ) {
            let states: Vec<ReplicaState> = some.iter().map(|(state, _)| *state).collect();
            let fleet = fleet(&states);
            let clients = |addr: SocketAddr| some[usize::from(addr.port() - 6400)].1;
            let order = victims(&fleet, clients);
            prop_assert_eq!(order.len(), fleet.staying() as usize);
            for pair in order.windows(2) {
                let [first, next] = [pair[0].0 as usize, pair[1].0 as usize];
                let runs = |index: usize| some[index].0 == ReplicaState::Running;
                let cost = |index: usize| if runs(index) { some[index].1 } else { 0 };
                prop_assert!(runs(next) || !runs(first));
                if runs(first) == runs(next) {
                    prop_assert!(cost(first) <= cost(next));
                    prop_assert!(cost(first) < cost(next) || first > next, "youngest first");
                }
            }
        }
    }
}
