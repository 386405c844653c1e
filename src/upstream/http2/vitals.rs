//! What a connection, its streams and its driver tell each other.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::task::Waker;
use std::time::{Duration, Instant};

use tokio::sync::Notify;
use tokio::time::timeout;

use crate::clock;

/// The state of a connection that its driver knows, or has to know.
#[derive(Debug)]
pub(super) struct Vitals {
    /// Streams that are open.
    open: Cell<usize>,
    /// Since when none is.
    idle_since: Cell<Instant>,
    /// How often bytes have come.
    reads: Cell<u64>,
    /// Whether the connection has ended.
    is_over: Cell<bool>,
    /// Whether the driver is to send a PING.
    wants_ping: Cell<bool>,
    driver: RefCell<Option<Waker>>,
    /// Bytes have come, or the connection has ended.
    news: Notify,
}

impl Vitals {
    pub(super) fn new() -> Rc<Self> {
        Rc::new(Self {
            open: Cell::new(0),
            idle_since: Cell::new(clock::now().into_std()),
            reads: Cell::new(0),
            is_over: Cell::new(false),
            wants_ping: Cell::new(false),
            driver: RefCell::default(),
            news: Notify::new(),
        })
    }

    pub(super) fn open(&self) -> usize {
        self.open.get()
    }

    pub(super) fn begin_stream(&self) {
        self.open.set(self.open.get() + 1);
    }

    pub(super) fn end_stream(&self) {
        self.open.set(self.open.get() - 1);
        if self.open.get() == 0 {
            self.idle_since.set(clock::last().into_std());
        }
    }

    /// For how long it has had no stream; `None` while it has one.
    pub(super) fn idle(&self, now: Instant) -> Option<Duration> {
        let idle = now.saturating_duration_since(self.idle_since.get());
        (self.open.get() == 0).then_some(idle)
    }

    /// Counts the idle time from now on.
    pub(super) fn refresh(&self) {
        self.idle_since.set(clock::now().into_std());
    }

    pub(super) fn reads(&self) -> u64 {
        self.reads.get()
    }

    pub(super) fn note_read(&self) {
        self.reads.set(self.reads.get() + 1);
    }

    pub(super) fn is_over(&self) -> bool {
        self.is_over.get()
    }

    pub(super) fn end(&self) {
        self.is_over.set(true);
        self.news.notify_waiters();
    }

    /// Tells what waits that bytes have come and were handled.
    pub(super) fn tell(&self) {
        self.news.notify_waiters();
    }

    pub(super) fn set_driver(&self, waker: &Waker) {
        let mut driver = self.driver.borrow_mut();
        if !driver.as_ref().is_some_and(|known| known.will_wake(waker)) {
            *driver = Some(waker.clone());
        }
    }

    pub(super) fn takes_ping(&self) -> bool {
        self.wants_ping.take()
    }

    /// Asks for a PING, and waits until anything comes. `false` if the connection ends, or nothing
    /// comes within `limit`.
    pub(super) async fn answers(&self, limit: Duration) -> bool {
        self.wants_ping.set(true);
        if let Some(driver) = &*self.driver.borrow() {
            driver.wake_by_ref();
        }
        self.hears_something(limit).await
    }

    /// Waits until anything comes. `false` if the connection ends, or nothing comes within `limit`.
    pub(super) async fn hears_something(&self, limit: Duration) -> bool {
        let before = self.reads.get();
        let waiting = async {
            while self.reads.get() == before && !self.is_over.get() {
                self.news.notified().await;
            }
        };
        timeout(limit, waiting).await.is_ok() && !self.is_over.get()
    }
}
