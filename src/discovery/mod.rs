//! Targets from outside of the configuration: host names, service records and files.
//!
//! Every name of the current snapshot is resolved at once, and again whenever the time to live of
//! its answer is over; every file is read at once and again when it changes. Each address is a
//! target; a list that differs is published. A name that stops resolving keeps its last targets,
//! and so does a file that vanishes or breaks: a broken DNS server or a half-written file is no
//! reason to stop a service that runs.
//!
//! Whether the addresses answer is decided by `health`.

mod files;
mod finder;
#[cfg(test)]
mod fixture;
mod listing;
mod name;
mod report;
mod resolve;
mod srv;

use std::sync::Arc;

use crate::state::{Publisher, Reader};

use files::FileSource;
use finder::Finder;
pub use report::{Report, SourceReport};
use resolve::SystemResolver;

/// Follows the names and files of every snapshot until the publisher ends. Dropping the
/// future stops all lookups. What is known of them goes to `report`.
pub async fn run(reader: Reader, publisher: Publisher, report: Arc<Report>) {
    let resolver = SystemResolver::default();
    let names = Finder::new(resolver, publisher.clone(), Arc::clone(&report)).run(reader.clone());
    tokio::join!(names, FileSource::new(publisher, report).run(reader));
}
