//! Maglev hashing: a table look-up (Eisenbud et al., "Maglev: A Fast and Reliable
//! Software Network Load Balancer", NSDI 2016, section 3.4).
//!
//! Members take turns in claiming slots of a table, each by its own permutation of
//! the slots, until all are taken; a key is a slot. Weights as in Envoy
//! (`maglev_lb.cc`): in each round a member claims only while it is behind its
//! weight, and every member claims one slot in the first. A key falls back to the
//! members of the slots behind its own, so those of a lost member spread over all.
//!
//! The price of the look-up: a removed member moves its own keys and a few others
//! (`tests/property/pickers.rs` holds the bound). The size of the table depends only
//! on the size of the group in coarse steps, because another size moves most keys.

use std::num::NonZeroU16;
use std::sync::Arc;

use super::hash::{hash_target, mix, scale};
use super::key_order::{KeyOrder, is_large};
use super::rendezvous::Rendezvous;
use super::roster::Roster;
use crate::model::{Algorithm, Endpoint};

/// Table sizes: primes, so that every skip visits every slot. The paper wants at
/// least 100 slots per member, for shares within one percent.
const SIZES: [usize; 6] = [65_537, 131_071, 262_147, 524_309, 1_048_583, 2_097_169];

/// Slots per member that a table has at least.
const SLOTS_PER_MEMBER: usize = 100;

/// Slots passed, per member, before a fall-back stops walking the table.
const PASSED_SLOTS: usize = 16;

/// A slot that no member has claimed yet, and the position of a member that a roster lacks.
const NONE: u32 = u32::MAX;

#[cfg(test)]
thread_local! {
    /// Tables built by this thread.
    pub(crate) static TABLES_BUILT: std::cell::Cell<usize> = const { std::cell::Cell::new(0) };
}

/// The slots of a large group and which member claimed each: a few milliseconds of work for a
/// hundred members, and a second for a hundred thousand.
#[derive(Debug)]
pub struct KeyTable {
    /// Indexes into `members`.
    slots: Box<[u32]>,
    /// Sorted by address, so that the order of a roster is of no importance.
    members: Box<[(Endpoint, NonZeroU16)]>,
}

impl KeyTable {
    /// Whether a roster of this algorithm needs a table.
    pub fn is_wanted(algorithm: Algorithm, roster: &Roster) -> bool {
        algorithm == Algorithm::ConsistentHash && is_large(roster)
    }

    /// The table of a roster.
    pub fn new(roster: &Roster) -> Self {
        #[cfg(test)]
        TABLES_BUILT.set(TABLES_BUILT.get() + 1);
        let members: Box<[_]> = by_address(roster)
            .into_iter()
            .map(|(addr, weight, _)| (addr, weight))
            .collect();
        let size = size(roster);
        let slots = fill(&mut claimants(&members, size), size);
        Self { slots, members }
    }

    /// Whether it is the table of this roster, and not of an earlier one.
    pub fn is_of(&self, roster: &Roster) -> bool {
        let members = by_address(roster)
            .into_iter()
            .map(|(addr, weight, _)| (addr, weight));
        self.slots.len() == size(roster) && members.eq(self.members.iter().cloned())
    }
}

/// Looks keys up in a table.
#[derive(Debug)]
pub(super) struct Maglev {
    table: Arc<KeyTable>,
    /// For each member of the table its position in the roster; [`NONE`] for one that may not
    /// be picked.
    positions: Box<[u32]>,
    /// Decides when walking the table has found no member.
    rendezvous: Rendezvous,
}

impl Maglev {
    /// Looks keys up in this table, which may be that of an earlier roster: members that have
    /// left are passed over, and new ones have no keys yet. Returns `None` if less than half
    /// of the members are in both.
    pub(super) fn new(table: &Arc<KeyTable>, roster: &Roster) -> Option<Self> {
        let mut positions = vec![NONE; table.members.len()];
        let mut known = table.members.iter().zip(&mut positions).peekable();
        let mut shared = 0;
        for (addr, _, index) in by_address(roster) {
            while known.next_if(|((other, _), _)| *other < addr).is_some() {}
            if let Some((_, position)) = known.next_if(|((other, _), _)| *other == addr) {
                *position = index;
                shared += 1;
            }
        }
        let most = table.members.len().max(roster.members().len());
        (shared * 2 >= most).then(|| Self {
            table: Arc::clone(table),
            positions: positions.into(),
            rendezvous: Rendezvous::new(roster),
        })
    }

    fn position(&self, slot: u32) -> Option<usize> {
        let position = self.positions[slot as usize];
        (position != NONE).then_some(position as usize)
    }
}

impl KeyOrder for Maglev {
    fn first(&self, key: u64, accepted: impl Fn(usize) -> bool) -> Option<usize> {
        let slots = &self.table.slots;
        let start = scale(key, slots.len());
        if let Some(own) = self.position(slots[start]).filter(|&own| accepted(own)) {
            return Some(own);
        }
        let (before, after) = slots.split_at(start);
        after
            .iter()
            .chain(before)
            .take(PASSED_SLOTS * self.positions.len())
            .filter_map(|&slot| self.position(slot))
            .find(|&index| accepted(index))
            .or_else(|| self.rendezvous.first(key, accepted))
    }
}

/// How many slots a roster's table has.
fn size(roster: &Roster) -> usize {
    let wanted = roster.registered() * SLOTS_PER_MEMBER;
    let size = SIZES.iter().find(|&&size| size >= wanted);
    *size.unwrap_or(&SIZES[SIZES.len() - 1])
}

/// Addresses, weights and positions of a roster's members, sorted by address.
fn by_address(roster: &Roster) -> Vec<(Endpoint, NonZeroU16, u32)> {
    let mut members: Vec<_> = (0..)
        .zip(roster.members())
        .map(|(index, member)| (member.target.id.addr.clone(), member.weight, index))
        .collect();
    members.sort_unstable();
    members
}

/// A member on its way through its permutation.
struct Claimant {
    index: u32,
    weight: u64,
    /// The next slot it wants.
    next: usize,
    skip: usize,
    /// Weight it must have gained to claim again.
    due: u64,
}

fn claimants(members: &[(Endpoint, NonZeroU16)], size: usize) -> Vec<Claimant> {
    let claimant = |(index, (addr, weight)): (u32, &(Endpoint, NonZeroU16))| {
        let identity = hash_target(addr);
        Claimant {
            index,
            weight: u64::from(weight.get()),
            next: scale(identity, size),
            skip: 1 + scale(mix(identity), size - 1),
            due: 0,
        }
    };
    (0..).zip(members).map(claimant).collect()
}

fn fill(claimants: &mut [Claimant], size: usize) -> Box<[u32]> {
    let heaviest = claimants.iter().map(|c| c.weight).max().unwrap_or(1);
    let mut slots = vec![NONE; size].into_boxed_slice();
    let mut free = size;
    for round in 1.. {
        for claimant in claimants.iter_mut() {
            if free == 0 {
                return slots;
            }
            if round * claimant.weight < claimant.due {
                continue;
            }
            claimant.due += heaviest;
            while slots[claimant.next] != NONE {
                claimant.advance(size);
            }
            slots[claimant.next] = claimant.index;
            claimant.advance(size);
            free -= 1;
        }
    }
    slots
}

impl Claimant {
    fn advance(&mut self, size: usize) {
        self.next += self.skip;
        if self.next >= size {
            self.next -= size;
        }
    }
}
