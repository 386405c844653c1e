//! Todos in a SQLite file that several replica processes use at once.
//!
//! WAL mode lets readers go on while one process writes; writers wait for each other inside SQLite. Every operation
//! first compares the file at the path with the one which was opened: SQLite itself would go on serving a deleted file,
//! and the todos would be gone when the process ends. A file which is put back (the same file, not a copy) is accepted
//! again.

use std::fs::{self, File};
use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use rusqlite::{
    Connection, ErrorCode, OpenFlags, OptionalExtension, Row, TransactionBehavior, params,
};
use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;

use super::{DEADLINE, StoreError, sql};
use crate::todo::{Change, Description, Filter, Moment, NewTodo, Title, Todo};

/// Reading connections, each busy on a thread of its own: the cores, within reason, since several replicas share
/// the machine.
const MAX_READERS: usize = 4;

/// Pause between attempts to switch to WAL while another process has the file, which takes it a millisecond or two.
const WAL_PAUSE: Duration = Duration::from_millis(2);

pub(super) struct Sqlite {
    readers: Pool,
    /// One connection: SQLite has one writer at a time anyway, and a waiting writer must not occupy the connection of a reader.
    writer: Pool,
    probe: Pool,
}

impl Sqlite {
    pub(super) async fn open(path: &Path) -> Result<Self, StoreError> {
        let path = path.to_owned();
        spawn_blocking(move || {
            let _locked = lock_folder(&path)?;
            remove_leftovers(&path)?;
            let mut first = connect(&path)?;
            create_schema(&mut first)?;
            let file = Arc::new(OpenedFile::at(path)?);
            let readers = thread::available_parallelism()
                .map_or(1, usize::from)
                .min(MAX_READERS);
            Ok(Self {
                readers: Pool::open(&file, readers)?,
                writer: Pool::new(&file, vec![first]),
                probe: Pool::open(&file, 1)?,
            })
        })
        .await?
    }

    pub(super) async fn list(&self, filter: Filter) -> Result<Vec<Todo>, StoreError> {
        self.readers
            .run(move |connection| {
                let mut statement = connection.prepare_cached(sql::LIST)?;
                let rows =
                    statement.query_map(params![filter.completed, filter.limit.rows()], todo)?;
                rows.collect()
            })
            .await
    }

    pub(super) async fn find(&self, id: i64) -> Result<Option<Todo>, StoreError> {
        self.readers
            .run(move |connection| {
                connection
                    .prepare_cached(sql::FIND)?
                    .query_row([id], todo)
                    .optional()
            })
            .await
    }

    pub(super) async fn create(&self, new: NewTodo) -> Result<Todo, StoreError> {
        self.write(move |connection| {
            connection.prepare_cached(sql::CREATE)?.query_row(
                params![
                    new.title.as_str(),
                    new.description.as_ref().map(Description::as_str),
                    new.completed,
                    new.deadline_at.map(Moment::text),
                    Moment::now().text(),
                ],
                todo,
            )
        })
        .await
    }

    pub(super) async fn update(&self, id: i64, change: Change) -> Result<Option<Todo>, StoreError> {
        self.write(move |connection| {
            let description = change.description.as_ref();
            connection
                .prepare_cached(sql::UPDATE)?
                .query_row(
                    params![
                        change.title.as_ref().map(Title::as_str),
                        description.is_some(),
                        description
                            .and_then(Option::as_ref)
                            .map(Description::as_str),
                        change.completed,
                        change.deadline_at.is_some(),
                        change.deadline_at.flatten().map(Moment::text),
                        Moment::now().text(),
                        id,
                    ],
                    todo,
                )
                .optional()
        })
        .await
    }

    pub(super) async fn delete(&self, id: i64) -> Result<Option<Todo>, StoreError> {
        self.write(move |connection| {
            connection
                .prepare_cached(sql::DELETE)?
                .query_row([id], todo)
                .optional()
        })
        .await
    }

    pub(super) async fn probe(&self) -> Result<(), StoreError> {
        self.probe
            .run(|connection| {
                connection
                    .prepare_cached(sql::PROBE)?
                    .query_row([], |_| Ok(()))
                    .optional()
            })
            .await
            .map(drop)
    }

    /// Runs `work` in a transaction that is immediate: one that starts by reading cannot wait for another writer.
    async fn write<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, StoreError> {
        self.writer
            .run(move |connection| {
                let transaction =
                    connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
                let result = work(&transaction)?;
                transaction.commit()?;
                Ok(result)
            })
            .await
    }
}

/// Connections to one file, each used by one blocking thread at a time.
struct Pool {
    file: Arc<OpenedFile>,
    idle: Arc<Mutex<Vec<Connection>>>,
    /// As many permits as connections, so that a holder always finds an idle one.
    permits: Arc<Semaphore>,
}

impl Pool {
    fn open(file: &Arc<OpenedFile>, size: usize) -> Result<Self, StoreError> {
        let connections = (0..size)
            .map(|_| connect(&file.path))
            .collect::<Result<_, _>>()?;
        Ok(Self::new(file, connections))
    }

    fn new(file: &Arc<OpenedFile>, connections: Vec<Connection>) -> Self {
        let permits = Arc::new(Semaphore::new(connections.len()));
        Self {
            file: Arc::clone(file),
            idle: Arc::new(Mutex::new(connections)),
            permits,
        }
    }

    /// Runs `work` on a blocking thread. A caller that gives up leaves the work running; the connection and its
    /// permit travel with it and come back together.
    async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, StoreError> {
        let permit = Arc::clone(&self.permits)
            .acquire_owned()
            .await
            .expect("the semaphore is never closed");
        let file = Arc::clone(&self.file);
        let idle = Arc::clone(&self.idle);
        spawn_blocking(move || {
            let _permit = permit;
            file.verify()?;
            let mut connection = lock(&idle).pop().expect("a permit stands for a connection");
            let result = work(&mut connection);
            lock(&idle).push(connection);
            Ok(result?)
        })
        .await?
    }
}

/// The file that the connections have open, known by what does not change when a path points elsewhere.
struct OpenedFile {
    path: PathBuf,
    device: u64,
    inode: u64,
}

impl OpenedFile {
    fn at(path: PathBuf) -> Result<Self, StoreError> {
        match fs::metadata(&path) {
            Ok(found) => Ok(Self {
                device: found.dev(),
                inode: found.ino(),
                path,
            }),
            Err(error) => Err(StoreError::Gone {
                why: error.to_string(),
                path,
            }),
        }
    }

    /// Fails when the path no longer leads to this file, or when the file was emptied: pages that SQLite has cached
    /// would still be answered.
    fn verify(&self) -> Result<(), StoreError> {
        let why = match fs::metadata(&self.path) {
            Ok(found) if (found.dev(), found.ino()) != (self.device, self.inode) => {
                "another file took the place of the database".to_owned()
            }
            Ok(found) if found.len() == 0 => "the database was emptied".to_owned(),
            Ok(_) => return Ok(()),
            Err(error) => error.to_string(),
        };
        Err(StoreError::Gone {
            path: self.path.clone(),
            why,
        })
    }
}

/// Locks the folder of the database, created if need be: replicas that start together open the database one after
/// the other. The lock ends with the handle or the process, and locking the folder leaves no file behind.
fn lock_folder(database: &Path) -> Result<File, StoreError> {
    let folder = match database.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let locked = || {
        fs::create_dir_all(folder)?;
        let handle = File::open(folder)?;
        handle.lock()?;
        Ok(handle)
    };
    locked().map_err(|why| StoreError::Folder {
        path: folder.to_owned(),
        why,
    })
}

/// Removes the write-ahead log and its index of a database that was deleted. Replicas of that one may still have them
/// open, and a new database that shared the index with them would look for pages in the wrong log. Between the look
/// and the removal no replica creates the database, because the folder is locked.
fn remove_leftovers(database: &Path) -> Result<(), StoreError> {
    if fs::exists(database).unwrap_or(true) {
        return Ok(());
    }
    for suffix in ["-wal", "-shm"] {
        let mut path = database.as_os_str().to_owned();
        path.push(suffix);
        match fs::remove_file(&path) {
            Err(why) if why.kind() != ErrorKind::NotFound => {
                return Err(StoreError::Folder {
                    path: path.into(),
                    why,
                });
            }
            _ => {}
        }
    }
    Ok(())
}

fn connect(path: &Path) -> Result<Connection, StoreError> {
    // A pool never uses a connection from two threads at once, so SQLite need not lock.
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE
        | OpenFlags::SQLITE_OPEN_CREATE
        | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    connection.busy_timeout(DEADLINE)?;
    use_wal(&connection)?;
    // With a WAL, a power cut may lose the last todos but never the file; no fsync for each request in return.
    connection.pragma_update(None, "synchronous", "normal")?;
    Ok(connection)
}

/// Switches to WAL mode. The switch needs the file for itself and, to avoid a deadlock, SQLite may answer "busy" at
/// once instead of waiting for another process, such as a replica that closes the file just now; hence the loop.
fn use_wal(connection: &Connection) -> Result<(), StoreError> {
    let give_up = Instant::now() + DEADLINE;
    loop {
        match connection.pragma_update_and_check(None, "journal_mode", "wal", |_| Ok(())) {
            Err(rusqlite::Error::SqliteFailure(error, _))
                if error.code == ErrorCode::DatabaseBusy && Instant::now() < give_up =>
            {
                thread::sleep(WAL_PAUSE);
            }
            result => return Ok(result?),
        }
    }
}

/// Creates the table and the first todos, once. The transaction is immediate, so of several replicas that start
/// together one does the work and the others wait for it before they look.
fn create_schema(connection: &mut Connection) -> Result<(), StoreError> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let exists: bool = transaction.query_row(sql::SQLITE_HAS_SCHEMA, [], |row| row.get(0))?;
    if !exists {
        transaction.execute_batch(sql::SQLITE_SCHEMA)?;
        let now = Moment::now();
        for seed in sql::seeds(now) {
            let values = params![
                seed.title,
                seed.description,
                seed.completed,
                seed.deadline_at,
                now.text()
            ];
            transaction.query_row(sql::CREATE, values, |_| Ok(()))?;
        }
    }
    // A table of that name with other columns is found out here rather than by the first request.
    transaction.prepare(sql::LIST)?;
    Ok(transaction.commit()?)
}

fn todo(row: &Row<'_>) -> rusqlite::Result<Todo> {
    Ok(Todo {
        id: row.get(0)?,
        title: row.get(1)?,
        description: row.get(2)?,
        completed: row.get(3)?,
        deadline_at: row.get(4)?,
        created_at: row.get(5)?,
        updated_at: row.get(6)?,
    })
}

/// A poisoned lock is taken all the same: the list of idle connections is whole between its push and pop.
fn lock(idle: &Mutex<Vec<Connection>>) -> std::sync::MutexGuard<'_, Vec<Connection>> {
    idle.lock().unwrap_or_else(PoisonError::into_inner)
}
