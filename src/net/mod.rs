//! Bytes and sockets: binding, dialling, and a client stream that knows its deadlines.

mod bind;
mod bounded;
mod client_io;
pub mod descriptors;
mod dial;
pub mod handover;
mod root_cause;
mod timer;

pub use bind::{BindError, listen, reserve, reserve_beside};
pub use bounded::Bounded;
pub use client_io::{ClientIo, Deadlines, Watch};
pub use dial::{DialError, dial, is_own_shortage};
pub use root_cause::root_cause;
pub use timer::Timer;
