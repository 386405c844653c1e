//! Connections to targets: one pool per worker, one list of idle connections per target. The
//! most recently used connection is taken first, so that surplus ones reach their age limit.
//!
//! An idle connection is a socket and its age, without a task or a buffer of its own. One task
//! per worker, [`Pool::watch`], is woken when a target closes some of them. A target that sends
//! bytes which no request asked for is distrusted: its connections serve one request each for a
//! minute.
//!
//! [`Pool::take`] and [`Pool::connect`] give a [`Connection`], which is driven by the task of the
//! client's connection through [`Http1`] and comes back by [`Connection::recycle`].

mod connection;
mod http1;
mod idle;
mod lifespan;
mod pool;
mod state;

pub use connection::{ConnectError, Connection};
pub use http1::{HeadKind, Http1, ReadError, ResponseLimits};
pub use pool::Pool;
