//! How the accept loop and the connections of one socket are told to end: all of them by a drain,
//! and idle ones to make room for new clients.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use tokio::sync::Notify;

use crate::model::Failure;

/// What becomes of the connections in the kernel's accept queue when an accept loop ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Backlog {
    /// The loop accepts them: closing the socket would reset them.
    Accept,
    /// Another accept loop has the same socket and accepts them.
    Leave,
}

/// The steps in which a socket's connections end: first every response closes its connection,
/// then connections without a request close too, and at last the tunnels, which nothing else
/// would end.
#[derive(Debug, Default)]
pub struct DrainSignal {
    stopped: Cell<Option<Backlog>>,
    stop: Notify,
    closing: Rc<Cell<bool>>,
    draining: Cell<bool>,
    drained: Notify,
    closed: Cell<Option<Failure>>,
    close: Notify,
    connections: Cell<usize>,
    tunnels: Cell<usize>,
    tunnel_ended: Notify,
    /// The connections without a request, the one that has been idle for longest first.
    idle: RefCell<BTreeMap<u64, Rc<IdleSlot>>>,
    next_idle: Cell<u64>,
    /// How many clients wait because the listener is at its limit of connections.
    pressing: Cell<usize>,
    /// How many connections are still to give way to them.
    owed: Cell<usize>,
}

/// What an idle connection shares with the signal, which may end it.
#[derive(Debug, Default)]
struct IdleSlot {
    evicted: Cell<bool>,
    waker: RefCell<Option<Waker>>,
}

/// Counts a connection as idle, so that it may be ended for a new client, until it is dropped.
#[derive(Debug)]
pub(super) struct IdleGuard<'d> {
    signal: &'d DrainSignal,
    number: u64,
    slot: Rc<IdleSlot>,
}

/// Counts one connection or one tunnel of a socket for as long as it lives.
#[derive(Debug)]
pub struct ConnectionGuard {
    signal: Rc<DrainSignal>,
    count: fn(&DrainSignal) -> &Cell<usize>,
}

impl DrainSignal {
    /// Lets every response from now on end its connection. Connections are still accepted.
    pub fn close_after_responses(&self) {
        self.closing.set(true);
    }

    /// Ends the accept loop. Of several calls the first decides what becomes of the
    /// connections that wait in the kernel's queue.
    pub fn stop_accepting(&self, backlog: Backlog) {
        if self.stopped.get().is_none() {
            self.stopped.set(Some(backlog));
            self.stop.notify_waiters();
        }
    }

    /// Ends idle connections now, and busy ones with their response. Tunnels go on.
    pub fn drain(&self) {
        self.stop_accepting(Backlog::Accept);
        self.closing.set(true);
        self.draining.set(true);
        self.drained.notify_waiters();
    }

    /// Ends the tunnels now, for this reason. Returns how many there are.
    pub fn close(&self, reason: Failure) -> usize {
        self.closed.set(Some(reason));
        self.close.notify_waiters();
        self.tunnels.get()
    }

    /// Whether every response closes its connection; all connections share the cell.
    pub(super) fn closing(&self) -> &Rc<Cell<bool>> {
        &self.closing
    }

    /// Resolves when the accept loop has to end. Cancel-safe.
    pub async fn stopped(&self) -> Backlog {
        loop {
            // Registered before the flag is read, so that a call in between is not missed.
            let stop = self.stop.notified();
            if let Some(backlog) = self.stopped.get() {
                return backlog;
            }
            stop.await;
        }
    }

    /// Whether the listener drains.
    pub(super) fn is_draining(&self) -> bool {
        self.draining.get()
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

    /// Notes how many clients wait because the listener is at its limit of connections. For each of
    /// them one connection gives way: the one that has been idle for longest, or the next that is.
    pub fn press(&self, clients: usize) {
        let before = self.pressing.replace(clients);
        let more = clients.saturating_sub(before);
        self.owe(self.owed.get() + more);
    }

    /// Notes that a connection that was to give way has got a request instead: another one has to.
    pub(super) fn decline(&self) {
        self.owe(self.owed.get() + 1);
    }

    fn owe(&self, connections: usize) {
        self.owed.set(connections.min(self.pressing.get()));
        while self.owed.get() > 0
            && let Some((_, slot)) = self.idle.borrow_mut().pop_first()
        {
            self.evict(&slot);
            if let Some(waker) = slot.waker.take() {
                waker.wake();
            }
        }
    }

    fn evict(&self, slot: &IdleSlot) {
        self.owed.set(self.owed.get() - 1);
        slot.evicted.set(true);
    }

    /// Counts a connection as idle until the guard is dropped.
    pub(super) fn idle(&self) -> IdleGuard<'_> {
        let number = self.next_idle.get();
        self.next_idle.set(number + 1);
        let slot = Rc::<IdleSlot>::default();
        if self.owed.get() > 0 {
            self.evict(&slot);
        }
        self.idle.borrow_mut().insert(number, Rc::clone(&slot));
        IdleGuard {
            signal: self,
            number,
            slot,
        }
    }

    /// Connections that are open.
    pub fn connections(&self) -> usize {
        self.connections.get()
    }

    /// Counts a connection until the guard is dropped.
    pub fn guard_connection(self: &Rc<Self>) -> ConnectionGuard {
        ConnectionGuard::new(self, |signal| &signal.connections)
    }

    /// Counts a connection that has become a tunnel until the guard is dropped.
    pub(super) fn guard_tunnel(self: &Rc<Self>) -> ConnectionGuard {
        ConnectionGuard::new(self, |signal| &signal.tunnels)
    }
}

impl IdleGuard<'_> {
    /// Ready when the connection has to end for a new client.
    pub(super) fn poll_evicted(&self, cx: &mut Context<'_>) -> Poll<()> {
        if self.slot.evicted.get() {
            return Poll::Ready(());
        }
        let mut waker = self.slot.waker.borrow_mut();
        if !waker
            .as_ref()
            .is_some_and(|waker| waker.will_wake(cx.waker()))
        {
            *waker = Some(cx.waker().clone());
        }
        Poll::Pending
    }
}

impl Drop for IdleGuard<'_> {
    fn drop(&mut self) {
        self.signal.idle.borrow_mut().remove(&self.number);
    }
}

impl ConnectionGuard {
    fn new(signal: &Rc<DrainSignal>, count: fn(&DrainSignal) -> &Cell<usize>) -> Self {
        let counted = count(signal);
        counted.set(counted.get() + 1);
        Self {
            signal: Rc::clone(signal),
            count,
        }
    }
}

impl Drop for ConnectionGuard {
    fn drop(&mut self) {
        let counted = (self.count)(&self.signal);
        counted.set(counted.get() - 1);
        if self.signal.tunnels.get() == 0 {
            self.signal.tunnel_ended.notify_waiters();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_evicted(guard: &IdleGuard<'_>) -> bool {
        guard
            .poll_evicted(&mut Context::from_waker(Waker::noop()))
            .is_ready()
    }

    #[test]
    fn the_connection_that_has_been_idle_for_longest_gives_way() {
        let signal = DrainSignal::default();
        let (first, second, third) = (signal.idle(), signal.idle(), signal.idle());
        drop(first);
        assert!(!is_evicted(&second));
        signal.press(1);
        assert!(is_evicted(&second) && !is_evicted(&third));
        assert!(!is_evicted(&signal.idle()), "one is enough");
        signal.press(3);
        assert!(is_evicted(&third));
        assert!(is_evicted(&signal.idle()), "it is owed");
        assert!(!is_evicted(&signal.idle()));
        signal.press(4);
        signal.press(0);
        assert!(!is_evicted(&signal.idle()), "no client waits");
        drop((second, third));
        assert!(signal.idle.borrow().is_empty());
    }
}
