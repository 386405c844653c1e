//! Two distinct members by chance, the less loaded of them (Mitzenmacher, "The
//! Power of Two Choices in Randomized Load Balancing", 2001).
//!
//! Nearly as even as `least_connections` at constant cost, and several balancers
//! in front of the same targets do not all pick the same idle one.
//!
//! Both draws are by weight and loads are compared per weight. A tie goes to the
//! first draw, so idle members get their weights' shares. The draws are without
//! replacement: the strictly most loaded member is never picked while there is
//! another to pick.

use std::fmt::Debug;
use std::sync::Arc;
use std::time::Instant;

use super::alias::Alias;
use super::hash::{mix, scale};
use super::picker::{PickContext, Picker, first_untried};
use super::roster::{Member, Roster};

/// Which of two members is taken.
pub(super) trait Choice: Debug + Send + Sync {
    /// Whether the second draw is strictly better than the first.
    fn is_better(&self, second: &Member, first: &Member, now: Instant) -> bool;
}

/// The picker for this roster.
pub(super) fn build(roster: Arc<Roster>) -> Box<dyn Picker> {
    Box::new(TwoChoices::new(roster, LessLoaded))
}

/// Picks the better of two members by `choice`.
#[derive(Debug)]
pub(super) struct TwoChoices<C> {
    roster: Arc<Roster>,
    alias: Alias,
    choice: C,
}

impl<C> TwoChoices<C> {
    pub(super) fn new(roster: Arc<Roster>, choice: C) -> Self {
        Self {
            alias: Alias::new(roster.members()),
            roster,
            choice,
        }
    }

    fn draw(&self, entropy: u64, tried: &[usize], other_than: Option<usize>) -> Option<usize> {
        let refused = |index| other_than == Some(index) || tried.contains(&index);
        self.alias
            .draw_accepted(entropy, |index| !refused(index))
            .or_else(|| {
                let len = self.roster.members().len();
                let start = scale(mix(!entropy), len);
                match first_untried(len, start, tried)? {
                    index if refused(index) => first_untried(len, index + 1, tried),
                    index => Some(index),
                }
            })
    }
}

impl<C: Choice> Picker for TwoChoices<C> {
    fn pick(&self, ctx: &PickContext<'_>) -> Option<usize> {
        let members = self.roster.members();
        let first = self.draw(ctx.entropy, ctx.tried, None)?;
        // `None` or the first again when there is no second.
        let second = self.draw(mix(ctx.entropy), ctx.tried, Some(first));
        Some(match second {
            Some(second)
                if self
                    .choice
                    .is_better(&members[second], &members[first], ctx.now) =>
            {
                second
            }
            _ => first,
        })
    }
}

/// By requests in flight per weight.
#[derive(Debug)]
struct LessLoaded;

impl Choice for LessLoaded {
    fn is_better(&self, second: &Member, first: &Member, _: Instant) -> bool {
        let load = |member: &Member| u64::from(member.target.load().score());
        let weight = |member: &Member| u64::from(member.weight.get());
        load(second) * weight(first) < load(first) * weight(second)
    }
}
