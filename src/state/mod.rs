//! The snapshot which the data plane reads, and the one task that builds it.
//!
//! Every change (a new configuration, other members, another health) reaches the
//! [`Publisher`] as a [`Change`]; its task builds the next [`Snapshot`] and stores it. A
//! snapshot is complete and never modified. Live state stands outside, in the targets of
//! the registry, so that it outlives a reload.
//!
//! The control plane reads snapshots through a [`Reader`]. The data plane has a
//! [`DataPlaneReader`], which shows compiled listeners and groups and no configuration.

mod batch;
mod builder;
mod change;
mod compile;
mod diff;
mod draining;
mod effects;
#[cfg(test)]
pub(crate) mod fixture;
mod membership;
mod off_thread;
mod offline;
mod publisher;
mod reader;
mod registry;
mod runtime_settings;
mod snapshot;
#[cfg(test)]
mod tests;
mod work;

pub use change::{Change, Source};
pub use compile::compile_group;
pub use diff::Diff;
pub use offline::compile;
pub use publisher::{Publisher, PublisherTask};
pub use reader::{DataPlaneReader, DataPlaneSnapshot, Reader};
pub use runtime_settings::{Refusal, TargetChange};
pub use snapshot::{CompiledListener, Group, Snapshot};
