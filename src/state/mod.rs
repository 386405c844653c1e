//! The picture the data plane reads, and the one task that paints it.
//!
//! Every change (a new configuration, other members, a health flip) reaches the
//! [`Publisher`] as a [`Change`]; it builds the next [`Snapshot`] and stores it. A
//! snapshot is complete and never modified. Live counters stand outside, in the
//! targets of the registry, so that they outlive a reload.

mod builder;
mod change;
mod compile;
mod diff;
mod fact;
#[cfg(test)]
pub(crate) mod fixture;
mod leaving;
mod membership;
mod off_thread;
mod publisher;
mod reader;
mod registry;
mod snapshot;
#[cfg(test)]
mod tests;

pub use change::{Change, Source};
pub use compile::compile_group;
pub use diff::Diff;
pub use fact::{Refusal, TargetChange};
pub use publisher::{Publisher, PublisherTask};
pub use reader::{DataPlaneReader, DataPlaneSnapshot, Reader};
pub use snapshot::{Group, Listener, Snapshot};
