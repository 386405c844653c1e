//! The idle connections to one target.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::connection::Connection;
use super::lifespan::Lifespan;
use crate::model::UpstreamLimits;
use crate::target::{KeepAlive, Target};

/// The idle connections of one worker to one target, the one used last at the end.
#[derive(Debug)]
pub(super) struct IdleList<B> {
    pub(super) target: Arc<Target>,
    idle: RefCell<Vec<Connection<B>>>,
    /// How old they may get.
    pub(super) lifespan: Rc<Lifespan>,
    /// As the group had it at the last checkout.
    max_idle: Cell<usize>,
    /// The target has left the snapshot: no connection is kept.
    closed: Cell<bool>,
}

impl<B> IdleList<B> {
    pub(super) fn new(target: &Arc<Target>, learned: &Arc<KeepAlive>) -> Self {
        Self {
            target: Arc::clone(target),
            idle: RefCell::default(),
            lifespan: Rc::new(Lifespan::new(learned, Instant::now())),
            max_idle: Cell::default(),
            closed: Cell::default(),
        }
    }

    /// Adopts what the group's configuration says now.
    pub(super) fn adapt(&self, policy: &UpstreamLimits) {
        self.max_idle.set(policy.max_idle);
        self.lifespan.adapt(policy);
    }

    pub(super) fn len(&self) -> usize {
        self.idle.borrow().len()
    }

    /// The connection used last and its age. `None` if it is too old, or there is none.
    pub(super) fn take(&self) -> Option<(Connection<B>, Duration)> {
        let mut idle = self.idle.borrow_mut();
        let newest = idle.pop()?;
        let age = newest.age(Instant::now());
        let limit = self.lifespan.limit().unwrap_or_default();
        if age > limit {
            // All below it are older still.
            idle.clear();
            return None;
        }
        // A system call for each request would cost more than it saves, and a connection that
        // is in constant use is not closed for being idle.
        if age + age > limit {
            newest.signals.check_closed();
        }
        Some((newest, age))
    }

    /// Takes a connection back that had been idle for `proven` before its last request.
    pub(super) fn put(&self, connection: Connection<B>, proven: Option<Duration>) {
        let now = Instant::now();
        if let Some(age) = proven {
            self.lifespan.proved(age, now);
        }
        let mut idle = self.idle.borrow_mut();
        let is_wanted = !self.closed.get() && idle.len() < self.max_idle.get();
        if is_wanted && !connection.sender.is_closed() && self.lifespan.limit().is_some() {
            connection.set_idle_since(Some(now));
            idle.push(connection);
        }
    }

    /// Closes those that are too old, or closed by the target already.
    pub(super) fn reap(&self) {
        let now = Instant::now();
        self.lifespan.forget(now);
        let limit = self.lifespan.limit().unwrap_or_default();
        self.idle.borrow_mut().retain_mut(|connection| {
            !connection.sender.is_closed() && connection.age(now) <= limit
        });
    }

    /// Closes all of them.
    pub(super) fn clear(&self) {
        self.idle.borrow_mut().clear();
    }

    /// Closes all of them, and those in use instead of taking them back.
    pub(super) fn close(&self) {
        self.closed.set(true);
        self.clear();
    }
}
