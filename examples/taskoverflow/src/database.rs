//! Where the todos are kept: what `--database` and `DATABASE_URL` may say.
//!
//! Printing a [`Database`] never shows a password.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use tokio_postgres::config::Host;

/// A parsed `--database`.
#[derive(Clone, Debug)]
pub enum Database {
    /// A SQLite file, shared by every replica on this machine.
    Sqlite(PathBuf),
    /// A PostgreSQL server, reached without TLS.
    Postgres(Box<tokio_postgres::Config>),
}

impl FromStr for Database {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text.starts_with("postgres://") || text.starts_with("postgresql://") {
            return postgres(text);
        }
        let path = text
            .strip_prefix("sqlite://")
            .or_else(|| text.strip_prefix("sqlite:"))
            .unwrap_or(text);
        if path.is_empty() || path.starts_with(":memory:") {
            return Err(
                "replicas share their database, so it must be a file or a postgres:// URL"
                    .to_owned(),
            );
        }
        if let Some((scheme, _)) = path.split_once("://") {
            return Err(format!(
                "{scheme}:// is not supported; give a file or a postgres:// URL"
            ));
        }
        Ok(Self::Sqlite(path.into()))
    }
}

impl fmt::Display for Database {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sqlite(path) => write!(f, "{}", path.display()),
            Self::Postgres(config) => {
                f.write_str("postgres://")?;
                match config.get_hosts().first() {
                    Some(Host::Tcp(host)) => f.write_str(host)?,
                    Some(Host::Unix(folder)) => write!(f, "{}", folder.display())?,
                    None => {}
                }
                if let Some(port) = config.get_ports().first() {
                    write!(f, ":{port}")?;
                }
                write!(f, "/{}", config.get_dbname().unwrap_or_default())
            }
        }
    }
}

fn postgres(url: &str) -> Result<Database, String> {
    let config: tokio_postgres::Config = url.parse().map_err(|error| {
        let cause = std::error::Error::source(&error)
            .map_or_else(String::new, |source| format!(": {source}"));
        format!("{error}{cause}")
    })?;
    if config.get_hosts().is_empty() {
        return Err("the URL names no host".to_owned());
    }
    Ok(Database::Postgres(Box::new(config)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_never_shown() {
        let database: Database = "postgres://todo:secret@db.internal:5433/todos"
            .parse()
            .unwrap();
        assert_eq!(database.to_string(), "postgres://db.internal:5433/todos");
    }

    #[test]
    fn a_path_is_a_sqlite_file_with_and_without_a_scheme() {
        let texts = ["data/t.db", "sqlite:data/t.db", "sqlite://data/t.db"];
        for text in texts {
            assert_eq!(text.parse::<Database>().unwrap().to_string(), "data/t.db");
        }
    }

    #[test]
    fn what_replicas_cannot_share_is_refused() {
        let texts = [
            "",
            ":memory:",
            "sqlite::memory:",
            "mysql://localhost/todos",
            "postgres://",
        ];
        for text in texts {
            assert!(text.parse::<Database>().is_err(), "{text:?}");
        }
    }
}
