//! Targets that the configuration names by host: which addresses they have now.
//!
//! Every host name of the current snapshot is resolved at once and again whenever its
//! answer's time to live is over. Each address of an answer is a target; an answer that
//! differs is published. A name that stops resolving keeps its last addresses: a broken
//! DNS server is no reason to stop a service that runs.
//!
//! Whether the addresses answer is decided by `health`.

mod finder;
mod name;
mod resolve;

use crate::state::{Publisher, Reader};

use finder::Finder;
use resolve::SystemResolver;

/// Resolves the host names of every snapshot until the publisher ends. Dropping the
/// future stops all lookups.
pub async fn run(reader: Reader, publisher: Publisher) {
    let resolver = SystemResolver::default();
    Finder::new(resolver, publisher).run(reader).await;
}
