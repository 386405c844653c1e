//! Smooth weighted round robin: each member exactly its weight's share of every
//! cycle, heavy members spread out. The order is [`Turns`]'s.
//!
//! All workers share one cursor, so shares are exact for the daemon and not only
//! for each worker. Members already tried lose the turn to the next in order.

use std::sync::atomic::{AtomicU64, Ordering};

use crossbeam_utils::CachePadded;

use super::picker::{PickContext, Picker, first_untried};
use super::roster::Roster;
use super::turns::Turns;

/// Turns looked at for a member that has not been tried, before any such member will
/// do: keeps a retry cheap when a heavy member has been tried.
const SKIPS: usize = 64;

/// The picker of `round_robin`.
#[derive(Debug)]
pub(super) struct RoundRobin {
    turns: Turns,
    members: usize,
    cursor: CachePadded<AtomicU64>,
}

impl RoundRobin {
    pub(super) fn new(roster: &Roster, seed: u64) -> Self {
        let turns = Turns::new(roster.members());
        Self {
            cursor: CachePadded::new(AtomicU64::new(seed % turns.cycle())),
            members: roster.members().len(),
            turns,
        }
    }

    #[cold]
    fn pick_untried(&self, turn: u64, tried: &[usize]) -> Option<usize> {
        self.turns
            .starting_at(turn)
            .take(SKIPS)
            .find(|index| !tried.contains(index))
            .or_else(|| first_untried(self.members, turn as usize, tried))
    }
}

impl Picker for RoundRobin {
    fn pick(&self, ctx: &PickContext<'_>) -> Option<usize> {
        let turn = self.cursor.fetch_add(1, Ordering::Relaxed);
        if ctx.tried.is_empty() {
            return Some(self.turns.at(turn));
        }
        self.pick_untried(turn, ctx.tried)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;
    use crate::balance::fixture::members;

    #[test]
    fn the_seed_turns_the_cycle() {
        let roster = Roster::new(members(&[5, 1, 1])).unwrap();
        let order = |seed| -> Vec<usize> {
            let picker = RoundRobin::new(&roster, seed);
            let pick = |entropy| {
                let ctx = PickContext {
                    key: None,
                    entropy,
                    now: Instant::now(),
                    tried: &[],
                };
                picker.pick(&ctx).unwrap()
            };
            (0..7).map(pick).collect()
        };
        assert_eq!(order(0), [0, 0, 1, 0, 2, 0, 0]);
        assert_eq!(order(2), [1, 0, 2, 0, 0, 0, 0]);
    }
}
