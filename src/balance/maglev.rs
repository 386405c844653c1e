//! Maglev hashing: a table look-up (Eisenbud et al., "Maglev: A Fast and Reliable
//! Software Network Load Balancer", NSDI 2016, section 3.4).
//!
//! Members take turns in claiming slots of a table, each by its own permutation of
//! the slots, until all are taken; a key is a slot. Weights as in Envoy
//! (`maglev_lb.cc`): in each round a member claims only while it is behind its
//! weight, and everyone claims one slot in the first. A key falls back to the
//! members of the slots behind its own, so those of a lost member spread over all.
//!
//! The price of the look-up: a removed member moves its own keys and a few others
//! (`tests/property/pickers.rs` holds the bound). The size of the table depends only
//! on the size of the group in coarse steps, because another size moves most keys.

use super::Roster;
use super::consistent_hash::KeyOrder;
use super::hash::{hash_target, mix, scale};
use super::rendezvous::Rendezvous;

/// Table sizes: primes, so that every skip visits every slot. The paper wants at
/// least 100 slots per member, for shares within one percent.
const SIZES: [usize; 6] = [65_537, 131_071, 262_147, 524_309, 1_048_583, 2_097_169];

/// Slots per member that a table has at least.
const SLOTS_PER_MEMBER: usize = 100;

/// Slots passed, per member, before a fall-back stops walking the table.
const PASSED_SLOTS: usize = 16;

/// A slot that nobody claimed yet.
const FREE: u32 = u32::MAX;

/// See the module.
#[derive(Debug)]
pub(super) struct Maglev {
    slots: Box<[u32]>,
    /// Decides when walking the table has found nobody.
    rendezvous: Rendezvous,
    members: usize,
}

impl Maglev {
    pub(super) fn new(roster: &Roster) -> Self {
        let wanted = roster.registered() * SLOTS_PER_MEMBER;
        let size = SIZES.iter().find(|&&size| size >= wanted);
        let size = *size.unwrap_or(&SIZES[SIZES.len() - 1]);
        Self {
            slots: fill(&mut claimants(roster, size), size),
            rendezvous: Rendezvous::new(roster),
            members: roster.members().len(),
        }
    }
}

impl KeyOrder for Maglev {
    fn first(&self, key: u64, accepted: impl Fn(usize) -> bool) -> Option<usize> {
        let size = self.slots.len();
        let start = scale(key, size);
        let own = self.slots[start] as usize;
        if accepted(own) {
            return Some(own);
        }
        let (before, after) = self.slots.split_at(start);
        after
            .iter()
            .chain(before)
            .take(PASSED_SLOTS * self.members)
            .map(|&index| index as usize)
            .find(|&index| accepted(index))
            .or_else(|| self.rendezvous.first(key, accepted))
    }
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

/// The members, in an order that does not depend on the roster's.
fn claimants(roster: &Roster, size: usize) -> Vec<Claimant> {
    let mut members: Vec<_> = roster.members().iter().enumerate().collect();
    members.sort_unstable_by_key(|(_, member)| member.target.id.addr);
    let claimant = |(index, member): (usize, &super::Member)| {
        let identity = hash_target(member.target.id.addr);
        Claimant {
            index: index as u32,
            weight: u64::from(member.weight.get()),
            next: scale(identity, size),
            skip: 1 + scale(mix(identity), size - 1),
            due: 0,
        }
    };
    members.into_iter().map(claimant).collect()
}

fn fill(claimants: &mut [Claimant], size: usize) -> Box<[u32]> {
    let heaviest = claimants.iter().map(|c| c.weight).max().unwrap_or(1);
    let mut slots = vec![FREE; size].into_boxed_slice();
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
            while slots[claimant.next] != FREE {
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
