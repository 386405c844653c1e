//! How keys rank the members of a roster: what the methods of `consistent_hash` share.

use std::fmt::Debug;

use super::roster::Roster;

/// Asking this many members costs 50 ns, and 100 ns with weights (`benches/picker.rs`).
const RENDEZVOUS_MEMBERS: usize = 16;

/// How a key ranks the members.
pub(super) trait KeyOrder: Debug + Send + Sync {
    /// The first accepted member in the key's order; `None` when none is accepted.
    fn first(&self, key: u64, accepted: impl Fn(usize) -> bool) -> Option<usize>;
}

/// Whether a roster's group is too large to ask every member for each key.
pub(super) fn is_large(roster: &Roster) -> bool {
    roster.registered() > RENDEZVOUS_MEMBERS
}
