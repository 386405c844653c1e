//! A set of targets with one policy, and how a request gets one of them.
//!
//! A [`TargetGroup`] is immutable: whoever changes membership, weights or health
//! builds another one. Roster and picker change together or not at all.

mod roster;

use std::sync::Arc;

use crate::balance::{PickContext, Picker, Roster};
use crate::model::{HashKey, Lease, Registration, Target, TargetGroupId, Upstream};

pub use crate::balance::{hash_client, hash_key};
pub use roster::{Choice, FailOpen, choose};

/// A set of targets with one policy.
#[derive(Debug)]
pub struct TargetGroup {
    /// Its name.
    pub id: TargetGroupId,
    /// Deadlines and pools towards its targets.
    pub upstream: Upstream,
    /// What requests are hashed by; `None` when the algorithm does not hash.
    pub hash_key: Option<HashKey>,
    /// Everybody in it, eligible or not.
    pub targets: Vec<Registered>,
    /// Whom a request may get; `None` when there is nobody.
    pub selection: Option<Selection>,
    /// Whether requests go to targets that fail their checks, because too few pass.
    pub failing_open: bool,
}

/// A target of a group with its settings.
#[derive(Clone, Debug)]
pub struct Registered {
    /// Its live state.
    pub target: Arc<Target>,
    /// 0-999; 0 gets no new requests.
    pub weight: u16,
    /// What the operator wants from it.
    pub registration: Registration,
}

/// The eligible targets and the algorithm over them.
#[derive(Debug)]
pub struct Selection {
    /// Who may be picked.
    pub roster: Arc<Roster>,
    /// Who is.
    pub picker: Box<dyn Picker>,
}

/// Most targets one request may try.
pub const MAX_ATTEMPTS: usize = 3;

/// The members a request has tried: a short list that needs no allocation.
#[derive(Clone, Copy, Debug, Default)]
pub struct Tried {
    indexes: [usize; MAX_ATTEMPTS],
    len: usize,
}

impl Tried {
    /// The members, in the order they were tried.
    pub fn as_slice(&self) -> &[usize] {
        &self.indexes[..self.len]
    }

    fn push(&mut self, index: usize) {
        self.indexes[self.len] = index;
        self.len += 1;
    }

    fn is_full(&self) -> bool {
        self.len == MAX_ATTEMPTS
    }
}

/// Why a group has no target for a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unavailable {
    /// Nobody is eligible.
    NoTarget,
    /// Everybody eligible, or as many as one request may try, has been tried.
    AllTried,
}

impl TargetGroup {
    /// Picks a target and starts a request on it. `tried` grows by the member that
    /// was picked, so a retry with the same list goes elsewhere.
    pub fn acquire(
        &self,
        key: Option<u64>,
        entropy: u64,
        tried: &mut Tried,
    ) -> Result<Lease, Unavailable> {
        let Selection { roster, picker } = self.selection.as_ref().ok_or(Unavailable::NoTarget)?;
        if tried.is_full() {
            return Err(Unavailable::AllTried);
        }
        let context = PickContext {
            key,
            entropy,
            tried: tried.as_slice(),
        };
        let index = picker.pick(&context).ok_or(Unavailable::AllTried)?;
        tried.push(index);
        Ok(roster.members()[index].target.lease())
    }
}
