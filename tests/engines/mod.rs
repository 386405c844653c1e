//! The providers against the APIs of the engines.

#![allow(
    clippy::unwrap_used,
    reason = "a helper that fails has failed the test"
)]

#[cfg(feature = "ecs")]
mod ecs;
#[cfg(feature = "kubernetes")]
mod kubernetes;
