//! The `weir` program itself: started, signalled and killed, observed by what it prints.
//!
//! All calls here block and poll with a deadline; ports are read from the log.

#![allow(
    clippy::unwrap_used,
    reason = "a helper that fails has failed the test"
)]
#![allow(
    unreachable_pub,
    reason = "`pub` marks what the tests of this program may use"
)]

pub mod support;

mod acme;
mod admin_api;
mod autoscale;
mod check;
mod children;
mod descriptors;
mod diff;
mod discovery;
mod explain;
mod files;
mod first_steps;
#[cfg(feature = "tools")]
mod import;
mod log;
mod logs;
mod moves;
mod problems;
mod reload;
mod replicas;
#[cfg(feature = "tools")]
mod simulate;
mod spans;
mod start;
mod stop;
mod streaming;
mod successors;
mod target;
mod top;
mod upgrade;
mod websockets;
