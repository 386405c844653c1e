//! All tests that need no peer to compare with, in one program: the crate is linked once.
//!
//! `cargo test --test suite scenario::retries` runs a part of it by the paths of its modules.

mod codec;
mod config;
mod docs;
mod engines;
mod fuzz;
mod layering;
mod process;
mod property;
mod scenario;
mod shipped;
