//! Which target of a roster takes a request.
//!
//! A [`Picker`] is the data-plane half of an algorithm: built by the control plane
//! for one [`Roster`], never updated, replaced whenever membership, weight or
//! health changes. Every algorithm has a file of its own (`weighted_random` picks as
//! `random` does); [`build_with`] is the only function that knows them all.
//!
//! A pick takes no lock and allocates nothing, and costs less than 100 ns among
//! 100 targets (`benches/picker.rs`). Two picks on two workers may see the same
//! counts, because a request is counted when its lease is taken, just after the
//! pick; the next pick sees both, so the error does not grow.

mod alias;
mod block;
mod bounded_load;
mod consistent_hash;
mod first;
#[cfg(test)]
mod fixture;
mod hash;
mod key_order;
mod least_connections;
mod least_time;
mod maglev;
mod peak_ewma;
mod picker;
mod power_of_two_choices;
mod random;
mod rendezvous;
mod response_time;
mod roster;
mod round_robin;
mod turns;
mod weighted_least_connections;

use std::sync::Arc;

use crate::model::{Algorithm, HashPolicy};

pub use hash::{hash_client, hash_key, hash_target, lot};
pub use maglev::KeyTable;
#[cfg(test)]
pub(crate) use maglev::TABLES_BUILT;
pub use picker::{PickContext, Picker};
pub use roster::{Member, Roster};

/// The picker of `algorithm` for `roster`.
///
/// `hash` is used by `consistent_hash` alone. `seed` decides where algorithms that take
/// turns begin: instances and rebuilds with different seeds do not run in step.
/// It does not enter any hash, so every instance sends a key to the same target.
pub fn build(
    algorithm: Algorithm,
    hash: &HashPolicy,
    roster: Arc<Roster>,
    seed: u64,
) -> Box<dyn Picker> {
    let is_wanted = KeyTable::is_wanted(algorithm, &roster);
    let table = is_wanted.then(|| Arc::new(KeyTable::new(&roster)));
    build_with(algorithm, hash, roster, seed, table.as_ref())
}

/// The same without building a table: where [`build`] would build one, the picker uses
/// `table`, which is that of the group's earlier roster, and without one it asks every
/// member. A pick is legal in any case; until the table is there, keys may go to other
/// members, or a pick costs more.
pub fn build_with(
    algorithm: Algorithm,
    hash: &HashPolicy,
    roster: Arc<Roster>,
    seed: u64,
    table: Option<&Arc<KeyTable>>,
) -> Box<dyn Picker> {
    match algorithm {
        Algorithm::RoundRobin => Box::new(round_robin::RoundRobin::new(&roster, seed)),
        Algorithm::LeastConnections => {
            Box::new(least_connections::LeastConnections::new(roster, seed))
        }
        Algorithm::WeightedLeastConnections => weighted_least_connections::build(roster, seed),
        Algorithm::ConsistentHash => consistent_hash::build(hash, &roster, table),
        Algorithm::Random | Algorithm::WeightedRandom => Box::new(random::Random::new(&roster)),
        Algorithm::PowerOfTwoChoices => power_of_two_choices::build(roster),
        Algorithm::PeakEwma => peak_ewma::build(roster),
        Algorithm::LeastTime => Box::new(least_time::LeastTime::new(roster, seed)),
        Algorithm::First => Box::new(first::First::new(roster)),
    }
}
