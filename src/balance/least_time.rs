//! The shortest expected wait of all members; equals take turns.
//!
//! The cost of a member is mean time to the response's head x (requests in flight + 1) /
//! weight, as in nginx's `least_time header`. Times within a quarter of the shortest count as
//! equal (nginx rounds to 20 ms for the same reason, which is more than many targets need
//! altogether).
//!
//! A pick reads every member, and of a large group the next [`WINDOW`] in the circle: reading
//! a hundred took 350 ns. The next circle starts behind the member picked, so every member is
//! read in its turn.

use std::num::NonZeroU16;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crossbeam_utils::CachePadded;

use super::picker::{PickContext, Picker};
use super::response_time::{NOISE_PARTS, UNKNOWN_TIME};
use super::roster::{Member, Roster};
use crate::target::Moment;

/// Longer times count as this: 2^36 ns, 69 s.
const MAX_TIME: u64 = 1 << 36;

/// More requests count as this: times [`MAX_TIME`] it still fits into 64 bits.
const MAX_REQUESTS: u64 = 1 << 27;

/// Most members one pick reads.
const WINDOW: usize = 16;

/// The picker of `least_time`.
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
        let members = self.roster.members();
        let circle = (start..members.len()).chain(0..start);
        let mut seen = [Seen::NOTHING; WINDOW];
        let mut shortest = MAX_TIME;
        for (seen, index) in seen.iter_mut().zip(circle) {
            *seen = Seen::new(index, &members[index], now);
            shortest = shortest.min(seen.time);
        }
        let same = shortest + shortest / NOISE_PARTS;
        let (mut soonest, mut least) = (start, u64::MAX);
        for seen in &seen[..members.len().min(WINDOW)] {
            let time = if seen.time <= same {
                shortest
            } else {
                seen.time
            };
            let cost = self.per_weight[seen.index].cost(time, seen.load);
            if cost < least {
                (soonest, least) = (seen.index, cost);
            }
        }
        soonest
    }

    /// The same among members that have not been tried.
    #[cold]
    fn soonest_untried(&self, start: usize, now: Moment, tried: &[usize]) -> Option<usize> {
        let members = self.roster.members();
        let cost = |index: usize| {
            let seen = Seen::new(index, &members[index], now);
            self.per_weight[index].cost(seen.time, seen.load)
        };
        (start..members.len())
            .chain(0..start)
            .filter(|index| !tried.contains(index))
            .min_by_key(|&index| cost(index))
    }
}

impl Picker for LeastTime {
    fn pick(&self, ctx: &PickContext<'_>) -> Option<usize> {
        let len = self.roster.members().len();
        let now = Moment::from(ctx.now);
        // Moved on at once, so that two workers start at different members.
        let turn = self.cursor.fetch_add(1, Ordering::Relaxed);
        let start = (turn % len as u64) as usize;
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

/// What a pick has read of one member.
#[derive(Clone, Copy)]
struct Seen {
    index: usize,
    /// Nanoseconds; 0 for a member that is idle and still tried out.
    time: u64,
    load: u64,
}

impl Seen {
    const NOTHING: Self = Self {
        index: 0,
        time: 0,
        load: 0,
    };

    #[inline]
    fn new(index: usize, member: &Member, now: Moment) -> Self {
        let load = u64::from(member.target.load().score());
        let time = match member.target.latency().mean(now) {
            _ if load == 0 && !member.target.latency().is_tried_out() => 0,
            Some(nanos) => nanos.clamp(1, MAX_TIME),
            None => UNKNOWN_TIME.as_nanos() as u64,
        };
        Self { index, time, load }
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

    /// In half nanoseconds.
    #[inline]
    fn cost(self, time: u64, load: u64) -> u64 {
        let wait = time * (load + 1).min(MAX_REQUESTS);
        ((u128::from(wait) * u128::from(self.0)) >> 64) as u64
    }
}
