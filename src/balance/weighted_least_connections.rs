//! Fewest requests in flight for the weight; equals take weighted turns.
//!
//! The load of a member is 0 when idle, else (in flight + 1) / weight: what it
//! would carry with this request. `in flight / weight` alone would ignore weights
//! among idle members, and `(in flight + 1) / weight` alone would starve light
//! members at low load; the special case is `HAProxy`'s (`fwlc_get_key`). Equals
//! take turns by [`Turns`], so that idle members get exactly their weights' shares.
//!
//! The member that has the turn is read first: when it is idle no other can have
//! less, and the pick is over. Otherwise every member is read once, in blocks: only
//! a block with a member as little loaded as the least so far is searched.

use std::num::NonZeroU16;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crossbeam_utils::CachePadded;

use super::block::{BLOCK, smallest};
use super::least_connections::LeastConnections;
use super::picker::{PickContext, Picker};
use super::roster::Roster;
use super::turns::Turns;

/// Turns looked at for one of the equals before the first of them is taken: keeps a
/// pick bounded when light members are equal beside a very heavy one.
const SKIPS: usize = 256;

/// The picker for this roster. Among equal weights it is [`LeastConnections`]: the
/// least load is then the fewest requests, and turns are the roster's order.
pub(super) fn build(roster: Arc<Roster>, seed: u64) -> Box<dyn Picker> {
    if roster.is_even() {
        Box::new(LeastConnections::new(roster, seed))
    } else {
        Box::new(WeightedLeastConnections::new(roster, seed))
    }
}

/// The picker for uneven weights.
#[derive(Debug)]
struct WeightedLeastConnections {
    roster: Arc<Roster>,
    scales: Box<[Scale]>,
    turns: Turns,
    /// The next turn. Only equals use turns up.
    cursor: CachePadded<AtomicU64>,
}

impl WeightedLeastConnections {
    fn new(roster: Arc<Roster>, seed: u64) -> Self {
        let members = roster.members();
        let turns = Turns::new(members);
        Self {
            scales: members.iter().map(|m| Scale::new(m.weight)).collect(),
            cursor: CachePadded::new(AtomicU64::new(seed % turns.cycle())),
            turns,
            roster,
        }
    }

    fn load(&self, index: usize) -> u64 {
        let target = &self.roster.members()[index].target;
        self.scales[index].load(target.load().score())
    }

    /// Uses a turn up, unless another worker has.
    fn take(&self, turn: u64) -> bool {
        let relaxed = Ordering::Relaxed;
        self.cursor
            .compare_exchange(turn, turn + 1, relaxed, relaxed)
            .is_ok()
    }

    /// The pick when it is not simply the turn of an idle member.
    fn pick_least(&self, turn: u64, eligible: impl Fn(usize) -> bool) -> Option<usize> {
        let least = self.least(&eligible);
        if least.equals > 1 {
            let next_equal = self
                .turns
                .starting_at(turn)
                .take(SKIPS)
                .enumerate()
                .find(|&(_, index)| self.load(index) == least.load && eligible(index));
            if let Some((passed, index)) = next_equal {
                // Another worker may have gone further meanwhile.
                let next = turn + passed as u64 + 1;
                self.cursor.fetch_max(next, Ordering::Relaxed);
                return Some(index);
            }
        }
        (least.equals > 0).then_some(least.index)
    }

    fn least(&self, eligible: impl Fn(usize) -> bool) -> Least {
        let (members, last_members) = self.roster.members().as_chunks::<BLOCK>();
        let (scales, last_scales) = self.scales.as_chunks::<BLOCK>();
        let mut least = Least::NONE;
        for (block, (members, scales)) in members.iter().zip(scales).enumerate() {
            let load = |i: usize| scales[i].load(members[i].target.load().score());
            if smallest(load) <= least.load {
                least.take_in(block * BLOCK, (0..BLOCK).map(load), &eligible);
            }
        }
        let loads = last_members
            .iter()
            .zip(last_scales)
            .map(|(member, scale)| scale.load(member.target.load().score()));
        least.take_in(members.len() * BLOCK, loads, &eligible);
        least
    }
}

impl Picker for WeightedLeastConnections {
    fn pick(&self, ctx: &PickContext<'_>) -> Option<usize> {
        let turn = self.cursor.load(Ordering::Relaxed);
        if !ctx.tried.is_empty() {
            return self.pick_least(turn, |index| !ctx.tried.contains(&index));
        }
        let next = self.turns.at(turn);
        // A turn is used by one worker; the second one looks further.
        if self.roster.members()[next].target.load().score() == 0 && self.take(turn) {
            return Some(next);
        }
        self.pick_least(turn, |_| true)
    }
}

/// Turns requests into a load without a division: the reciprocal of a weight, in
/// units of 2^-63, rounded up.
///
/// For weights below 1024 loads compare exactly as the fractions they stand for.
/// Two different fractions are more than 2^-20 apart, which is the unit of a load;
/// and rounding adds less than 2^-10 units, which carries no fraction with such a
/// weight over the line to the next unit. With larger weights nearly equal members
/// may count as equal. (Cross-multiplying is exact too, and slower in a search: every
/// comparison waits for the one before.)
#[derive(Clone, Copy, Debug)]
struct Scale(u64);

impl Scale {
    fn new(weight: NonZeroU16) -> Self {
        Self((1_u64 << 63).div_ceil(weight.get().into()))
    }

    /// A load has 53 bits at most.
    #[inline]
    fn load(self, in_flight: u32) -> u64 {
        let requests = u64::from(in_flight) + u64::from(in_flight > 0);
        // 2^21 times 2^63 over 2^64 leaves units of 2^-20.
        ((u128::from(requests << 21) * u128::from(self.0)) >> 64) as u64
    }
}

/// The first of the least loaded members.
#[derive(Clone, Copy)]
struct Least {
    index: usize,
    load: u64,
    /// How many are loaded like it, itself included; 0 when no member is eligible.
    equals: usize,
}

impl Least {
    const NONE: Self = Self {
        index: 0,
        load: u64::MAX,
        equals: 0,
    };

    /// Takes in the loads of the members from `first` on.
    fn take_in(
        &mut self,
        first: usize,
        loads: impl Iterator<Item = u64>,
        eligible: impl Fn(usize) -> bool,
    ) {
        for (index, load) in (first..).zip(loads) {
            if load > self.load || !eligible(index) {
                continue;
            }
            if load == self.load {
                self.equals += 1;
            } else {
                *self = Self {
                    index,
                    load,
                    equals: 1,
                };
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loads_compare_like_the_fractions_they_stand_for() {
        let mut rng = fastrand::Rng::with_seed(47);
        let scale = |weight: u32| Scale::new(NonZeroU16::new(weight as u16).unwrap());
        for round in 0..300_000 {
            let (one, other) = (rng.u32(1..=1023), rng.u32(1..=1023));
            // Few requests, many, and counts that make the loads nearly equal.
            let most = [2000, u32::MAX][round % 2];
            let requests = rng.u32(2..=most);
            let others = match round % 3 {
                0 => rng.u32(2..=most),
                _ => (u64::from(requests) * u64::from(other) / u64::from(one))
                    .clamp(2, u32::MAX.into()) as u32,
            };
            let exact =
                (u64::from(requests) * u64::from(other)).cmp(&(u64::from(others) * u64::from(one)));
            let loads = scale(one)
                .load(requests - 1)
                .cmp(&scale(other).load(others - 1));
            assert_eq!(loads, exact, "{requests}/{one} and {others}/{other}");
        }
    }

    #[test]
    fn an_idle_member_carries_nothing_and_a_flooded_one_the_most() {
        let scale = Scale::new(NonZeroU16::MIN);
        assert_eq!(scale.load(0), 0);
        assert_eq!(scale.load(1), 2 << 20);
        assert_eq!(scale.load(u32::MAX), 1 << 52);
    }
}
