//! Keeps todos in one of two databases behind one set of operations.
//!
//! Every operation ends within a deadline, never blocks the async runtime, and fails with a reason when the storage
//! is gone. The statements are the same for both databases; only connections and the schema differ, which is what
//! the two modules below are about.

mod postgres;
mod sql;
mod sqlite;

use std::path::PathBuf;
use std::time::Duration;

use crate::database::Database;
use crate::todo::{Change, Filter, NewTodo, Todo};

/// How long a request waits for the database before it is answered with 503: longer than any query of this service
/// takes, shorter than the common timeouts of a load balancer.
const DEADLINE: Duration = Duration::from_secs(5);

/// How long the query of the health endpoint may take: less than the timeout of a health check, so that the check
/// gets the reason.
const PROBE_DEADLINE: Duration = Duration::from_secs(1);

/// How long connecting, creating the schema and seeding may take at start, with other replicas doing the same.
const OPEN_DEADLINE: Duration = Duration::from_secs(15);

/// An open database with its schema.
pub struct Store {
    backend: Backend,
}

enum Backend {
    Sqlite(sqlite::Sqlite),
    Postgres(Box<postgres::Postgres>),
}

impl Store {
    /// Opens the database; the first replica to do so creates the schema and some todos. Fails when the database
    /// cannot be reached or created.
    pub async fn open(database: &Database) -> Result<Self, StoreError> {
        let backend = async {
            Ok(match database {
                Database::Sqlite(path) => Backend::Sqlite(sqlite::Sqlite::open(path).await?),
                Database::Postgres(config) => {
                    Backend::Postgres(Box::new(postgres::Postgres::open(config).await?))
                }
            })
        };
        Ok(Self {
            backend: within(OPEN_DEADLINE, backend).await?,
        })
    }

    /// The todos which match the filter, oldest first.
    pub async fn list(&self, filter: Filter) -> Result<Vec<Todo>, StoreError> {
        within(DEADLINE, async {
            match &self.backend {
                Backend::Sqlite(store) => store.list(filter).await,
                Backend::Postgres(store) => store.list(filter).await,
            }
        })
        .await
    }

    /// The todo with this id, if there is one.
    pub async fn find(&self, id: i64) -> Result<Option<Todo>, StoreError> {
        within(DEADLINE, async {
            match &self.backend {
                Backend::Sqlite(store) => store.find(id).await,
                Backend::Postgres(store) => store.find(id).await,
            }
        })
        .await
    }

    /// Adds a todo and returns it with its id.
    pub async fn create(&self, new: NewTodo) -> Result<Todo, StoreError> {
        within(DEADLINE, async {
            match &self.backend {
                Backend::Sqlite(store) => store.create(new).await,
                Backend::Postgres(store) => store.create(new).await,
            }
        })
        .await
    }

    /// Changes the todo with this id and returns it as it is now, if there is one.
    pub async fn update(&self, id: i64, change: Change) -> Result<Option<Todo>, StoreError> {
        within(DEADLINE, async {
            match &self.backend {
                Backend::Sqlite(store) => store.update(id, change).await,
                Backend::Postgres(store) => store.update(id, change).await,
            }
        })
        .await
    }

    /// Removes the todo with this id and returns it as it was, if there was one.
    pub async fn delete(&self, id: i64) -> Result<Option<Todo>, StoreError> {
        within(DEADLINE, async {
            match &self.backend {
                Backend::Sqlite(store) => store.delete(id).await,
                Backend::Postgres(store) => store.delete(id).await,
            }
        })
        .await
    }

    /// Proves within a second that todos can be read. Uses a connection of its own: under load it must report the
    /// storage, not the queue in front of it.
    pub async fn probe(&self) -> Result<(), StoreError> {
        within(PROBE_DEADLINE, async {
            match &self.backend {
                Backend::Sqlite(store) => store.probe().await,
                Backend::Postgres(store) => store.probe().await,
            }
        })
        .await
    }
}

/// Why the storage did not answer. The client causes none of it.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The file that was opened is no longer the file at its path.
    #[error("{}: {why}", path.display())]
    Gone {
        /// The path of the database.
        path: PathBuf,
        /// What is at the path now.
        why: String,
    },
    /// The folder of the database, or what an earlier database left in it, may not be changed by this user.
    #[error("{}: {why}", path.display())]
    Folder {
        /// The folder or the file.
        path: PathBuf,
        /// The operating system's reason.
        why: std::io::Error,
    },
    /// No answer in time.
    #[error("the database did not answer within {0:?}")]
    Late(Duration),
    /// SQLite refused.
    #[error("sqlite: {0}")]
    Sqlite(#[from] rusqlite::Error),
    /// PostgreSQL refused, or could not be reached.
    #[error("postgres: {}", with_causes(.0))]
    Postgres(#[from] tokio_postgres::Error),
    /// The thread that did the work is gone.
    #[error("the database thread stopped: {0}")]
    Thread(#[from] tokio::task::JoinError),
}

async fn within<T>(
    deadline: Duration,
    work: impl Future<Output = Result<T, StoreError>>,
) -> Result<T, StoreError> {
    tokio::time::timeout(deadline, work)
        .await
        .unwrap_or(Err(StoreError::Late(deadline)))
}

/// `tokio_postgres` names the kind alone ("error connecting to server"); the reader needs the cause as well.
fn with_causes(error: &tokio_postgres::Error) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        let reason = error.to_string();
        if !text.contains(&reason) {
            text = format!("{text}: {reason}");
        }
        cause = error.source();
    }
    text
}
