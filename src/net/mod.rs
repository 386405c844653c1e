//! Bytes and sockets: listening, connecting, handing sockets over, limits of open files, and the
//! HTTP client of the control plane.

mod bind;
mod client_io;
pub mod descriptors;
mod dial;
pub mod fetch;
pub mod pass_sockets;
mod timer;

pub use bind::{BindError, listen, reserve, reserve_beside};
pub use client_io::{ClientIo, ClientState, Deadlines};
pub use dial::{DialError, dial, is_own_shortage};
pub use timer::Timer;
