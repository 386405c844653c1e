//! Properties of the pure parts: no sockets, no clock, every run the same.

#![allow(clippy::unwrap_used)] // a test fails by panicking, its helpers too

mod autoscale;
mod autoscale_records;
mod failing;
mod incremental;
mod outlier;
mod pickers;
mod queue;
mod retry_budget;
mod router;
mod simulation;
mod slow_start;
mod sticky;
