//! A connection to a target.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::time::timeout;

/// Why a target could not be reached.
#[derive(Debug, thiserror::Error)]
pub enum DialError {
    /// Refused, unreachable, or out of local resources.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// Not within the deadline.
    #[error("timed out")]
    TimedOut,
}

/// Connects, with Nagle's algorithm off: every write is a whole message or the start
/// of one.
pub async fn dial(addr: SocketAddr, within: Duration) -> Result<TcpStream, DialError> {
    let connected = timeout(within, TcpStream::connect(addr)).await;
    let stream = connected.map_err(|_| DialError::TimedOut)??;
    stream.set_nodelay(true)?;
    Ok(stream)
}
