//! Configurations of other systems, translated.
//!
//! Pure: text goes in, the text of a `weir.toml` and notes come out. What has no counterpart
//! here is a note with its file and line, and never left out in silence.

mod note;
pub mod terraform;

pub use note::{Note, NoteKind};
