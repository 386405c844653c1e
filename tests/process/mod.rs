//! The `weir` program itself: started, signalled, killed, and read by what it prints.
//!
//! Everything here blocks and polls with a deadline; ports are learnt from the log.

#![allow(
    clippy::unwrap_used,
    reason = "a helper that cannot do its part has failed the test"
)]
#![allow(
    unreachable_pub,
    reason = "`pub` marks what the tests of this binary may use"
)]

pub mod support;

mod autoscale;
mod check;
mod children;
mod descriptors;
mod discovery;
mod files;
mod import;
mod log;
mod moves;
mod reload;
mod replicas;
mod simulate;
mod start;
mod stop;
mod streaming;
mod successors;
mod target;
mod upgrade;
mod websockets;
