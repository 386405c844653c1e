//! The shortest expected wait of all members; equals take turns.
//!
//! The cost of a member is mean time to the response's head x (requests in flight + 1) /
//! weight, as in nginx's `least_time header`. Times that differ by less than an eighth are
//! the same time and noise: without that the luckiest member would get all requests of a
//! quiet hour (nginx rounds to 20 ms for the same reason, which is more than many targets
//! need altogether).
//!
//! A pick reads every member, in blocks that a processor works on at the same time, and of
//! a large group the next [`WINDOW`] in the circle: reading a hundred took 350 ns. The circle
//! goes on behind the member picked, so each member has its turn to be looked at.

use std::array;
use std::num::NonZeroU16;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crossbeam_utils::CachePadded;

use super::{BLOCK, Member, PickContext, Picker, Roster, UNKNOWN_TIME, smallest};
use crate::model::Moment;

/// The longest time that is told from a longer one: 2^36 ns, 69 s.
const MAX_TIME: u64 = 1 << 36;

/// The most requests that are told from more: times [`MAX_TIME`] they still fit.
const MAX_REQUESTS: u64 = 1 << 27;

/// Most members one pick reads.
const WINDOW: usize = 2 * BLOCK;

/// See the module.
#[derive(Debug)]
pub(super) struct LeastTime {
    roster: Arc<Roster>,
    per_weight: Box<[PerWeight]>,
    /// Where the next search starts, modulo the members.
    cursor: CachePadded<AtomicU64>,
}

impl LeastTime {
    pub(super) fn new(roster: Arc<Roster>, seed: u64) -> Self {
        let members = roster.members();
        let start = seed % members.len() as u64;
        Self {
            per_weight: members.iter().map(|m| PerWeight::new(m.weight)).collect(),
            cursor: CachePadded::new(AtomicU64::new(start)),
            roster,
        }
    }

    /// The first member with the least cost, in the window of the circle from `start`.
    fn soonest(&self, start: usize, now: Moment) -> usize {
        let (before, after) = self.roster.members().split_at(start);
        let (per_before, per_after) = self.per_weight.split_at(start);
        let after = &after[..after.len().min(WINDOW)];
        let before = &before[..before.len().min(WINDOW - after.len())];
        let mut soonest = Soonest {
            index: start,
            cost: u64::MAX,
        };
        for (members, per_weight, mut first) in [(after, per_after, start), (before, per_before, 0)]
        {
            let (blocks, rest) = members.as_chunks::<BLOCK>();
            let (per_blocks, per_rest) = per_weight.as_chunks::<BLOCK>();
            for (block, per_weight) in blocks.iter().zip(per_blocks) {
                let costs: [u64; BLOCK] = array::from_fn(|i| per_weight[i].cost(&block[i], now));
                if smallest(|i| costs[i]) < soonest.cost {
                    soonest.take_in(first, costs.into_iter());
                }
                first += BLOCK;
            }
            let costs = rest.iter().zip(per_rest);
            soonest.take_in(first, costs.map(|(member, per)| per.cost(member, now)));
        }
        soonest.index
    }

    /// The same among members that have not been tried.
    #[cold]
    fn soonest_untried(&self, start: usize, now: Moment, tried: &[usize]) -> Option<usize> {
        let members = self.roster.members();
        (start..members.len())
            .chain(0..start)
            .filter(|index| !tried.contains(index))
            .min_by_key(|&index| self.per_weight[index].cost(&members[index], now))
    }
}

impl Picker for LeastTime {
    fn pick(&self, ctx: &PickContext<'_>) -> Option<usize> {
        let len = self.roster.members().len();
        let now = Moment::from(ctx.now);
        // Moved on at once, so that two workers start at different members.
        let start = self.cursor.fetch_add(1, Ordering::Relaxed) % len as u64;
        let start = start as usize;
        let picked = if ctx.tried.is_empty() {
            self.soonest(start, now)
        } else {
            self.soonest_untried(start, now, ctx.tried)?
        };
        // The next search starts behind the member picked: equals take turns.
        let passed = (picked + len - start) % len;
        if passed > 0 {
            self.cursor.fetch_add(passed as u64, Ordering::Relaxed);
        }
        Some(picked)
    }
}

/// The first of the members that cost least.
struct Soonest {
    index: usize,
    cost: u64,
}

impl Soonest {
    /// Takes in the costs of the members from `first` on.
    fn take_in(&mut self, first: usize, costs: impl Iterator<Item = u64>) {
        for (index, cost) in (first..).zip(costs) {
            if cost < self.cost {
                *self = Self { index, cost };
            }
        }
    }
}

/// Turns a wait into a cost without a division: the reciprocal of a weight, in units of
/// 2^-63.
#[derive(Clone, Copy, Debug)]
struct PerWeight(u64);

impl PerWeight {
    fn new(weight: NonZeroU16) -> Self {
        Self((1 << 63) / u64::from(weight.get()))
    }

    /// In half nanoseconds; 0 for a member that is idle and has never answered.
    #[inline]
    fn cost(self, member: &Member, now: Moment) -> u64 {
        let load = u64::from(member.target.load());
        let time = match member.target.mean_time(now) {
            Some(nanos) => rounded(nanos).clamp(1, MAX_TIME),
            None if load == 0 => 0,
            None => UNKNOWN_TIME.as_nanos() as u64,
        };
        let wait = time * (load + 1).min(MAX_REQUESTS);
        ((u128::from(wait) * u128::from(self.0)) >> 64) as u64
    }
}

/// The four highest bits of a number.
#[inline]
fn rounded(nanos: u64) -> u64 {
    let noise = 60_u32.saturating_sub(nanos.leading_zeros());
    (nanos >> noise) << noise
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_within_an_eighth_are_the_same() {
        assert_eq!(rounded(0), 0);
        assert_eq!(rounded(15), 15);
        assert_eq!(rounded(1_048_576), rounded(1_179_647));
        assert_ne!(rounded(1_048_576), rounded(1_179_648));
        for nanos in (0..40).map(|bits| 12_345_678_901 >> bits) {
            assert!(nanos - rounded(nanos) <= nanos / 8);
        }
    }
}
