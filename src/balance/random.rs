//! Uniform by weight, without memory: nothing is shared, nothing is counted.

use super::alias::Alias;
use super::hash::scale;
use super::picker::{PickContext, Picker, first_untried};
use super::roster::Roster;

/// The picker of `random` and `weighted_random`.
#[derive(Debug)]
pub(super) struct Random {
    alias: Alias,
    members: usize,
}

impl Random {
    pub(super) fn new(roster: &Roster) -> Self {
        Self {
            alias: Alias::new(roster.members()),
            members: roster.members().len(),
        }
    }
}

impl Picker for Random {
    fn pick(&self, ctx: &PickContext<'_>) -> Option<usize> {
        if ctx.tried.is_empty() {
            return Some(self.alias.draw(ctx.entropy));
        }
        self.alias
            .draw_accepted(ctx.entropy, |index| !ctx.tried.contains(&index))
            .or_else(|| first_untried(self.members, scale(ctx.entropy, self.members), ctx.tried))
    }
}
