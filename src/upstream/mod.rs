//! Connections to targets: one pool per worker, one list of idle connections per target. The
//! most recently used connection is taken first, so that surplus ones reach their age limit.
//!
//! An idle connection is a socket and its age, without a task or a buffer of its own. One task
//! per worker, [`Pool::watch`], is woken when a target closes some of them. A target that sends
//! bytes which no request asked for is distrusted: its connections serve one request each for a
//! minute.
//!
//! [`Pool::take`] and [`Pool::connect`] give a [`Connection`], which is driven by the task of the
//! client's connection and comes back by [`Connection::recycle`].

mod connect_error;
mod connection;
mod http1;
mod pool;
mod response;

pub use connect_error::ConnectError;
pub use connection::Connection;
pub use pool::Pool;
pub use response::{HeadKind, ReadError, ResponseLimits};
