//! Reading members in blocks, when all of them must be read.

/// Members that a search for the least loaded reads at once.
pub(super) const BLOCK: usize = 8;

/// The smallest of a block, compared in pairs and not in a row: a processor does the
/// pairs at the same time, and a search for a minimum is nothing but waiting otherwise.
#[inline]
pub(super) fn smallest(value: impl Fn(usize) -> u64) -> u64 {
    const { assert!(BLOCK == 8) };
    let pair = |first: usize| value(first).min(value(first + 1));
    pair(0).min(pair(2)).min(pair(4).min(pair(6)))
}
