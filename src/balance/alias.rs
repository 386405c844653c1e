//! Draws a member by weight in constant time (the alias method: Walker, 1977;
//! built in linear time as in Vose, "A Linear Algorithm for Generating Random
//! Numbers with a Given Distribution", 1991).

use super::hash::{mix, scale};
use super::roster::Member;

/// Most draws for an accepted member. If all of them are refused, the caller searches for one.
pub(super) const DRAWS: usize = 8;

/// A table of draws: every column is drawn alike and shared by at most two members.
#[derive(Debug)]
pub(super) struct Alias {
    columns: Box<[Column]>,
}

#[derive(Clone, Copy, Debug)]
struct Column {
    /// The column's own member is drawn if the coin, 32 random bits, is below this.
    /// 2^32 stands for always.
    own: u64,
    other: u32,
}

impl Alias {
    pub(super) fn new(members: &[Member]) -> Self {
        let len = members.len() as u64;
        let weights = members.iter().map(|member| u64::from(member.weight.get()));
        let total: u64 = weights.clone().sum();
        // In units in which a column holds `total` and all members together fill all columns.
        let mut rest: Vec<u64> = weights.map(|weight| weight * len).collect();
        let (mut small, mut large): (Vec<usize>, Vec<usize>) =
            (0..members.len()).partition(|&index| rest[index] < total);
        let mut columns: Box<[Column]> = (0..members.len())
            .map(|index| Column {
                own: 1 << 32,
                other: index as u32,
            })
            .collect();
        while let (Some(index), Some(&other)) = (small.pop(), large.last()) {
            columns[index] = Column {
                own: (rest[index] << 32) / total,
                other: other as u32,
            };
            rest[other] -= total - rest[index];
            if rest[other] < total {
                large.pop();
                small.push(other);
            }
        }
        Self { columns }
    }

    /// A member, each with its weight's chance (to 2^-32) if `entropy` is uniform.
    pub(super) fn draw(&self, entropy: u64) -> usize {
        let index = scale(entropy, self.columns.len());
        let column = self.columns[index];
        // The high bits chose the column; the low ones toss the coin.
        if entropy & 0xFFFF_FFFF < column.own {
            index
        } else {
            column.other as usize
        }
    }

    /// A member that is accepted, by weight among those that are; `None` if
    /// [`DRAWS`] draws found none, which does not mean that there is none.
    pub(super) fn draw_accepted(
        &self,
        mut entropy: u64,
        accepted: impl Fn(usize) -> bool,
    ) -> Option<usize> {
        for _ in 0..DRAWS {
            let index = self.draw(entropy);
            if accepted(index) {
                return Some(index);
            }
            entropy = mix(entropy);
        }
        None
    }
}
