//! Bytes and sockets: binding, dialling, and a client stream that knows its deadlines.

mod bind;
mod client_io;
mod dial;
pub mod handover;
mod timer;

pub use bind::{BindError, bind, bind_beside};
pub use client_io::{ClientIo, Deadlines, Watch};
pub use dial::{DialError, dial};
pub use timer::Timer;
