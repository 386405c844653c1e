//! HTTP/2 towards targets (RFC 9113): a connection carries many exchanges, each on a stream.
//!
//! The framing is the `h2` crate's. Here stands which stream an exchange gets. A [`Http2List`] has
//! the connections of one worker to one target; a connection has one task, its `driver`, which
//! reads and writes for all its streams. The task of the client's connection drives its
//! [`Http2Stream`] as it would a connection of HTTP/1.1.
//!
//! - A connection is used up to its limit of streams, the lesser of what the group and the target
//!   allow; then another one is opened, so that a full one blocks no request. Requests that come
//!   while one is opened wait for it, and one is opened ahead of need when few streams are left.
//! - Flow control goes from end to end: the target may send as much as its stream's window, and
//!   gets more when the client has taken it; a request's body is read from the client as the
//!   target's windows allow.
//! - A target that says GOAWAY gets no new stream on that connection. Streams which it says it has
//!   not looked at, and those that it refuses (`REFUSED_STREAM`), were not executed.
//! - A connection that was idle for long is asked for a PING before it is used again; one that
//!   is silent while streams wait is asked as well, and given up if nothing comes.

mod connection;
mod driver;
mod handshake;
mod head;
mod list;
mod monitor;
mod opening;
mod stream;
mod vitals;

pub(super) use list::Http2List;
pub(super) use stream::Http2Stream;
pub use stream::{Http2Place, Http2Socket};

#[cfg(test)]
mod tests;
