//! What the tasks of the control plane share.

use std::process::Command;
use std::sync::Arc;

use crate::observe::Metrics;
use crate::server::supervision::Supervision;
use crate::state::{Publisher, Reader};

/// The parts of a server that its control plane needs.
#[derive(Clone, Debug)]
pub(in crate::server) struct ControlParts {
    pub(in crate::server) publisher: Publisher,
    pub(in crate::server) reader: Reader,
    pub(in crate::server) metrics: Arc<Metrics>,
    /// Called once a second.
    pub(in crate::server) housekeeping: fn(),
    /// See [`crate::replicas::run`].
    pub(in crate::server) guardian: Option<fn() -> Command>,
    pub(in crate::server) supervision: Supervision,
}
