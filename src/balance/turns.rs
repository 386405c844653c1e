//! The order in which weighted members take turns.
//!
//! An order is a cycle of Σ(weight / gcd) turns in which each member has exactly
//! its weight. It is computed once and never changes, so taking a turn is one
//! addition to a shared cursor and a look-up, without a lock. Three forms, by cost:
//!
//! - equal weights: the roster in its own order; nothing is stored;
//! - small groups (members × turns ≤ [`SMOOTH_STEPS`]): nginx's smooth weighted round
//!   robin, written down (5, 1, 1 → a a b a c a a);
//! - the rest: turns visit the interval [0, Σ) by a stride near the golden section
//!   and coprime to Σ. A full cycle visits every point once, so shares are exact;
//!   any stretch of it is spread as evenly as a fixed stride can be, because the
//!   gaps between the turns of one member take at most three lengths (the
//!   three-distance theorem; Knuth, TAOCP vol. 3, section 6.4). Memory and build
//!   time are linear in the members, whatever the weights.

use super::roster::Member;

/// Most steps spent on writing a smooth order down: about 0.1 ms, and every group of
/// up to eight members with weights up to 999 stays below.
const SMOOTH_STEPS: u64 = 1 << 16;

/// Strides tried for one with small quotients in its continued fraction. About one in
/// four is both coprime and good, so a few dozen always hold one.
const STRIDES: u64 = 32;

/// An endless, exact order of turns.
#[derive(Debug)]
pub(super) struct Turns {
    cycle: u64,
    order: Order,
}

#[derive(Debug)]
enum Order {
    Plain,
    Smooth(Box<[u32]>),
    Strided(Strided),
}

impl Turns {
    /// The order of these members' turns.
    pub(super) fn new(members: &[Member]) -> Self {
        let weights = reduced(members);
        let cycle: u64 = weights.iter().sum();
        let len = weights.len() as u64;
        let order = if cycle == len {
            Order::Plain
        } else if cycle * len <= SMOOTH_STEPS {
            Order::Smooth(smooth(&weights, cycle))
        } else {
            Order::Strided(Strided::new(&weights, cycle))
        };
        Self { cycle, order }
    }

    /// After how many turns the order repeats.
    pub(super) fn cycle(&self) -> u64 {
        self.cycle
    }

    /// The member that has this turn.
    pub(super) fn at(&self, turn: u64) -> usize {
        self.member(self.position(turn))
    }

    /// The member that has this turn, then those of the turns that follow, endlessly.
    pub(super) fn starting_at(&self, turn: u64) -> impl Iterator<Item = usize> {
        let step = match &self.order {
            Order::Plain | Order::Smooth(_) => 1,
            Order::Strided(strided) => strided.stride,
        };
        let next = move |position: &u64| {
            let next = position + step;
            // One division for the whole walk is enough: see `position`.
            Some(if next < self.cycle {
                next
            } else {
                next - self.cycle
            })
        };
        std::iter::successors(Some(self.position(turn)), next).map(|position| self.member(position))
    }

    /// Where in [0, cycle) a turn falls.
    fn position(&self, turn: u64) -> u64 {
        match &self.order {
            Order::Plain | Order::Smooth(_) => turn % self.cycle,
            // No overflow before four million members of weight 999; beyond, turns
            // would be uneven, and still legal.
            Order::Strided(strided) => {
                (turn % self.cycle).wrapping_mul(strided.stride) % self.cycle
            }
        }
    }

    fn member(&self, position: u64) -> usize {
        match &self.order {
            Order::Plain => position as usize,
            Order::Smooth(order) => order[position as usize] as usize,
            Order::Strided(strided) => strided.at(position),
        }
    }
}

/// Weights divided by what they have in common.
fn reduced(members: &[Member]) -> Vec<u64> {
    let weights = members.iter().map(|member| u64::from(member.weight.get()));
    let common = weights.clone().reduce(gcd).unwrap_or(1);
    weights.map(|weight| weight / common).collect()
}

fn gcd(a: u64, b: u64) -> u64 {
    if b == 0 { a } else { gcd(b, a % b) }
}

/// nginx's order (`ngx_http_upstream_get_peer`): with each turn every member gains its
/// weight; the first with the most takes the turn and loses the sum of all weights.
fn smooth(weights: &[u64], cycle: u64) -> Box<[u32]> {
    let mut current = vec![0_i64; weights.len()];
    let turn = |_| {
        let mut best = 0;
        for (index, weight) in weights.iter().enumerate() {
            current[index] += weight.cast_signed();
            if current[index] > current[best] {
                best = index;
            }
        }
        current[best] -= cycle.cast_signed();
        best as u32
    };
    (0..cycle).map(turn).collect()
}

/// Turns by stride over members laid end to end.
#[derive(Debug)]
struct Strided {
    stride: u64,
    /// Where each member's stretch of [0, cycle) ends.
    ends: Box<[u64]>,
    /// For each block of 2^`shift` points, the member its first point belongs to.
    blocks: Box<[u32]>,
    shift: u32,
}

impl Strided {
    fn new(weights: &[u64], cycle: u64) -> Self {
        let ends: Box<[u64]> = weights
            .iter()
            .scan(0, |end, weight| {
                *end += weight;
                Some(*end)
            })
            .collect();
        // One to two blocks per member: a look-up passes one member on average.
        let shift = (cycle / weights.len() as u64).ilog2();
        let mut member = 0;
        let blocks = (0..=(cycle - 1) >> shift)
            .map(|block| {
                while ends[member] <= block << shift {
                    member += 1;
                }
                member as u32
            })
            .collect();
        Self {
            stride: stride(cycle),
            ends,
            blocks,
            shift,
        }
    }

    /// The member with the stretch that a point is in.
    fn at(&self, point: u64) -> usize {
        let mut member = self.blocks[(point >> self.shift) as usize] as usize;
        while self.ends[member] <= point {
            member += 1;
        }
        member
    }
}

/// A number near `cycle` divided by the golden ratio and coprime to `cycle`; of those, the
/// one with the smallest largest quotient in its continued fraction: the smaller the
/// quotients, the more even every stretch (Niederreiter, "Random Number Generation
/// and Quasi-Monte Carlo Methods", 1992, section 3.1).
fn stride(cycle: u64) -> u64 {
    const GOLDEN: f64 = 0.618_033_988_749_894_9;
    let ideal = (cycle as f64 * GOLDEN) as u64;
    (0..STRIDES)
        .map(|step| {
            if step % 2 == 0 {
                ideal + step / 2
            } else {
                ideal.saturating_sub(step / 2)
            }
        })
        .filter(|&stride| stride > 0 && stride < cycle && gcd(stride, cycle) == 1)
        .min_by_key(|&stride| largest_quotient(stride, cycle))
        .unwrap_or(1)
}

/// The largest partial quotient of the continued fraction of `part` / `whole`.
fn largest_quotient(mut part: u64, mut whole: u64) -> u64 {
    let mut largest = 0;
    while part > 0 {
        largest = largest.max(whole / part);
        (part, whole) = (whole % part, part);
    }
    largest
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::balance::fixture::members;

    #[test]
    fn small_groups_take_turns_in_nginx_order() {
        let turns = Turns::new(&members(&[5, 1, 1]));
        let order: Vec<usize> = (0..7).map(|turn| turns.at(turn)).collect();
        assert_eq!(order, [0, 0, 1, 0, 2, 0, 0]);
    }

    #[test]
    fn a_common_factor_does_not_lengthen_the_cycle() {
        assert_eq!(Turns::new(&members(&[100, 300])).cycle(), 4);
        assert_eq!(Turns::new(&members(&[7; 1000])).cycle(), 1000);
    }

    #[test]
    fn large_groups_are_exact_over_a_cycle_and_even_within_it() {
        let mut rng = fastrand::Rng::with_seed(5);
        for len in [20, 40, 200] {
            let weights: Vec<u16> = (0..len).map(|_| rng.u16(1..=999)).collect();
            let turns = Turns::new(&members(&weights));
            assert!(matches!(turns.order, Order::Strided(_)));
            let total: u32 = weights.iter().map(|&weight| u32::from(weight)).sum();
            assert_eq!(turns.cycle(), u64::from(total));

            let mut counts = vec![0_u32; len];
            for turn in 0..turns.cycle() {
                counts[turns.at(turn)] += 1;
                let share = |member: usize| {
                    f64::from(weights[member]) / f64::from(total) * (turn + 1) as f64
                };
                let member = turns.at(turn);
                let error = (f64::from(counts[member]) - share(member)).abs();
                assert!(error < 4.0, "member {member} is {error} turns off");
            }
            let expected: Vec<u32> = weights.iter().map(|&weight| weight.into()).collect();
            assert_eq!(counts, expected);
        }
    }
}
