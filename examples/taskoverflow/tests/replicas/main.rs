//! Replicas as Weir runs them: processes with real sockets and real databases.
//!
//! Those that need a PostgreSQL server run when `TASKOVERFLOW_TEST_POSTGRES` holds the URL of a database that they
//! may empty, and pass without doing anything otherwise.

#![allow(
    clippy::unwrap_used,
    reason = "a helper of tests fails by panicking, as tests do"
)]

mod experiments;
mod lifecycle;
mod postgres;
mod process;
mod requests;
mod storage;

use tempfile::TempDir;

/// A database file that does not exist yet, in a folder that does not exist either.
fn new_file() -> (TempDir, String) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder
        .path()
        .join("data/todos.db")
        .to_str()
        .unwrap()
        .to_owned();
    (folder, path)
}
