//! The idle connections to one target.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::sync::Arc;
use std::task::{Context, Waker};
use std::time::{Duration, Instant};

use tracing::warn;

use super::exchange::Staleness;
use super::lifespan::Lifespan;
use super::state::ConnectionState;
use crate::model::UpstreamLimits;
use crate::net::Peek;
use crate::target::{KeepAlive, KeptCount, Target};
use crate::tls;
use crate::upstream::kept::KeptReport;
use crate::upstream::terms::Terms;

/// How long no connection is kept to a target that has sent bytes which no request asked for:
/// they could be taken for the response to the next one.
const DISTRUST_INTERVAL: Duration = Duration::from_secs(60);

/// The idle connections of one worker to one target, the one used last at the end. All were made in
/// the same terms: once a group has others, another list takes the place of this one.
pub(in crate::upstream) struct IdleList {
    pub(in crate::upstream) target: Arc<Target>,
    #[allow(
        clippy::vec_box,
        reason = "they are in boxes while in use as well, and large"
    )]
    idle: RefCell<Vec<Box<ConnectionState>>>,
    /// How old they may get.
    pub(super) lifespan: Lifespan,
    /// As the group had it at the last checkout.
    max_idle: Cell<usize>,
    /// In what its connections were made.
    tls: Option<tls::Client>,
    /// The target has left the snapshot, or has another list: no connection is kept.
    closed: Cell<bool>,
    /// When the target has sent bytes last that no request asked for.
    distrusted: Cell<Option<Instant>>,
    /// How often it has, since the last [`IdleList::take_unsolicited`].
    unsolicited: Cell<u64>,
    /// Wakes [`Pool::watch`](crate::upstream::Pool::watch).
    watcher: Waker,
    kept: KeptReport,
}

impl IdleList {
    pub(in crate::upstream) fn new(
        target: &Arc<Target>,
        learned: &Arc<KeepAlive>,
        tls: Option<&tls::Client>,
        watcher: Waker,
    ) -> Self {
        Self {
            target: Arc::clone(target),
            idle: RefCell::default(),
            lifespan: Lifespan::new(learned, Instant::now()),
            max_idle: Cell::default(),
            tls: tls.cloned(),
            closed: Cell::default(),
            distrusted: Cell::default(),
            unsolicited: Cell::default(),
            watcher,
            kept: KeptReport::new(target),
        }
    }

    /// Adopts what the group's configuration says now.
    pub(in crate::upstream) fn adapt(&self, policy: &UpstreamLimits) {
        self.max_idle.set(policy.max_idle);
        self.lifespan.adapt(policy);
    }

    /// Whether its connections were made in TLS of these settings.
    pub(in crate::upstream) fn is_of(&self, tls: Option<&tls::Client>) -> bool {
        self.tls.as_ref() == tls
    }

    /// Whether its connections are such as the group wants them now.
    pub(in crate::upstream) fn fits(&self, terms: &Terms<'_>) -> bool {
        let policy = terms.policy;
        let is_kept = !policy.protocol.is_http2() && policy.proxy_protocol.is_none();
        is_kept && self.is_of(terms.tls)
    }

    /// A list for connections in other TLS, in the place of this one, which is closed.
    pub(in crate::upstream) fn replaced(
        &self,
        learned: &Arc<KeepAlive>,
        tls: Option<&tls::Client>,
    ) -> Self {
        self.close();
        let next = Self::new(&self.target, learned, tls, self.watcher.clone());
        next.distrusted.set(self.distrusted.get());
        next.unsolicited.set(self.unsolicited.take());
        next
    }

    pub(in crate::upstream) fn len(&self) -> usize {
        self.idle.borrow().len()
    }

    /// The connection used last, if it is not too old, and its target has neither closed it nor
    /// sent anything; and for how long it has been idle.
    pub(in crate::upstream) fn take(
        &self,
        cx: &mut Context<'_>,
        now: Instant,
    ) -> Option<(Box<ConnectionState>, Duration)> {
        loop {
            let mut newest = self.idle.borrow_mut().pop()?;
            let age = newest.age(now);
            let limit = self.lifespan.limit().unwrap_or_default();
            if age > limit {
                // All below it are older still.
                self.clear();
                return None;
            }
            let mut staleness = newest.http.staleness(cx);
            // A system call for each request would cost more than it saves, and a connection that
            // is in constant use is not closed for being idle.
            if staleness == Staleness::Fresh && age + age > limit {
                staleness = match newest.http.peek() {
                    Peek::Nothing => Staleness::Fresh,
                    Peek::Bytes => Staleness::Unsolicited,
                    Peek::Closed => Staleness::Closed,
                };
            }
            match staleness {
                Staleness::Fresh => return Some((newest, age)),
                Staleness::Closed => self.lifespan.closed(age, now),
                Staleness::Unsolicited => self.distrust(),
            }
        }
    }

    /// Takes a connection back, or closes it if it is not to be kept. `proven` is for how long it
    /// had been idle before its last request; `None` if that was its first.
    pub(super) fn put(
        &self,
        mut connection: Box<ConnectionState>,
        proven: Option<Duration>,
        now: Instant,
    ) {
        if let Some(age) = proven {
            self.lifespan.proved(age, now);
        }
        let mut idle = self.idle.borrow_mut();
        let is_wanted = !self.closed.get() && idle.len() < self.max_idle.get();
        if is_wanted && self.is_trusted(now) && self.lifespan.limit().is_some() {
            connection
                .http
                .watch(&mut Context::from_waker(&self.watcher));
            idle.push(connection);
        }
    }

    fn is_trusted(&self, now: Instant) -> bool {
        let distrusted = self.distrusted.get();
        distrusted.is_none_or(|at| now.saturating_duration_since(at) > DISTRUST_INTERVAL)
    }

    /// The target has sent bytes that no request asked for: closes its idle connections, and
    /// keeps none for a while.
    pub(super) fn distrust(&self) {
        let now = Instant::now();
        if self.is_trusted(now) {
            warn!(
                target = %self.target.id,
                "a target sends bytes that no request asked for; its connections are used for one \
                 request each for a while"
            );
        }
        self.distrusted.set(Some(now));
        self.unsolicited.set(self.unsolicited.get() + 1);
        self.clear();
    }

    /// Closes those that are too old, closed by the target, that have received something, or are
    /// more than are to be kept.
    pub(in crate::upstream) fn reap(&self) {
        let now = Instant::now();
        self.lifespan.forget(now);
        let limit = self.lifespan.limit().unwrap_or_default();
        let mut is_unsolicited = false;
        let mut idle = self.idle.borrow_mut();
        let surplus = idle.len().saturating_sub(self.max_idle.get());
        idle.drain(..surplus);
        idle.retain_mut(|connection| {
            let age = connection.age(now);
            let cx = &mut Context::from_waker(&self.watcher);
            match connection.http.staleness(cx) {
                Staleness::Fresh => age <= limit,
                Staleness::Closed => {
                    self.lifespan.closed(age, now);
                    false
                }
                Staleness::Unsolicited => {
                    is_unsolicited = true;
                    false
                }
            }
        });
        drop(idle);
        if is_unsolicited {
            self.distrust();
        }
    }

    /// Tells the target how many there are.
    pub(in crate::upstream) fn report(&self) {
        self.kept.tell(KeptCount {
            idle: self.len(),
            http2: 0,
        });
    }

    /// How often bytes came that no request asked for, since the last call.
    pub(in crate::upstream) fn take_unsolicited(&self) -> u64 {
        self.unsolicited.take()
    }

    /// Closes all of them.
    pub(in crate::upstream) fn clear(&self) {
        self.idle.borrow_mut().clear();
    }

    /// Closes all of them, and those in use instead of taking them back.
    pub(in crate::upstream) fn close(&self) {
        self.closed.set(true);
        self.clear();
    }
}

impl fmt::Debug for IdleList {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("IdleList")
            .field("target", &self.target.id)
            .field("idle", &self.len())
            .finish_non_exhaustive()
    }
}
