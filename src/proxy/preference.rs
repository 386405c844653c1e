//! What of a request decides about its target.

/// The key and the session of a request.
#[derive(Clone, Copy, Debug)]
pub(super) struct Preference {
    /// The hash of its key, for `consistent_hash` and the algorithms like it.
    pub(super) key: Option<u64>,
    /// The hash of the target that its session is on.
    pub(super) session: Option<u64>,
}
