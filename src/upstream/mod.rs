//! Connections to targets: one pool per worker, one list of idle connections per target. The
//! most recently used connection is taken first, so that surplus ones reach their age limit.
//!
//! A pooled connection is a socket and its age, without a task or a buffer of its own. One task
//! per worker, [`Pool::watch`], is woken when a target closes some of them.

mod connection;
mod http1;
mod idle;
mod lifespan;
mod pool;

pub use connection::{ConnectError, Connection};
pub use http1::{HeadKind, Http1, ReadError, ResponseLimits};
pub use pool::Pool;
