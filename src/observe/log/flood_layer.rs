//! Leaves out events which repeat themselves, before they are formatted.

use std::sync::Arc;

use tracing::{Event, Level, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;

use super::shared::{ACCESS, Shared};
use super::writer;

/// Targets of events with limits of their own: the access log checks before it logs, and the
/// output of replicas is passed on as it is.
const UNLIMITED: [&str; 2] = [ACCESS, "replica"];

/// The life of the process itself (starts, reloads, handovers, phases): each line follows from
/// something that an operator did.
const PROCESS: &str = "weir::server";

/// Decides before each event whether it is written. Events below `INFO` always are: they are off
/// unless an operator turned them on.
pub(super) struct FloodLayer(pub(super) Arc<Shared>);

impl<S: Subscriber> Layer<S> for FloodLayer {
    fn event_enabled(&self, event: &Event<'_>, _: Context<'_, S>) -> bool {
        let metadata = event.metadata();
        *metadata.level() > Level::INFO
            || UNLIMITED.contains(&metadata.target())
            || metadata.target().starts_with(PROCESS)
            || metadata.module_path() == Some(writer::MODULE)
            || self.0.floods.admit_event(event)
    }
}
