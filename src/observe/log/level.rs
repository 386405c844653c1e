//! Which events become lines: by their level, which may be changed at run time, and unless they
//! repeat themselves.

use std::sync::Arc;

use arc_swap::ArcSwap;
use tracing::level_filters::LevelFilter;
use tracing::subscriber::Interest;
use tracing::{Event, Metadata, Subscriber};
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::{Context, Filter};

use super::repeated;
use super::shared::Shared;

/// The levels of the log.
#[derive(Clone, Debug)]
pub(super) struct Levels(Arc<ArcSwap<Targets>>);

impl Levels {
    pub(super) fn new(filter: Targets) -> Self {
        Self(Arc::new(ArcSwap::from_pointee(filter)))
    }

    /// Replaces them.
    pub(super) fn set(&self, filter: Targets) {
        self.0.store(Arc::new(filter));
        tracing::callsite::rebuild_interest_cache();
    }

    /// As `RUST_LOG` has them.
    pub(super) fn text(&self) -> String {
        self.0.load().to_string()
    }
}

/// Decides which events are written.
pub(super) struct LineFilter {
    pub(super) levels: Levels,
    pub(super) shared: Arc<Shared>,
}

impl<S: Subscriber> Filter<S> for LineFilter {
    fn enabled(&self, metadata: &Metadata<'_>, context: &Context<'_, S>) -> bool {
        Filter::enabled(&**self.levels.0.load(), metadata, context)
    }

    fn callsite_enabled(&self, metadata: &'static Metadata<'static>) -> Interest {
        Filter::<S>::callsite_enabled(&**self.levels.0.load(), metadata)
    }

    fn event_enabled(&self, event: &Event<'_>, _: &Context<'_, S>) -> bool {
        repeated::is_written(&self.shared, event)
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        Filter::<S>::max_level_hint(&**self.levels.0.load())
    }
}
