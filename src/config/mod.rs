//! Text to [`Config`]: the only place that deserializes.
//!
//! [`parse`] reads a file completely and reports every problem it finds in one
//! go, each with its place, the line and what to write instead. The same text
//! serves `weir check`, start-up, reload and the admin API. A [`Config`] that comes
//! out is legal: what it names exists, what it bounds is in bounds.
//!
//! How it works: `toml` turns text into a tree with spans and recovers from syntax
//! errors; `node` and `section` read typed values from that tree and report instead
//! of failing; `read` walks the tables of `schema` with them; `cross` checks what
//! only the whole file can tell.

mod address;
mod autoscaling;
mod bounds;
mod context;
mod cross;
pub mod defaults;
mod foreign;
mod load;
mod loops;
mod mend;
mod node;
mod others;
mod problem;
mod quantity;
mod read;
mod render;
mod schema;
mod secret;
mod section;
mod shadow;
mod span;
mod substitute;
mod suggest;
mod synonym;
mod syntax;
mod types;
mod units;

pub use autoscaling::*;
pub use load::{
    LoadError, Loaded, MAX_BYTES, load, load_from, load_watched, parse, parse_with_files,
};
pub use problem::{Code, Location, Problem, Problems, Report, Severity};
pub use schema::keys;
pub use types::*;
pub use units::{display_duration, display_size};

/// A configuration that may be used, and what is still odd about it.
#[derive(Clone, Debug)]
pub struct Parsed {
    /// What the file says.
    pub config: Config,
    /// Problems that do not keep it from being used. May be empty.
    pub warnings: Problems,
}
