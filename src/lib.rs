//! Weir: an L7 HTTP load balancer.
//!
//! A request goes down through `listener`, `connection`, `proxy`, `router`,
//! `target_group` and `balance` to a target, by way of `upstream` and `relay`; its record
//! comes out in `observe`. That path runs on worker threads that share nothing but one
//! snapshot, which they only read.
//!
//! The control plane (`health`, `discovery`, `replicas`, reload in `server`, `admin`) runs
//! on a thread of its own and reaches the path through `state` alone: every change goes
//! to one task, which builds the next snapshot and swaps it in. What it reads from outside
//! (the configuration, secrets, lists of targets) comes through `files`, which never waits
//! without an end. A module names only modules below it; `tests/layering.rs` holds the table.

pub mod admin;
pub mod autoscale;
pub mod balance;
pub mod cli;
pub mod config;
pub mod connection;
pub mod discovery;
pub mod files;
pub mod health;
pub mod lifecycle;
pub mod listener;
pub mod model;
pub mod net;
pub mod observe;
pub mod proxy;
pub mod rate_limit;
pub mod relay;
pub mod replicas;
pub mod router;
pub mod server;
pub mod state;
pub mod target;
pub mod target_group;
#[cfg(feature = "tools")]
pub mod tools;
pub mod upstream;
