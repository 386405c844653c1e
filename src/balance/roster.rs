//! The targets that a picker chooses from.

use std::num::NonZeroU16;
use std::sync::Arc;

use crate::target::Target;

/// A target that may be picked, with the settings a reload may change.
#[derive(Clone, Debug)]
pub struct Member {
    /// Its live state.
    pub target: Arc<Target>,
    /// Its share among the members.
    pub weight: NonZeroU16,
}

/// The members a picker may choose from, in a fixed order. Never empty.
#[derive(Debug)]
pub struct Roster {
    members: Box<[Member]>,
    registered: usize,
}

impl Roster {
    /// A roster of these members. Returns `None` if there are none.
    pub fn new(members: Vec<Member>) -> Option<Self> {
        (!members.is_empty()).then(|| Self {
            registered: members.len(),
            members: members.into(),
        })
    }

    /// The same roster, drawn from a group of `registered` targets.
    ///
    /// `consistent_hash` chooses its method by the size of the group. Told the size
    /// that health does not change, it keeps the method, and with it the target of
    /// every key, while targets fail and return.
    #[must_use]
    pub fn drawn_from(self, registered: usize) -> Self {
        Self {
            registered: registered.max(self.members.len()),
            ..self
        }
    }

    /// All members.
    #[inline]
    pub fn members(&self) -> &[Member] {
        &self.members
    }

    /// Whether all members have the same weight.
    pub(super) fn is_even(&self) -> bool {
        let first = self.members[0].weight;
        self.members.iter().all(|member| member.weight == first)
    }

    /// Targets of the group this roster was drawn from, whether they may be picked
    /// or not; the number of members unless [`Roster::drawn_from`] said otherwise.
    pub fn registered(&self) -> usize {
        self.registered
    }
}
