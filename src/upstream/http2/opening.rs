//! A connection that is being opened, and the requests that wait for it.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use tokio::sync::Notify;

use crate::upstream::ConnectError;

/// A connection that is being opened.
#[derive(Debug, Default)]
pub(super) struct Opening {
    /// Requests that wait for it.
    waiting: Cell<usize>,
    is_over: Cell<bool>,
    /// Why it failed, if it did.
    error: RefCell<Option<ConnectError>>,
    done: Notify,
}

impl Opening {
    pub(super) fn waiting(&self) -> usize {
        self.waiting.get()
    }

    /// Ends it; wakes what waits.
    pub(super) fn end(&self, error: Option<ConnectError>) {
        *self.error.borrow_mut() = error;
        self.is_over.set(true);
        self.done.notify_waiters();
    }

    /// Waits until it is open, or has failed. Cancel-safe.
    pub(super) async fn wait(self: Rc<Self>) -> Result<(), ConnectError> {
        let waiting = Waiting::new(&self);
        while !self.is_over.get() {
            self.done.notified().await;
        }
        drop(waiting);
        match &*self.error.borrow() {
            Some(error) => Err(error.duplicate()),
            None => Ok(()),
        }
    }
}

/// Counts a request that waits.
struct Waiting<'o>(&'o Opening);

impl<'o> Waiting<'o> {
    fn new(opening: &'o Opening) -> Self {
        opening.waiting.set(opening.waiting.get() + 1);
        Self(opening)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.waiting.set(self.0.waiting.get() - 1);
    }
}
