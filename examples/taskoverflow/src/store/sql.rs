//! The statements, in the SQL that SQLite and PostgreSQL share, and the todos that a new database starts with.
//!
//! Parameters are written `$n` and first appear in ascending order, because SQLite numbers them by appearance.
//! A parameter stands beside a column, so that PostgreSQL can infer its type.

use crate::todo::Moment;

pub(super) const LIST: &str = "SELECT id, title, description, completed, deadline_at, created_at, updated_at \
     FROM todos WHERE completed = COALESCE($1, completed) ORDER BY id LIMIT $2";

pub(super) const FIND: &str = "SELECT id, title, description, completed, deadline_at, created_at, updated_at \
     FROM todos WHERE id = $1";

/// The last parameter is both moments: a new todo has not changed yet.
pub(super) const CREATE: &str = "INSERT INTO todos (title, description, completed, deadline_at, created_at, updated_at) \
     VALUES ($1, $2, $3, $4, $5, $5) \
     RETURNING id, title, description, completed, deadline_at, created_at, updated_at";

/// A nullable column takes two parameters: whether it changes, and its value.
pub(super) const UPDATE: &str = "UPDATE todos SET title = COALESCE($1, title), \
     description = CASE WHEN $2 THEN $3 ELSE description END, completed = COALESCE($4, completed), \
     deadline_at = CASE WHEN $5 THEN $6 ELSE deadline_at END, updated_at = $7 WHERE id = $8 \
     RETURNING id, title, description, completed, deadline_at, created_at, updated_at";

pub(super) const DELETE: &str = "DELETE FROM todos WHERE id = $1 \
     RETURNING id, title, description, completed, deadline_at, created_at, updated_at";

/// Reads the table itself: a constant would be answered without touching the storage.
pub(super) const PROBE: &str = "SELECT id, title FROM todos ORDER BY id DESC LIMIT 1";

pub(super) const SQLITE_HAS_SCHEMA: &str =
    "SELECT count(*) FROM sqlite_schema WHERE type = 'table' AND name = 'todos'";

/// `AUTOINCREMENT` keeps the id of a deleted todo from coming back as another todo.
pub(super) const SQLITE_SCHEMA: &str = "CREATE TABLE todos (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    title TEXT NOT NULL,
    description TEXT,
    completed BOOLEAN NOT NULL,
    deadline_at TEXT,
    created_at TEXT NOT NULL,
    updated_at TEXT NOT NULL
)";

pub(super) const POSTGRES_HAS_SCHEMA: &str = "SELECT to_regclass('todos') IS NOT NULL";

pub(super) const POSTGRES_SCHEMA: &str = "CREATE TABLE todos (
    id BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    title TEXT NOT NULL,
    description TEXT,
    completed BOOLEAN NOT NULL,
    deadline_at TEXT,
    created_at TEXT NOT NULL,
    updated_at TEXT NOT NULL
)";

/// A todo of a new database.
pub(super) struct Seed {
    pub(super) title: &'static str,
    pub(super) description: &'static str,
    pub(super) completed: bool,
    pub(super) deadline_at: Option<String>,
}

/// What a new database holds, so that the first request shows something.
pub(super) fn seeds(now: Moment) -> [Seed; 5] {
    let seed = |title, description| Seed {
        title,
        description,
        completed: false,
        deadline_at: None,
    };
    [
        Seed {
            completed: true,
            ..seed(
                "Read the architecture notes",
                "Which parts of TaskOverflow hold state, and which do not?",
            )
        },
        seed(
            "Put a load balancer in front",
            "Four replicas, one address.",
        ),
        seed(
            "Write a health check that asks the database",
            "An open port is not a working service.",
        ),
        Seed {
            deadline_at: Some(now.in_a_week().text()),
            ..seed("Load test with k6", "Up to 5000 users list their todos.")
        },
        seed("Kill a replica and watch", "No request should fail."),
    ]
}
