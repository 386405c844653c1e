//! The limit of a listener's open connections (`max_connections`), over all workers.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{Notify, watch};
use tracing::warn;

use crate::net::descriptors::{DescriptorPermit, DescriptorPool};
use crate::observe::kind;

/// How many connections one listener may have, and how many it has. The limit may change while
/// connections are open: those beyond a smaller limit stay, and none is added until their
/// number has fallen below it.
#[derive(Debug)]
pub struct ConnectionLimit {
    /// Shared by all listeners.
    descriptors: DescriptorPool,
    max: AtomicUsize,
    open: AtomicUsize,
    /// Notified when a connection may have become possible.
    freed: Notify,
    /// How many clients wait for a permit.
    waiting: watch::Sender<usize>,
    reached: Mutex<LimitTimes>,
}

/// When clients began to wait for a permit.
#[derive(Debug, Default)]
struct LimitTimes {
    last: Option<Instant>,
    /// The last time that was logged.
    logged: Option<Instant>,
}

/// From one line that clients wait for a permit to the next.
const LOG_INTERVAL: Duration = Duration::from_secs(60);

/// Counts a client that waits.
struct Waiting<'l>(&'l ConnectionLimit);

impl<'l> Waiting<'l> {
    fn begin(limit: &'l ConnectionLimit) -> Self {
        limit.waiting.send_modify(|waiting| *waiting += 1);
        Self(limit)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.waiting.send_modify(|waiting| *waiting -= 1);
    }
}

/// The right to one connection below a limit; given back by dropping it.
#[derive(Debug)]
pub struct Permit {
    limit: Arc<ConnectionLimit>,
    _descriptor: DescriptorPermit,
}

impl ConnectionLimit {
    /// Allows `max` connections. Each takes one of `descriptors` as well.
    pub fn new(max: usize, descriptors: DescriptorPool) -> Self {
        Self {
            descriptors,
            max: AtomicUsize::new(max),
            open: AtomicUsize::new(0),
            freed: Notify::new(),
            waiting: watch::Sender::default(),
            reached: Mutex::default(),
        }
    }

    /// Connections now open.
    pub fn open(&self) -> usize {
        self.open.load(Ordering::SeqCst)
    }

    /// How many clients wait for a permit.
    pub fn waiting_clients(&self) -> usize {
        *self.waiting.borrow()
    }

    /// When a client last had to wait for a permit; `None` if none has.
    pub fn last_reached(&self) -> Option<Instant> {
        self.lock().last
    }

    fn lock(&self) -> MutexGuard<'_, LimitTimes> {
        // Two times, each of which is whole.
        self.reached.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes that a client waits for a permit, and logs it once a minute.
    pub(super) fn note_reached(&self, listener: &str) {
        let now = Instant::now();
        let mut reached = self.lock();
        reached.last = Some(now);
        let logged = reached.logged;
        if logged.is_some_and(|logged| now.duration_since(logged) < LOG_INTERVAL) {
            return;
        }
        reached.logged = Some(now);
        drop(reached);
        let (open, max) = (self.open(), self.max.load(Ordering::SeqCst));
        warn!(
            event = kind::LIMIT,
            listener,
            open,
            max,
            "no further connection is served until one ends: the limit of the listener or of open \
             files is reached; clients wait"
        );
    }

    /// Allows `max` connections from now on.
    pub fn set(&self, max: usize) {
        self.max.store(max, Ordering::SeqCst);
        // Several waits may succeed; the others wait again.
        self.freed.notify_waiters();
    }

    /// How many clients wait for a permit, and when that changes.
    pub(super) fn waiting(&self) -> watch::Receiver<usize> {
        self.waiting.subscribe()
    }

    /// Waits until one more connection is allowed, and counts it. Cancel-safe.
    pub(super) async fn acquire(self: &Arc<Self>) -> Permit {
        if let Some(descriptor) = self.descriptors.try_take()
            && self.try_count()
        {
            return self.permit(descriptor);
        }
        let _waiting = Waiting::begin(self);
        let descriptor = self.descriptors.take().await;
        loop {
            // Created before the check, so that a permit dropped in between is not missed.
            let freed = self.freed.notified();
            if self.try_count() {
                return self.permit(descriptor);
            }
            freed.await;
        }
    }

    fn permit(self: &Arc<Self>, descriptor: DescriptorPermit) -> Permit {
        Permit {
            limit: Arc::clone(self),
            _descriptor: descriptor,
        }
    }

    fn try_count(&self) -> bool {
        let max = self.max.load(Ordering::SeqCst);
        self.open
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |open| {
                (open < max).then_some(open + 1)
            })
            .is_ok()
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.limit.open.fetch_sub(1, Ordering::SeqCst);
        self.limit.freed.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt;

    fn limit(max: usize) -> Arc<ConnectionLimit> {
        Arc::new(ConnectionLimit::new(max, DescriptorPool::new(100)))
    }

    #[tokio::test]
    async fn a_dropped_permit_lets_the_next_connection_in() {
        let limit = limit(1);
        let first = limit.acquire().await;
        let mut second = Box::pin(limit.acquire());
        assert!(second.as_mut().now_or_never().is_none());
        drop(first);
        let second = second.now_or_never().expect("one connection is allowed");
        assert_eq!(limit.open(), 1);
        drop(second);
        assert_eq!(limit.open(), 0);
    }

    #[tokio::test]
    async fn a_smaller_limit_holds_once_enough_connections_have_ended() {
        let limit = limit(3);
        let mut permits = vec![
            limit.acquire().await,
            limit.acquire().await,
            limit.acquire().await,
        ];
        limit.set(1);
        let mut next = Box::pin(limit.acquire());
        for open in [2, 1] {
            assert!(next.as_mut().now_or_never().is_none());
            permits.pop();
            assert_eq!(limit.open(), open);
        }
        assert!(next.as_mut().now_or_never().is_none());
        permits.pop();
        assert!(next.now_or_never().is_some());
    }

    #[tokio::test]
    async fn a_larger_limit_lets_in_as_many_as_it_allows() {
        let limit = limit(1);
        let first = limit.acquire().await;
        let mut waiting: Vec<_> = (0..3).map(|_| Box::pin(limit.acquire())).collect();
        for waiting in &mut waiting {
            assert!(waiting.as_mut().now_or_never().is_none());
        }
        limit.set(3);
        let permits: Vec<_> = waiting
            .iter_mut()
            .filter_map(|waiting| waiting.as_mut().now_or_never())
            .collect();
        assert_eq!((permits.len(), limit.open()), (2, 3));
        drop(first);
    }

    #[tokio::test]
    async fn listeners_share_the_descriptors_of_clients() {
        let share = DescriptorPool::new(1);
        let [one, other] = [(); 2].map(|()| Arc::new(ConnectionLimit::new(10, share.clone())));
        let first = one.acquire().await;
        let mut second = Box::pin(other.acquire());
        assert!(second.as_mut().now_or_never().is_none());
        drop(first);
        assert!(second.now_or_never().is_some());
    }

    #[tokio::test]
    async fn a_cancelled_wait_passes_its_notification_on() {
        let limit = limit(1);
        let first = limit.acquire().await;
        let (mut one, mut other) = (Box::pin(limit.acquire()), Box::pin(limit.acquire()));
        assert!(one.as_mut().now_or_never().is_none());
        assert!(other.as_mut().now_or_never().is_none());
        drop(first);
        drop(one);
        assert!(other.now_or_never().is_some());
    }
}
