//! The port of a group, on which its targets and replicas rely.

/// Absent, there and wrong, or right: what relies on a wrong one is not reported once more.
pub(super) type GroupPort = Option<Option<u16>>;
