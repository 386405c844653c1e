//! Fewest requests in flight, weights ignored; equals take turns.
//!
//! A pick reads the members' counters in a circle that starts behind the last
//! pick and stops at the first idle member: no other can have less. With an idle
//! member near, that is a handful of reads; with none, one read per member.
//! The first of the least loaded in the circle wins, so equals take turns and
//! sequential requests do not all go to the first member.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crossbeam_utils::CachePadded;

use super::block::{BLOCK, smallest};
use super::picker::{PickContext, Picker};
use super::roster::{Member, Roster};

/// The picker of `least_connections`.
#[derive(Debug)]
pub(super) struct LeastConnections {
    roster: Arc<Roster>,
    /// Where the next circle starts, modulo the members.
    cursor: CachePadded<AtomicU64>,
}

impl LeastConnections {
    pub(super) fn new(roster: Arc<Roster>, seed: u64) -> Self {
        let start = seed % roster.members().len() as u64;
        Self {
            roster,
            cursor: CachePadded::new(AtomicU64::new(start)),
        }
    }
}

impl Picker for LeastConnections {
    fn pick(&self, ctx: &PickContext<'_>) -> Option<usize> {
        let members = self.roster.members();
        // Moved on at once, so that two workers start at different members.
        let turn = self.cursor.fetch_add(1, Ordering::Relaxed);
        let start = (turn % members.len() as u64) as usize;
        let picked = if ctx.tried.is_empty() {
            least(members, start)
        } else {
            least_untried(members, start, ctx.tried)?
        };
        let passed = (picked + members.len() - start) % members.len();
        if passed > 0 {
            self.cursor.fetch_add(passed as u64, Ordering::Relaxed);
        }
        Some(picked)
    }
}

/// The first member with the least in flight, in the circle from `start`.
fn least(members: &[Member], start: usize) -> usize {
    let (before, after) = members.split_at(start);
    let mut least = Least(u64::MAX);
    let mut position = 0;
    for half in [after, before] {
        let (blocks, rest) = half.as_chunks::<BLOCK>();
        for block in blocks {
            let count = |i: usize| Least::new(&block[i], position + i).0;
            least.0 = least.0.min(smallest(count));
            position += BLOCK;
            if least.is_idle() {
                return (start + least.position()) % members.len();
            }
        }
        for member in rest {
            least.0 = least.0.min(Least::new(member, position).0);
            position += 1;
        }
        if least.is_idle() {
            break;
        }
    }
    (start + least.position()) % members.len()
}

/// The same among members that have not been tried.
#[cold]
fn least_untried(members: &[Member], start: usize, tried: &[usize]) -> Option<usize> {
    (start..members.len())
        .chain(0..start)
        .filter(|index| !tried.contains(index))
        .min_by_key(|&index| members[index].target.load().score())
}

/// The least count and the first position that has it, as one number.
///
/// Which member is the next minimum is hard to foresee for a processor; comparing
/// one number needs no branch.
#[derive(Clone, Copy)]
struct Least(u64);

impl Least {
    fn new(member: &Member, position: usize) -> Self {
        Self((u64::from(member.target.load().score()) << 32) | position as u64)
    }

    fn is_idle(self) -> bool {
        self.0 >> 32 == 0
    }

    fn position(self) -> usize {
        (self.0 & 0xFFFF_FFFF) as usize
    }
}
