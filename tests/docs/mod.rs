//! What the documentation says holds: its links lead somewhere, its configurations are
//! accepted, its commands run, and its tables name what the code has.

mod blocks;
mod commands;
mod links;
mod page;
mod tables;
