//! The same key goes to the same member as long as that is in the roster.
//!
//! Groups of up to 16 registered targets (see [`is_large`]) use [`Rendezvous`], which
//! moves the fewest keys but asks every member; larger ones use [`Maglev`]. The identity
//! of a member is its address alone and the hash is fixed, so all instances
//! agree, whatever the order of their rosters. Growing beyond the limit moves most
//! keys once; failing health checks do not, because they do not change how many are
//! registered (see [`Roster::drawn_from`]).
//!
//! A key has its own order of members: tried and full ones are passed over in it.

use std::sync::Arc;

use super::bounded_load::LoadBound;
use super::key_order::{KeyOrder, is_large};
use super::maglev::{KeyTable, Maglev};
use super::picker::{PickContext, Picker};
use super::rendezvous::Rendezvous;
use super::roster::Roster;
use crate::model::HashPolicy;

/// The picker for this roster. For a large one it uses the table given, which may be that of
/// the group's roster before; without a table that fits, each pick asks every member.
pub(super) fn build(
    policy: &HashPolicy,
    roster: &Arc<Roster>,
    table: Option<&Arc<KeyTable>>,
) -> Box<dyn Picker> {
    let bound = policy
        .load_factor
        .map(|factor| LoadBound::new(roster, factor));
    let table = table.filter(|_| is_large(roster));
    match table.and_then(|table| Maglev::new(table, roster)) {
        Some(order) => Box::new(ConsistentHash { order, bound }),
        None => Box::new(ConsistentHash {
            order: Rendezvous::new(roster),
            bound,
        }),
    }
}

/// The picker over an order of keys.
#[derive(Debug)]
struct ConsistentHash<O> {
    order: O,
    bound: Option<LoadBound>,
}

impl<O: KeyOrder> Picker for ConsistentHash<O> {
    fn pick(&self, ctx: &PickContext<'_>) -> Option<usize> {
        let key = ctx.key.unwrap_or(ctx.entropy);
        let untried = |index| !ctx.tried.contains(&index);
        let Some(bound) = &self.bound else {
            return self.order.first(key, untried);
        };
        let admits = bound.admits();
        self.order
            .first(key, |index| untried(index) && admits(index))
            // Only full members are left to try: a retry beats an error.
            .or_else(|| self.order.first(key, untried))
    }
}
