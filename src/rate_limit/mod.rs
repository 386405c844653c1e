//! How many requests each client of a listener may still send.
//!
//! A listener carries its [`RateLimiter`]; a request is checked against it before it is
//! routed. Limiters outlive snapshots and are handed over to a successor process.

mod limiter;
mod table;

pub use limiter::{RateLimiter, UsedTokens};
