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
    /// The connections without a request, the one that has been idle for longest first, and what
    /// wakes them.
    idle: RefCell<BTreeMap<u64, Option<Waker>>>,
    next_idle: Cell<u64>,
    /// How many clients wait because the listener is at its limit of connections.
    pressing: Cell<usize>,
    /// How many connections are still to give way to them.
    owed: Cell<usize>,
}

/// Counts a connection as idle, so that it may be ended for a new client, until it is dropped.
#[derive(Debug)]
pub(super) struct IdleGuard {
    signal: Rc<DrainSignal>,
    number: u64,
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
        let mut idle = self.idle.borrow_mut();
        idle.values_mut()
            .filter_map(Option::take)
            .for_each(Waker::wake);
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
            && let Some((_, waker)) = self.idle.borrow_mut().pop_first()
        {
            self.owed.set(self.owed.get() - 1);
            if let Some(waker) = waker {
                waker.wake();
            }
        }
    }

    /// The place in the order of idle connections of one whose request ends now.
    pub(super) fn next_idle(&self) -> u64 {
        let number = self.next_idle.get();
        self.next_idle.set(number + 1);
        number
    }

    /// Counts a connection as idle until the guard is dropped. `number` is of [`Self::next_idle`],
    /// for this connection alone.
    pub(super) fn idle(self: &Rc<Self>, number: u64) -> IdleGuard {
        if self.owed.get() > 0 {
            self.owed.set(self.owed.get() - 1);
        } else {
            self.idle.borrow_mut().insert(number, None);
        }
        IdleGuard {
            signal: Rc::clone(self),
            number,
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

impl IdleGuard {
    /// Whether the connection has to end for a new client.
    pub(super) fn is_evicted(&self) -> bool {
        !self.signal.idle.borrow().contains_key(&self.number)
    }

    /// Ready when the connection has to end for a new client. Wakes the task when the listener
    /// drains, too.
    pub(super) fn poll_evicted(&self, cx: &mut Context<'_>) -> Poll<()> {
        // Those that have to end are counted as idle no more.
        let mut idle = self.signal.idle.borrow_mut();
        let Some(waker) = idle.get_mut(&self.number) else {
            return Poll::Ready(());
        };
        match waker {
            Some(waker) => waker.clone_from(cx.waker()),
            None => *waker = Some(cx.waker().clone()),
        }
        Poll::Pending
    }
}

impl Drop for IdleGuard {
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
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::task::Wake;

    use super::*;

    fn idle(signal: &Rc<DrainSignal>) -> IdleGuard {
        signal.idle(signal.next_idle())
    }

    fn is_evicted(guard: &IdleGuard) -> bool {
        guard
            .poll_evicted(&mut Context::from_waker(Waker::noop()))
            .is_ready()
    }

    #[test]
    fn the_connection_that_has_been_idle_for_longest_gives_way() {
        let signal = Rc::new(DrainSignal::default());
        let (first, second, third) = (idle(&signal), idle(&signal), idle(&signal));
        drop(first);
        assert!(!is_evicted(&second));
        signal.press(1);
        assert!(is_evicted(&second) && !is_evicted(&third));
        assert!(!is_evicted(&idle(&signal)), "one is enough");
        signal.press(3);
        assert!(is_evicted(&third));
        assert!(is_evicted(&idle(&signal)), "it is owed");
        assert!(!is_evicted(&idle(&signal)));
        signal.press(4);
        signal.press(0);
        assert!(!is_evicted(&idle(&signal)), "no client waits");
        drop((second, third));
        assert!(signal.idle.borrow().is_empty());
    }

    #[test]
    fn the_order_is_that_of_the_last_requests() {
        let signal = Rc::new(DrainSignal::default());
        let (first, second) = (signal.next_idle(), signal.next_idle());
        let (second, first) = (signal.idle(second), signal.idle(first));
        signal.press(1);
        assert!(is_evicted(&first) && !is_evicted(&second));
    }

    #[test]
    fn a_drain_wakes_the_idle_connections() {
        let (signal, woken) = (Rc::new(DrainSignal::default()), Arc::new(Woken::default()));
        let waker = Waker::from(Arc::clone(&woken));
        let guard = idle(&signal);
        let polled = guard.poll_evicted(&mut Context::from_waker(&waker));
        assert!(polled.is_pending());
        signal.drain();
        assert!(woken.0.load(Ordering::Relaxed) && signal.is_draining());
        assert!(!is_evicted(&guard), "for no new client");
    }

    #[derive(Default)]
    struct Woken(AtomicBool);

    impl Wake for Woken {
        fn wake(self: Arc<Self>) {
            self.0.store(true, Ordering::Relaxed);
        }
    }
}
