//! HTTP/1.1 towards targets: a connection carries one exchange at a time, and is idle between them.
//!
//! An idle connection is a socket and its age, without a task or a buffer of its own.

mod connection;
mod exchange;
mod idle;
mod lifespan;
mod state;

pub(super) use connection::Http1Connection;
pub(super) use exchange::Http1;
pub(super) use idle::IdleList;
