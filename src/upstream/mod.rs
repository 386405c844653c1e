//! Connections to targets: one pool per worker, one list per target, the most
//! recently used connection first, so that surplus ones age out.

mod checkout;
mod lifespan;
mod pool;
mod target_io;

pub use checkout::{Checkout, SendError, Switched};
pub use pool::{ConnectError, Pool};
