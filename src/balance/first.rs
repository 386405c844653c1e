//! The first member with a free slot; weights ignored.
//!
//! Members are filled to their group's concurrency limit one after another, as in
//! `HAProxy`'s `first`: the last ones are idle, so a scaler sees which of them it can
//! remove. Without a limit the first member takes everything while it is in the roster.

use std::sync::Arc;

use super::picker::{PickContext, Picker};
use super::roster::Roster;

/// The picker of `first`.
#[derive(Debug)]
pub(super) struct First {
    roster: Arc<Roster>,
}

impl First {
    pub(super) fn new(roster: Arc<Roster>) -> Self {
        Self { roster }
    }
}

impl Picker for First {
    fn pick(&self, ctx: &PickContext<'_>) -> Option<usize> {
        let members = self.roster.members();
        let untried = || (0..members.len()).filter(|index| !ctx.tried.contains(index));
        untried()
            .find(|&index| members[index].target.has_free_slot())
            .or_else(|| untried().next())
    }
}
