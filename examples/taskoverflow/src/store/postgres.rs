//! Todos in PostgreSQL.
//!
//! A few sessions, each of which carries many requests at once (the protocol pipelines). A session that broke is
//! opened again by the next request that comes to it, so a database that returns is used without a restart.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::Mutex;
use tokio::task::JoinHandle;
use tokio_postgres::{Client, Config, NoTls, Row, Statement};

use super::{DEADLINE, StoreError, sql};
use crate::todo::{Change, Description, Filter, Moment, NewTodo, Title, Todo};

/// Sessions for todos: PostgreSQL spends a process on each, and every replica has as many.
const SESSIONS: usize = 4;

/// The advisory lock under which the schema is created ("weir" in ASCII): `CREATE TABLE IF NOT EXISTS` alone fails
/// when two replicas run it at the same moment.
const SCHEMA_LOCK: i64 = 0x7765_6972;

pub(super) struct Postgres {
    config: Config,
    sessions: [Slot; SESSIONS],
    next: AtomicUsize,
    probe: Slot,
}

impl Postgres {
    pub(super) async fn open(config: &Config) -> Result<Self, StoreError> {
        let mut config = config.clone();
        // A server which vanished silently is noticed by the deadline of a request.
        config
            .connect_timeout(DEADLINE)
            .tcp_user_timeout(DEADLINE)
            .application_name("taskoverflow");
        create_schema(&config).await?;
        let postgres = Self {
            config,
            sessions: Default::default(),
            next: AtomicUsize::new(0),
            probe: Slot::default(),
        };
        // A table of that name with other columns is found out here rather than by the first request.
        postgres.session().await?;
        Ok(postgres)
    }

    pub(super) async fn list(&self, filter: Filter) -> Result<Vec<Todo>, StoreError> {
        let session = self.session().await?;
        let rows = session
            .client
            .query(&session.list, &[&filter.completed, &filter.limit.rows()])
            .await?;
        Ok(rows.iter().map(todo).collect::<Result<_, _>>()?)
    }

    pub(super) async fn find(&self, id: i64) -> Result<Option<Todo>, StoreError> {
        let session = self.session().await?;
        let row = session.client.query_opt(&session.find, &[&id]).await?;
        Ok(row.as_ref().map(todo).transpose()?)
    }

    pub(super) async fn create(&self, new: NewTodo) -> Result<Todo, StoreError> {
        let session = self.session().await?;
        let row = session
            .client
            .query_one(
                &session.create,
                &[
                    &new.title.as_str(),
                    &new.description.as_ref().map(Description::as_str),
                    &new.completed,
                    &new.deadline_at.map(Moment::text),
                    &Moment::now().text(),
                ],
            )
            .await?;
        Ok(todo(&row)?)
    }

    pub(super) async fn update(&self, id: i64, change: Change) -> Result<Option<Todo>, StoreError> {
        let session = self.session().await?;
        let description = change.description.as_ref();
        let row = session
            .client
            .query_opt(
                &session.update,
                &[
                    &change.title.as_ref().map(Title::as_str),
                    &description.is_some(),
                    &description
                        .and_then(Option::as_ref)
                        .map(Description::as_str),
                    &change.completed,
                    &change.deadline_at.is_some(),
                    &change.deadline_at.flatten().map(Moment::text),
                    &Moment::now().text(),
                    &id,
                ],
            )
            .await?;
        Ok(row.as_ref().map(todo).transpose()?)
    }

    pub(super) async fn delete(&self, id: i64) -> Result<Option<Todo>, StoreError> {
        let session = self.session().await?;
        let row = session.client.query_opt(&session.delete, &[&id]).await?;
        Ok(row.as_ref().map(todo).transpose()?)
    }

    pub(super) async fn probe(&self) -> Result<(), StoreError> {
        let session = self.probe.session(&self.config).await?;
        session.client.query_opt(&session.probe, &[]).await?;
        Ok(())
    }

    async fn session(&self) -> Result<Arc<Session>, StoreError> {
        let turn = self.next.fetch_add(1, Ordering::Relaxed);
        self.sessions[turn % SESSIONS].session(&self.config).await
    }
}

/// A slot for a session, which is opened on first use and again after it broke.
#[derive(Default)]
struct Slot(Mutex<Option<Arc<Session>>>);

impl Slot {
    /// Cancel-safe: a caller that gives up while connecting leaves the slot empty for the next one.
    async fn session(&self, config: &Config) -> Result<Arc<Session>, StoreError> {
        let mut slot = self.0.lock().await;
        if let Some(session) = slot.as_ref().filter(|session| !session.client.is_closed()) {
            return Ok(Arc::clone(session));
        }
        *slot = None;
        let session = Arc::new(Session::open(config).await?);
        *slot = Some(Arc::clone(&session));
        Ok(session)
    }
}

/// A connection with its statements prepared.
struct Session {
    client: Client,
    list: Statement,
    find: Statement,
    create: Statement,
    update: Statement,
    delete: Statement,
    probe: Statement,
    _driver: Driver,
}

impl Session {
    async fn open(config: &Config) -> Result<Self, StoreError> {
        let (client, driver) = connect(config).await?;
        Ok(Self {
            list: client.prepare(sql::LIST).await?,
            find: client.prepare(sql::FIND).await?,
            create: client.prepare(sql::CREATE).await?,
            update: client.prepare(sql::UPDATE).await?,
            delete: client.prepare(sql::DELETE).await?,
            probe: client.prepare(sql::PROBE).await?,
            client,
            _driver: driver,
        })
    }
}

/// The task that moves a connection's bytes; it ends with its session.
struct Driver(JoinHandle<()>);

impl Drop for Driver {
    fn drop(&mut self) {
        self.0.abort();
    }
}

async fn connect(config: &Config) -> Result<(Client, Driver), StoreError> {
    let (client, connection) = config.connect(NoTls).await?;
    // Its error is not needed here: each use of the client returns it.
    let driver = tokio::spawn(async move { drop(connection.await) });
    Ok((client, Driver(driver)))
}

/// Creates the table and the first todos, once: the lock is held until the transaction ends, and the replica
/// which comes second sees the table.
async fn create_schema(config: &Config) -> Result<(), StoreError> {
    let (mut client, _driver) = connect(config).await?;
    let transaction = client.transaction().await?;
    transaction
        .execute("SELECT pg_advisory_xact_lock($1)", &[&SCHEMA_LOCK])
        .await?;
    let exists: bool = transaction
        .query_one(sql::POSTGRES_HAS_SCHEMA, &[])
        .await?
        .get(0);
    if !exists {
        transaction.batch_execute(sql::POSTGRES_SCHEMA).await?;
        let create = transaction.prepare(sql::CREATE).await?;
        let now = Moment::now();
        for seed in sql::seeds(now) {
            transaction
                .query_one(
                    &create,
                    &[
                        &seed.title,
                        &seed.description,
                        &seed.completed,
                        &seed.deadline_at,
                        &now.text(),
                    ],
                )
                .await?;
        }
    }
    Ok(transaction.commit().await?)
}

fn todo(row: &Row) -> Result<Todo, tokio_postgres::Error> {
    Ok(Todo {
        id: row.try_get(0)?,
        title: row.try_get(1)?,
        description: row.try_get(2)?,
        completed: row.try_get(3)?,
        deadline_at: row.try_get(4)?,
        created_at: row.try_get(5)?,
        updated_at: row.try_get(6)?,
    })
}
