//! A rule and where the file writes it.

use super::node::Node;
use crate::model::{Rule, TargetGroupId};

/// A rule with its places.
pub(super) struct Placed<'a> {
    pub(super) rule: Rule<TargetGroupId>,
    /// Its priority.
    pub(super) node: Node<'a>,
    /// Its `then`.
    pub(super) action: Node<'a>,
}
