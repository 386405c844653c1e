//! What the accept loop and the connections of one socket are told when it ends.

use std::cell::Cell;
use std::rc::Rc;

use tokio::sync::Notify;

use crate::model::Failure;

/// What becomes of the clients in the kernel's queue when an accept loop ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Queue {
    /// The loop accepts them: closing the socket would reset them.
    Accepted,
    /// Another accept loop has the same socket, and they are for that one.
    Left,
}

/// The way out: first every response closes its connection, then connections without
/// a request close too, and at last the tunnels, which nothing else would end.
#[derive(Debug, Default)]
pub struct Gate {
    stopped: Cell<Option<Queue>>,
    stop: Notify,
    closing: Rc<Cell<bool>>,
    draining: Cell<bool>,
    drained: Notify,
    closed: Cell<Option<Failure>>,
    close: Notify,
    connections: Cell<usize>,
    tunnels: Cell<usize>,
    tunnel_ended: Notify,
}

/// A connection or a tunnel behind a gate, for as long as this lives.
#[derive(Debug)]
pub struct Inside {
    gate: Rc<Gate>,
    count: fn(&Gate) -> &Cell<usize>,
}

impl Gate {
    /// Every response from now on ends its connection; new connections are still welcome.
    pub fn close_after_responses(&self) {
        self.closing.set(true);
    }

    /// No client comes in any more, but for those that wait already. The first call decides
    /// what becomes of these.
    pub fn stop_accepting(&self, queue: Queue) {
        if self.stopped.get().is_none() {
            self.stopped.set(Some(queue));
            self.stop.notify_waiters();
        }
    }

    /// Idle connections end now, busy ones with their response. Tunnels go on.
    pub fn drain(&self) {
        self.stop_accepting(Queue::Accepted);
        self.closing.set(true);
        self.draining.set(true);
        self.drained.notify_waiters();
    }

    /// Tunnels end now, for this reason. Returns how many there are.
    pub fn close(&self, reason: Failure) -> usize {
        self.closed.set(Some(reason));
        self.close.notify_waiters();
        self.tunnels.get()
    }

    /// Shared with every connection: whether the next response closes.
    pub(super) fn closing(&self) -> &Rc<Cell<bool>> {
        &self.closing
    }

    /// Resolves when the accept loop has to end. Cancel-safe.
    pub async fn stopped(&self) -> Queue {
        loop {
            // Registered before the look, so that a call in between is not missed.
            let stop = self.stop.notified();
            if let Some(queue) = self.stopped.get() {
                return queue;
            }
            stop.await;
        }
    }

    /// Resolves when the listener drains. Cancel-safe.
    pub async fn draining(&self) {
        // Registered before the flag is read, so that a call in between is not missed.
        let notified = self.drained.notified();
        if !self.draining.get() {
            notified.await;
        }
    }

    /// Resolves when tunnels have to end, with the reason. Cancel-safe.
    pub(super) async fn closed(&self) -> Failure {
        loop {
            let notified = self.close.notified();
            if let Some(reason) = self.closed.get() {
                return reason;
            }
            notified.await;
        }
    }

    /// Resolves when no tunnel is left. Cancel-safe.
    pub async fn without_tunnels(&self) {
        loop {
            let ended = self.tunnel_ended.notified();
            if self.tunnels.get() == 0 {
                return;
            }
            ended.await;
        }
    }

    /// Connections that are open.
    pub fn connections(&self) -> usize {
        self.connections.get()
    }

    /// Counts a connection.
    pub fn enter(self: &Rc<Self>) -> Inside {
        Inside::new(self, |gate| &gate.connections)
    }

    /// Counts a connection that has become a tunnel.
    pub(super) fn enter_tunnel(self: &Rc<Self>) -> Inside {
        Inside::new(self, |gate| &gate.tunnels)
    }
}

impl Inside {
    fn new(gate: &Rc<Gate>, count: fn(&Gate) -> &Cell<usize>) -> Self {
        let counted = count(gate);
        counted.set(counted.get() + 1);
        Self {
            gate: Rc::clone(gate),
            count,
        }
    }
}

impl Drop for Inside {
    fn drop(&mut self) {
        let counted = (self.count)(&self.gate);
        counted.set(counted.get() - 1);
        if self.gate.tunnels.get() == 0 {
            self.gate.tunnel_ended.notify_waiters();
        }
    }
}
