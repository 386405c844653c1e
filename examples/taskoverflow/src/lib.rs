//! TaskOverflow, the replica that stands behind Weir in the examples: a todo service over HTTP.
//!
//! It has no state but its storage, so any number of replicas can share one SQLite file or one PostgreSQL database.
//! If the storage is gone, the health endpoint and every todo endpoint answer 503 with a reason while the port stays
//! open: the case which the health check of a load balancer has to notice.
//!
//! From the bottom up: [`mod@todo`] says what a legal todo is, [`database`] where todos are kept, [`store`] keeps them,
//! [`api`] speaks HTTP, [`replica`] listens and stops.

pub mod api;
pub mod database;
mod problem;
pub mod replica;
pub mod store;
pub mod todo;
