//! Connections to targets: one pool per worker, one list of connections per target.
//!
//! - HTTP/1.1 (`http1`): idle connections, of which the most recently used one is taken first, so
//!   that surplus ones reach their age limit. One task per worker, [`Pool::watch`], is woken when a
//!   target closes some of them. A target that sends bytes which no request asked for is
//!   distrusted: its connections serve one request each for a minute.
//! - HTTP/2 (`http2`): connections with a task each, and as many requests at a time as they have
//!   streams.
//!
//! A connection that was made in other [`Terms`] than those of its group ends its exchanges, and
//! gets no more.
//!
//! [`Pool::take`] and [`Pool::connect`] give a [`Connection`], which is driven by the task of the
//! client's connection and comes back by [`Connection::recycle`].

mod connect_error;
mod connection;
mod http1;
mod http2;
mod kept;
mod pool;
mod response;
mod terms;

pub use connect_error::ConnectError;
pub use connection::{Connection, Switched};
pub use http2::{Http2Place, Http2Socket};
pub use pool::Pool;
pub use response::{HeadKind, ReadError, ResponseLimits};
pub use terms::Terms;
