//! Translates the configuration of other systems.
//!
//! Text goes in, the text of a `weir.toml` and notes come out. What has no counterpart in Weir
//! becomes a note with its file and line; nothing is dropped silently.

mod note;
pub mod terraform;

pub use note::{Note, NoteKind};
