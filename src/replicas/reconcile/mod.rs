//! Makes the replicas of each group what is wanted: desired against actual.
//!
//! ```text
//! Supervisor ── one GroupReconciler (a task) per group with replicas
//!                 └── one ManagedProvider; two while one hands over to the next
//!                       ├── ProviderState   what is wanted, asked and seen; plan: the next call
//!                       ├── Driver          the provider and its call in flight
//!                       └── Warming         warm-up requests to new replicas
//! ```
//!
//! A reconciler waits until something has changed (an order, an answer, the fleet, a snapshot,
//! a timer), then looks at everything again: it decides which replicas are targets, publishes
//! them, drains those that are to go, starts the one call that is due, and shows the status.
//! The decisions are pure functions over the state; the driver makes the calls beside the
//! loop, each with a deadline, so a slow provider delays neither the targets of its own group
//! nor another group. Nothing here knows which provider it is.

mod count_mismatch;
mod driver;
#[cfg(test)]
mod fake;
mod group;
mod leadership;
mod listing;
mod managed;
mod membership;
mod plan;
mod retry;
mod state;
mod supervisor;
#[cfg(test)]
mod tests;
mod victims;
mod warm_up;
mod warming;

pub(super) use supervisor::Supervisor;
