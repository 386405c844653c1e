//! The connections of one worker to targets.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Poll, Wake, Waker};
use std::time::Instant;

use rustc_hash::FxHashMap;
use tokio::sync::Notify;

use super::connect_error::ConnectError;
use super::connection::Connection;
use super::http1::{Http1, Http1Connection, IdleList};
use super::http2::Http2List;
use super::terms::Terms;
use crate::model::UpstreamLimits;
use crate::net::descriptors::{DescriptorPermit, DescriptorPool};
use crate::net::{Buffers, DialError, Prelude, Stream, dial};
use crate::target::{KeepAlive, Serial, Target};
use crate::tls;

/// Idle connections of one worker, by target.
#[derive(Debug)]
pub struct Pool {
    /// Shared by the pools of all workers.
    descriptors: DescriptorPool,
    buffers: Buffers,
    targets: RefCell<FxHashMap<Serial, Rc<IdleList>>>,
    /// The same of targets that speak HTTP/2: all connections, those in use as well.
    http2: RefCell<FxHashMap<Serial, Rc<Http2List>>>,
    /// How often targets that have left the snapshot sent bytes that no request asked for.
    unsolicited: Cell<u64>,
    /// Wakes [`Pool::watch`] when something happens to an idle connection.
    events: Arc<Events>,
}

/// Wakes the task that watches the idle connections.
#[derive(Debug, Default)]
struct Events(Notify);

impl Wake for Events {
    fn wake(self: Arc<Self>) {
        self.0.notify_one();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.0.notify_one();
    }
}

impl Pool {
    /// An empty pool. `descriptors` bounds the connections of all pools that share it, in use or
    /// idle.
    pub fn new(descriptors: DescriptorPool, buffers: Buffers) -> Self {
        Self {
            descriptors,
            buffers,
            targets: RefCell::default(),
            http2: RefCell::default(),
            unsolicited: Cell::default(),
            events: Arc::default(),
        }
    }

    /// The idle connection to the target that was used last, or a stream of one of HTTP/2; `None` if
    /// there is none that can be used. `learned` is what all workers know of the keep-alive timeout
    /// of the group's targets. Does not wait.
    pub async fn take(
        &self,
        target: &Arc<Target>,
        policy: &UpstreamLimits,
        learned: &Arc<KeepAlive>,
        tls: Option<&tls::Client>,
        now: Instant,
    ) -> Option<Connection> {
        if policy.protocol.is_http2() {
            return self.take_stream(target, policy, tls, now);
        }
        let list = self.list(target, policy, learned, tls);
        let (idle, age) = poll_fn(|cx| Poll::Ready(list.take(cx, now))).await?;
        Some(Connection::Http1(Http1Connection::reused(idle, list, age)))
    }

    /// A new connection to the target. Fails if there is none within `policy.connect_timeout`, or
    /// if the host has no descriptor, port or memory for it. The prelude is a part of it.
    pub async fn connect(
        &self,
        target: &Arc<Target>,
        policy: &UpstreamLimits,
        learned: &Arc<KeepAlive>,
        prelude: Prelude<'_>,
    ) -> Result<Connection, ConnectError> {
        if policy.protocol.is_http2() {
            return self.open_stream(target, policy, prelude.tls).await;
        }
        let list = self.list(target, policy, learned, prelude.tls);
        let (stream, descriptor) = self.open(target, policy, prelude).await?;
        let http = Http1::new(stream, self.buffers.clone());
        Ok(Connection::Http1(Http1Connection::new(
            http, list, descriptor,
        )))
    }

    fn take_stream(
        &self,
        target: &Arc<Target>,
        policy: &UpstreamLimits,
        tls: Option<&tls::Client>,
        now: Instant,
    ) -> Option<Connection> {
        let list = self.http2_list(target, policy, tls);
        let stream = list.take(now)?;
        // Idle connections are not closed for one that may not be needed.
        if list.is_short()
            && let Some(descriptor) = self.descriptors.try_take()
        {
            list.open_ahead(descriptor);
        }
        Some(Connection::Http2(stream))
    }

    // Not an `async fn`: its future is in that of every request, and is large.
    fn open_stream<'p>(
        &'p self,
        target: &Arc<Target>,
        policy: &UpstreamLimits,
        tls: Option<&tls::Client>,
    ) -> Pin<Box<dyn Future<Output = Result<Connection, ConnectError>> + 'p>> {
        let list = self.http2_list(target, policy, tls);
        Box::pin(async move {
            let stream = list.connect(|| self.descriptor()).await?;
            Ok(Connection::Http2(stream))
        })
    }

    /// A new stream to the target, which never comes back to the pool, and its descriptor. Fails as
    /// [`Self::connect`] does.
    pub async fn open(
        &self,
        target: &Target,
        policy: &UpstreamLimits,
        prelude: Prelude<'_>,
    ) -> Result<(Stream, DescriptorPermit), ConnectError> {
        let descriptor = self.descriptor()?;
        let stream = dial(&target.id.addr, prelude, policy.connect_timeout).await?;
        Ok((stream, descriptor))
    }

    /// A descriptor for a new connection; idle ones are closed for it if there is no other.
    fn descriptor(&self) -> Result<DescriptorPermit, DialError> {
        if let Some(descriptor) = self.descriptors.try_take() {
            return Ok(descriptor);
        }
        self.clear();
        self.descriptors.try_take().ok_or_else(|| {
            let message = "every descriptor for connections to targets is in use";
            DialError::Shortage(io::Error::other(message))
        })
    }

    /// Closes idle connections as their targets close them. Never ends. Cancel-safe.
    pub async fn watch(&self) {
        loop {
            self.events.0.notified().await;
            self.reap();
        }
    }

    /// Closes idle connections that are closed by their targets, too old, or have bytes on them;
    /// and all of them while descriptors are short, because another worker may need one.
    pub fn reap(&self) {
        if self.descriptors.is_used_up() {
            self.clear();
        }
        for list in self.targets.borrow().values() {
            list.reap();
            list.report();
        }
        for list in self.http2.borrow().values() {
            list.reap();
            list.report();
        }
    }

    fn clear(&self) {
        for list in self.targets.borrow().values() {
            list.clear();
        }
        for list in self.http2.borrow().values() {
            list.clear();
        }
    }

    /// Closes the connections that were made in other terms than `wanted` gives for their target;
    /// `None` closes all. Idle ones are closed now, those in use when their exchanges have ended.
    pub fn retain<'t>(&self, wanted: impl Fn(&Target) -> Option<Terms<'t>>) {
        self.targets.borrow_mut().retain(|_, list| {
            let terms = wanted(&list.target).filter(|terms| list.fits(terms));
            if let Some(terms) = terms {
                list.adapt(terms.policy);
            } else {
                list.close();
                self.count_unsolicited(list);
            }
            terms.is_some()
        });
        self.http2.borrow_mut().retain(|_, list| {
            let terms = wanted(&list.target).filter(|terms| list.fits(terms));
            if let Some(terms) = terms {
                list.adapt(terms.policy);
            } else {
                list.close();
            }
            terms.is_some()
        });
    }

    /// How many connections are idle now.
    pub fn idle(&self) -> usize {
        let http1 = self.targets.borrow();
        let http2 = self.http2.borrow();
        let idle = http1.values().map(|list| list.len());
        idle.chain(http2.values().map(|list| list.idle())).sum()
    }

    /// How often targets have sent bytes that no request asked for, since the last call; what comes
    /// on several connections of one target at once counts as one.
    pub fn take_unsolicited(&self) -> u64 {
        for list in self.targets.borrow().values() {
            self.count_unsolicited(list);
        }
        self.unsolicited.take()
    }

    fn count_unsolicited(&self, list: &IdleList) {
        let count = self.unsolicited.get() + list.take_unsolicited();
        self.unsolicited.set(count);
    }

    fn http2_list(
        &self,
        target: &Arc<Target>,
        policy: &UpstreamLimits,
        tls: Option<&tls::Client>,
    ) -> Rc<Http2List> {
        let mut targets = self.http2.borrow_mut();
        let new = || Rc::new(Http2List::new(target, policy, tls));
        let list = targets.entry(target.serial).or_insert_with(new);
        if !list.fits(&Terms { policy, tls }) {
            list.close();
            *list = new();
        }
        list.adapt(policy);
        Rc::clone(list)
    }

    fn list(
        &self,
        target: &Arc<Target>,
        policy: &UpstreamLimits,
        learned: &Arc<KeepAlive>,
        tls: Option<&tls::Client>,
    ) -> Rc<IdleList> {
        let mut targets = self.targets.borrow_mut();
        let list = targets.entry(target.serial).or_insert_with(|| {
            let watcher = Waker::from(Arc::clone(&self.events));
            Rc::new(IdleList::new(target, learned, tls, watcher))
        });
        if !list.is_of(tls) {
            *list = Rc::new(list.replaced(learned, tls));
        }
        list.adapt(policy);
        Rc::clone(list)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::net::TcpListener;

    use super::*;
    use crate::model::TargetId;

    fn policy() -> UpstreamLimits {
        UpstreamLimits {
            idle_timeout: Some(Duration::from_secs(10)),
            ..UpstreamLimits::default()
        }
    }

    async fn target() -> (TcpListener, Arc<Target>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let id = TargetId {
            group: "todo".into(),
            addr: listener.local_addr().unwrap().into(),
        };
        (listener, Arc::new(Target::new(id)))
    }

    #[tokio::test]
    async fn a_pool_without_descriptors_closes_idle_connections_and_then_fails() {
        let (_a_listens, a) = target().await;
        let (_b_listens, b) = target().await;
        let learned = Arc::new(KeepAlive::new(Instant::now()));
        let (pool, policy) = (
            Pool::new(DescriptorPool::new(2), Buffers::default()),
            policy(),
        );
        let first = pool
            .connect(&a, &policy, &learned, Prelude::default())
            .await
            .unwrap();
        pool.connect(&a, &policy, &learned, Prelude::default())
            .await
            .unwrap()
            .recycle();
        assert_eq!(pool.idle(), 1);
        let second = pool
            .connect(&b, &policy, &learned, Prelude::default())
            .await
            .unwrap();
        assert_eq!(pool.idle(), 0, "the idle one was closed for it");
        let third = pool
            .connect(&b, &policy, &learned, Prelude::default())
            .await;
        let error = third.expect_err("no descriptor is left");
        assert!(matches!(error, ConnectError::Dial(DialError::Shortage(_))));
        drop((first, second));
        assert!(
            pool.connect(&b, &policy, &learned, Prelude::default())
                .await
                .is_ok()
        );
    }
}
