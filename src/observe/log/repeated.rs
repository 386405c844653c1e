//! Leaves out events which repeat themselves, before they are formatted.

use tracing::{Event, Level};

use super::shared::{ACCESS, Shared};
use super::writer;

/// Targets of events with limits of their own: the access log checks before it logs, and the
/// output of replicas is passed on as it is.
const UNLIMITED: [&str; 2] = [ACCESS, "replica"];

/// The life of the process itself (starts, reloads, handovers, phases): each line follows from
/// something that an operator did.
const PROCESS: &str = "weir::server";

/// Whether an event is written. Events below `INFO` always are: they are off unless an operator
/// turned them on.
pub(super) fn is_written(shared: &Shared, event: &Event<'_>) -> bool {
    let metadata = event.metadata();
    *metadata.level() > Level::INFO
        || UNLIMITED.contains(&metadata.target())
        || metadata.target().starts_with(PROCESS)
        || metadata.module_path() == Some(writer::MODULE)
        || shared.floods.admit_event(event)
}
