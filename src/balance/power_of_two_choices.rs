//! Two distinct members by chance, the less loaded of them (Mitzenmacher, "The
//! Power of Two Choices in Randomized Load Balancing", 2001).
//!
//! Nearly as even as `least_connections` at constant cost, and several balancers
//! in front of the same targets do not all rush to the same idle one.
//!
//! Both draws are by weight and loads are compared per weight. A tie goes to the
//! first draw, so idle members get their weights' shares. The draws are without
//! replacement: the strictly most loaded member is never picked while there is
//! another to pick.

use std::sync::Arc;

use super::alias::Alias;
use super::hash::{mix, scale};
use super::{Member, PickContext, Picker, Roster, first_untried};

/// See the module.
#[derive(Debug)]
pub(super) struct PowerOfTwoChoices {
    roster: Arc<Roster>,
    alias: Alias,
}

impl PowerOfTwoChoices {
    pub(super) fn new(roster: Arc<Roster>) -> Self {
        Self {
            alias: Alias::new(roster.members()),
            roster,
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

impl Picker for PowerOfTwoChoices {
    fn pick(&self, ctx: &PickContext<'_>) -> Option<usize> {
        let members = self.roster.members();
        let first = self.draw(ctx.entropy, ctx.tried, None)?;
        // `None` or the first again when there is no second.
        let second = self.draw(mix(ctx.entropy), ctx.tried, Some(first));
        Some(match second {
            Some(second) if is_less_loaded(&members[second], &members[first]) => second,
            _ => first,
        })
    }
}

/// Strictly, by requests in flight per weight.
fn is_less_loaded(one: &Member, other: &Member) -> bool {
    let load = |member: &Member| u64::from(member.target.load());
    let weight = |member: &Member| u64::from(member.weight.get());
    load(one) * weight(other) < load(other) * weight(one)
}
