//! What a request asks of a group, and what it has tried so far.

use std::time::Instant;

use crate::balance::PickContext;

/// What a request asks of a group.
#[derive(Clone, Copy, Debug)]
pub struct PickRequest {
    /// The hash of its key, for `consistent_hash`.
    pub key: Option<u64>,
    /// The target of the request's session, by [`hash_target`](super::hash_target); `None`
    /// from the second attempt on.
    pub session: Option<u64>,
    /// Random bits.
    pub entropy: u64,
    /// When the request came.
    pub now: Instant,
}

impl PickRequest {
    pub(super) fn context<'a>(&self, tried: &'a [usize]) -> PickContext<'a> {
        PickContext {
            key: self.key,
            entropy: self.entropy,
            now: self.now,
            tried,
        }
    }
}

/// Most targets one request may try: with so many that cannot even be reached, another
/// will not help.
pub const MAX_ATTEMPTS: usize = 8;

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

    pub(super) fn push(&mut self, index: usize) {
        self.indexes[self.len] = index;
        self.len += 1;
    }

    pub(super) fn is_full(&self) -> bool {
        self.len == MAX_ATTEMPTS
    }
}

/// Why a group has no target for a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unavailable {
    /// No target is eligible.
    NoTarget,
    /// Every eligible target, or as many as one request may try, has been tried.
    AllTried,
    /// Every eligible target that has not been tried has as many requests as its group
    /// allows.
    Full,
}
