//! One replica: a listening socket over an open database, from start to graceful stop.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::http::HeaderValue;
use axum::serve::ListenerExt;
use tokio::net::TcpListener;
use tokio::sync::oneshot;

use crate::api::{self, Behaviour};
use crate::database::Database;
use crate::store::{Store, StoreError};

/// How long requests may go on once the replica was told to stop; longer than any deadline inside one.
const DRAIN_DEADLINE: Duration = Duration::from_secs(10);

/// The options of a replica.
#[derive(Clone, Debug)]
pub struct Options {
    /// The address or host name to listen on.
    pub listen: String,
    /// The port; 0 takes a free one.
    pub port: u16,
    /// The value of `x-replica`; the address and port when absent.
    pub name: Option<HeaderValue>,
    /// The database of the todos.
    pub database: Database,
    /// Its faults, for experiments.
    pub behaviour: Behaviour,
}

/// A replica that listens and has its database open, and does not serve yet.
pub struct Replica {
    listener: TcpListener,
    address: SocketAddr,
    name: HeaderValue,
    router: Router,
}

impl Replica {
    /// Listens, opens the database and, if it is new, creates the schema and some todos.
    pub async fn start(options: &Options) -> Result<Self, StartError> {
        let (listen, port) = (options.listen.as_str(), options.port);
        let refused = |why| StartError::Listen {
            listen: listen.to_owned(),
            port,
            why,
        };
        let listener = TcpListener::bind((listen, port)).await.map_err(refused)?;
        let address = listener.local_addr().map_err(refused)?;
        let store = Store::open(&options.database)
            .await
            .map_err(|why| StartError::Database {
                database: options.database.to_string(),
                why,
            })?;
        let name = options
            .name
            .clone()
            .unwrap_or_else(|| address_name(address));
        let router = api::router(Arc::new(store), options.behaviour, name.clone());
        Ok(Self {
            listener,
            address,
            name,
            router,
        })
    }

    /// Where it listens, with the port that was taken if the options left that open.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The value of `x-replica`.
    pub fn name(&self) -> &HeaderValue {
        &self.name
    }

    /// Serves until `stop` ends, then closes idle connections and lets requests finish. Fails when some have not
    /// after ten seconds.
    pub async fn serve(
        self,
        stop: impl Future<Output = ()> + Send + 'static,
    ) -> Result<(), ServeError> {
        let (stopping, stopped) = oneshot::channel();
        let listener = self.listener.tap_io(|stream| {
            // Without the option latency is higher, and nothing else.
            let _ = stream.set_nodelay(true);
        });
        let serve = axum::serve(listener, self.router).with_graceful_shutdown(async move {
            stop.await;
            let _ = stopping.send(());
        });
        let overdue = async {
            if stopped.await.is_err() {
                // The server ended without being told to: the other arm has the reason.
                std::future::pending::<()>().await;
            }
            tokio::time::sleep(DRAIN_DEADLINE).await;
        };
        // Neither arm is polled again after the other has won, so nothing can be lost by cancellation.
        tokio::select! {
            result = serve.into_future() => result.map_err(ServeError::Accept),
            () = overdue => Err(ServeError::Drain(DRAIN_DEADLINE)),
        }
    }
}

/// Why a replica cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The address cannot be bound.
    #[error("cannot listen on {listen}:{port}: {why}")]
    Listen {
        /// As in the options.
        listen: String,
        /// As in the options.
        port: u16,
        /// The operating system's reason.
        why: io::Error,
    },
    /// The database cannot be opened.
    #[error("cannot open the database {database}: {why}")]
    Database {
        /// The database, without its password.
        database: String,
        /// The error of the database.
        why: StoreError,
    },
}

/// Why a replica did not stop gracefully.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The listening socket failed.
    #[error("cannot accept connections: {0}")]
    Accept(io::Error),
    /// Requests were cut off.
    #[error("some requests did not finish within {0:?} and were cut off")]
    Drain(Duration),
}

fn address_name(address: SocketAddr) -> HeaderValue {
    HeaderValue::from_str(&address.to_string()).expect("an address is digits and punctuation")
}
