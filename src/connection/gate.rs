//! What the connections of one listener on one worker are told when it ends.

use std::cell::Cell;
use std::rc::Rc;

use tokio::sync::Notify;

/// The way out: first every response closes its connection, then connections without
/// a request close too.
#[derive(Debug, Default)]
pub struct Gate {
    closing: Rc<Cell<bool>>,
    draining: Cell<bool>,
    notify: Notify,
}

impl Gate {
    /// Every response from now on ends its connection; new connections are still welcome.
    pub fn close_after_responses(&self) {
        self.closing.set(true);
    }

    /// Idle connections end now, busy ones with their response.
    pub fn drain(&self) {
        self.closing.set(true);
        self.draining.set(true);
        self.notify.notify_waiters();
    }

    /// Shared with every connection: whether the next response closes.
    pub(super) fn closing(&self) -> &Rc<Cell<bool>> {
        &self.closing
    }

    /// Resolves when the listener drains. Cancel-safe.
    pub async fn draining(&self) {
        // Registered before the flag is read, so that a call in between is not missed.
        let notified = self.notify.notified();
        if !self.draining.get() {
            notified.await;
        }
    }
}
