//! Connections to targets: one pool per worker, one list of idle connections per target. The
//! most recently used connection is taken first, so that surplus ones reach their age limit.

mod checkout;
mod connection;
mod idle;
mod lifespan;
mod pool;
mod target_io;

pub use checkout::{Checkout, SendError, Switched};
pub use connection::ConnectError;
pub use pool::Pool;
