//! Why a configuration cannot be run.

use std::io;

use crate::net::BindError;

/// Why a configuration cannot be run.
#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    /// A socket could not be bound; nothing has changed.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// The system gives no more threads.
    #[error("cannot start a worker: {0}")]
    Worker(io::Error),
    /// The signal handlers could not be installed.
    #[error("cannot listen for signals: {0}")]
    Signals(io::Error),
    /// The publisher has ended, which only a defect can cause.
    #[error("the publisher is gone; restart Weir")]
    PublisherGone,
    /// The number of workers is fixed at start.
    #[error("workers cannot change from {from} to {to} without a restart")]
    Workers {
        /// The number that runs.
        from: usize,
        /// The number in the new configuration.
        to: usize,
    },
}
