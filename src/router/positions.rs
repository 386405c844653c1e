//! Lists of rules.

/// Positions of rules in their table, in order.
pub(super) type Positions = Vec<u32>;
