//! TaskOverflow, the replica that stands behind Weir in the examples: a todo service over HTTP.
//!
//! It is stateless but for its storage, so any number of replicas can share one SQLite file or one PostgreSQL
//! database. It is honest about that storage: once it is gone, the health endpoint and every todo endpoint answer
//! 503 with a reason while the port stays open, which is the case a load balancer's health check has to notice.
//!
//! From the bottom up: [`mod@todo`] says what a legal todo is, [`database`] where todos are kept, [`store`] keeps them,
//! [`api`] speaks HTTP, [`replica`] listens and stops.

pub mod api;
pub mod database;
mod problem;
pub mod replica;
pub mod store;
pub mod todo;
