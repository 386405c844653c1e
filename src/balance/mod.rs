//! Which target of a roster takes a request.
//!
//! A [`Picker`] is the data-plane half of an algorithm: built by the control plane
//! for one [`Roster`], never updated, replaced whenever membership, weight or
//! health changes. Every algorithm has a file of its own; [`build`] is the only
//! place that knows them all.
//!
//! A pick takes no lock and allocates nothing, and costs less than 100 ns among
//! 100 targets (`benches/picker.rs`). Two picks on two workers may see the same
//! counts, because a request is counted when its lease is taken, just after the
//! pick; the next pick sees both, so the error does not grow.

mod alias;
mod bounded_load;
mod consistent_hash;
mod first;
mod hash;
mod least_connections;
mod least_time;
mod maglev;
mod peak_ewma;
mod power_of_two_choices;
mod random;
mod rendezvous;
mod round_robin;
mod turns;
mod weighted_least_connections;

use std::fmt::Debug;
use std::num::NonZeroU16;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::model::{Algorithm, HashPolicy};
use crate::target::Target;

pub use hash::{hash_client, hash_key, hash_target, lot};
pub use maglev::KeyTable;
#[cfg(test)]
pub(crate) use maglev::TABLES_BUILT;

/// A target that may be picked, with the settings a reload may change.
#[derive(Clone, Debug)]
pub struct Member {
    /// Its live state.
    pub target: Arc<Target>,
    /// Its share among the members.
    pub weight: NonZeroU16,
}

/// The members a picker may choose from, in a fixed order. Never empty.
#[derive(Debug)]
pub struct Roster {
    members: Box<[Member]>,
    registered: usize,
}

impl Roster {
    /// `None` when there is nobody to choose.
    pub fn new(members: Vec<Member>) -> Option<Self> {
        (!members.is_empty()).then(|| Self {
            registered: members.len(),
            members: members.into(),
        })
    }

    /// The same roster, drawn from a group of `registered` targets.
    ///
    /// `consistent_hash` chooses its method by the size of the group. Told the size
    /// that health does not change, it keeps the method, and with it the place of
    /// every key, while targets fail and return.
    #[must_use]
    pub fn drawn_from(self, registered: usize) -> Self {
        Self {
            registered: registered.max(self.members.len()),
            ..self
        }
    }

    /// All members.
    #[inline]
    pub fn members(&self) -> &[Member] {
        &self.members
    }

    /// Whether all members have the same weight.
    fn is_even(&self) -> bool {
        let first = self.members[0].weight;
        self.members.iter().all(|member| member.weight == first)
    }

    /// Targets of the group this roster was drawn from, whether they may be picked
    /// or not; the number of members unless [`Roster::drawn_from`] said otherwise.
    pub fn registered(&self) -> usize {
        self.registered
    }
}

/// Inputs of one pick. An algorithm ignores what it does not use.
#[derive(Clone, Copy, Debug)]
pub struct PickContext<'a> {
    /// Hash of the request's key, if the group hashes.
    pub key: Option<u64>,
    /// Fresh random bits for this attempt.
    pub entropy: u64,
    /// When the request came: what is measured fades by the clock.
    pub now: Instant,
    /// Members already tried for this request, as indexes into the roster.
    pub tried: &'a [usize],
}

/// The data-plane half of a balancing algorithm.
///
/// It may keep atomics. It takes no lock, does no I/O, allocates nothing, reads no
/// clock and draws no random numbers; [`PickContext`] brings those.
pub trait Picker: Debug + Send + Sync {
    /// An index into the roster that is not in `ctx.tried`; `None` exactly when all
    /// members have been tried.
    fn pick(&self, ctx: &PickContext<'_>) -> Option<usize>;
}

/// The picker of `algorithm` for `roster`.
///
/// `hash` matters to `consistent_hash` alone. `seed` decides where those that take
/// turns begin: instances and rebuilds with different seeds do not march in step.
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

/// The same at once: where [`build`] would have to build a table, keys go by `table`, which
/// is that of the group's earlier roster, and without one by asking every member. A pick is
/// right in any case; for a while it is another one, or costs more.
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

/// The first member from `start` on, in a circle, that has not been tried.
///
/// The way out of every picker's rare case; costs `len` times `tried`.
fn first_untried(len: usize, start: usize, tried: &[usize]) -> Option<usize> {
    let start = start % len;
    (start..len)
        .chain(0..start)
        .find(|index| !tried.contains(index))
}

/// What a target that has requests and has not answered any yet is taken to need
/// (linkerd's default). An idle one is tried at once until it has answered a few: so it is
/// not flooded before its speed is known, and not starved beside targets that are faster
/// than this.
const UNKNOWN_TIME: Duration = Duration::from_secs(1);

/// Times that differ by no more than one part in so many of the shorter are the same: of two
/// equal targets the luckier one would get all requests of a quiet hour otherwise.
const NOISE_PARTS: u64 = 4;

/// Members that a search for the least loaded reads at once.
const BLOCK: usize = 8;

/// The smallest of a block, compared in pairs and not in a row: a processor does the
/// pairs at the same time, and a search for a minimum is nothing but waiting otherwise.
#[inline]
fn smallest(value: impl Fn(usize) -> u64) -> u64 {
    const { assert!(BLOCK == 8) };
    let pair = |first: usize| value(first).min(value(first + 1));
    pair(0).min(pair(2)).min(pair(4).min(pair(6)))
}
