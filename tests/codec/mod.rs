//! The codec of HTTP/1.1: tables of raw bytes, all ways to cut them, a second parser to compare
//! with, and properties over generated messages.
//!
//! `reference` is that second parser: slow, strict, and written without a look at the first. What
//! Weir sends must mean to it what Weir took it for.

#![allow(clippy::unwrap_used)] // a test fails by panicking, its helpers too

mod chunks;
mod conversions;
mod differential;
mod encoders;
mod heads;
pub(crate) mod reader;
mod reasons;
pub(crate) mod reference;
mod sockets;
mod splits;
mod table;
mod tables;
mod traps;
pub(crate) mod world;
