//! What the tasks of an upgrade report to the daemon.

use std::io;

use super::message::{Inbox, Outbox};

/// A report of one of the tasks.
#[derive(Debug)]
pub(super) enum Notice {
    /// A new process asks for the sockets.
    Asked(SocketRequest),
    /// The new process does not take over.
    Failed(io::Error),
    /// The new process, with this process id, serves and was confirmed.
    Replaced(i32),
    /// A later successor, with this process id, serves.
    Current(i32),
    /// The last successor has ended.
    SuccessorsEnded,
    /// The process that was started here has ended.
    ChildEnded,
    /// The predecessor retires, or has ended.
    Confirmed,
    /// The predecessor goes on, for this reason.
    Refused(String),
}

/// A new process that asks for the sockets.
#[derive(Debug)]
pub(in crate::server) struct SocketRequest {
    pub(super) outbox: Outbox,
    pub(super) inbox: Inbox,
    /// The id of the process; `None` on systems that do not tell.
    pub(super) pid: Option<i32>,
}
