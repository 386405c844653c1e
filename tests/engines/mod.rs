//! Weir's providers against the engines' own APIs. One binary: it links once.

#![allow(
    clippy::unwrap_used,
    reason = "a helper that cannot do its part has failed the test"
)]

#[cfg(feature = "ecs")]
mod ecs;
#[cfg(feature = "kubernetes")]
mod kubernetes;
