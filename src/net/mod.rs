//! Bytes, sockets and deadlines: listening, connecting, handing sockets over, limits of open files,
//! timers, and the HTTP client of the control plane.

mod bind;
mod buffer;
pub mod descriptors;
mod dial;
pub mod fetch;
mod pace;
pub mod pass_sockets;
mod stream;
mod timer;
mod wheel;

pub use bind::{BindError, listen, reserve, reserve_beside};
pub use buffer::{Buffers, Input, Output};
pub use dial::{DialError, dial, is_own_shortage};
pub use pace::Pace;
pub use stream::{HangUp, Peek, Stream};
pub use timer::Timer;
