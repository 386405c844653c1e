//! What the documentation says holds: its links lead somewhere, its configurations are
//! accepted, its commands run, and its tables name what the code has.

mod blocks;
// Some commands are those of the feature.
#[cfg(feature = "tools")]
mod commands;
mod links;
mod page;
mod tables;
