//! What every algorithm implements, and what it is given for one pick.

use std::fmt::Debug;
use std::time::Instant;

/// Inputs of one pick. An algorithm ignores what it does not use.
#[derive(Clone, Copy, Debug)]
pub struct PickContext<'a> {
    /// Hash of the request's key, if the group hashes.
    pub key: Option<u64>,
    /// Fresh random bits for this attempt.
    pub entropy: u64,
    /// When the request came: measured times fade with the clock.
    pub now: Instant,
    /// Members already tried for this request, as indexes into the roster.
    pub tried: &'a [usize],
}

/// The data-plane half of a balancing algorithm.
///
/// It may keep atomics. It takes no lock, does no I/O, allocates nothing, reads no
/// clock and draws no random numbers; [`PickContext`] brings those.
pub trait Picker: Debug + Send + Sync {
    /// An index into the roster that is not in `ctx.tried`. Returns `None` exactly when all
    /// members have been tried.
    fn pick(&self, ctx: &PickContext<'_>) -> Option<usize>;
}

/// The first member from `start` on, in a circle, that has not been tried.
///
/// The fallback in every picker's rare case; costs `len` times `tried`.
pub(super) fn first_untried(len: usize, start: usize, tried: &[usize]) -> Option<usize> {
    let start = start % len;
    (start..len)
        .chain(0..start)
        .find(|index| !tried.contains(index))
}
