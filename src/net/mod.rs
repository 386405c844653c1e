//! Bytes, sockets and deadlines: listening, connecting, handing sockets over, limits of open files,
//! timers, and the HTTP client of the control plane.

mod bind;
mod buffer;
pub mod descriptors;
mod dial;
pub mod fetch;
mod listening;
mod pace;
pub mod pass_sockets;
mod peek;
pub mod proxy_protocol;
mod socket;
mod stream;
mod timer;
mod tls;
mod unix_socket;
mod wheel;

pub use bind::{BindError, listen, reserve, reserve_beside, reserve_unix};
pub use buffer::{Buffers, Input, Output};
pub use dial::{DialError, Prelude, connect, dial, is_own_shortage};
pub use listening::{Acceptor, ListeningSocket};
pub use pace::Pace;
pub use socket::{HangUp, Peek, Socket};
pub use stream::Stream;
pub use timer::Timer;
pub use tls::{HandshakeError, HandshakeFailure, TlsStream};
pub use unix_socket::{FileIdentity, SocketFile, bind_file, check_replaceable};
