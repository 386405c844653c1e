//! What is published together.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::sync::oneshot;

use super::diff::Diff;
use super::runtime_settings::Refusal;
use crate::config::Config;
use crate::model::{Maintenance, TargetGroupId, TargetId};
use crate::target_group::Registered;

/// What one publication changes.
#[derive(Debug, Default)]
pub(super) struct Batch {
    pub(super) config: Option<Arc<Config>>,
    pub(super) groups: BTreeMap<TargetGroupId, Scope>,
    pub(super) replies: Vec<Reply>,
}

/// How much of a group is built anew.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Scope {
    /// Which of its targets may be picked, and how.
    Roster,
    /// Its targets too.
    Targets,
}

/// What is sent once a publication is visible.
#[derive(Debug)]
pub(super) enum Reply {
    Configured(Diff, oneshot::Sender<Diff>),
    Maintained(
        Option<Maintenance>,
        oneshot::Sender<Result<Option<Maintenance>, Refusal>>,
    ),
    Changed(
        TargetId,
        oneshot::Sender<Result<Option<Registered>, Refusal>>,
    ),
}

impl Batch {
    /// Adds a group, or widens its scope.
    pub(super) fn note(&mut self, group: TargetGroupId, scope: Scope) {
        let noted = self.groups.entry(group).or_insert(scope);
        *noted = scope.max(*noted);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.config.is_none() && self.groups.is_empty()
    }
}
