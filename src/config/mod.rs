//! Text to [`Config`]: the only place that parses a configuration file.
//!
//! [`parse`] reads a file completely and reports every problem it finds in one
//! go, each with its place, the line and what to write instead. `weir check`, the
//! start and every reload use it. A [`Config`] that is returned is legal: every
//! name in it exists, every value is within its bounds.
//!
//! How it works: `toml` turns text into a tree with spans and recovers from syntax
//! errors; `node` and `section` read typed values from that tree and report instead
//! of failing; [`keys`] has every key with its bounds and its default; `read` walks the tree with
//! them; `cross` checks what only the whole file can tell.

mod address;
mod autoscaling;
mod context;
mod cross;
pub mod defaults;
mod excerpt;
mod foreign;
mod jump;
pub mod keys;
mod load;
mod loops;
mod mend;
mod node;
mod others;
mod placed;
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
mod syntax;
mod types;
mod units;

pub use autoscaling::*;
pub use excerpt::Location;
pub use load::{LoadError, Loaded, Loader, MAX_BYTES, load, load_from, parse, parse_with_files};
pub use problem::{Code, Problem, Problems, Report, Severity};
pub use schema::schema;
pub use types::*;
pub use units::{display_duration, display_size};

/// A configuration without errors, and its warnings.
#[derive(Clone, Debug)]
pub struct Parsed {
    /// The configuration.
    pub config: Config,
    /// Warnings; may be empty.
    pub warnings: Problems,
}
