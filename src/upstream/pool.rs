//! The idle connections of one worker.

use std::cell::{Cell, RefCell};
use std::error::Error;
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use http_body::Body;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use rustc_hash::FxHashMap;
use tokio::task::{AbortHandle, yield_now};
use tracing::debug;

use super::checkout::Checkout;
use super::lifespan::Lifespan;
use super::target_io::{Signals, TargetIo};
use crate::model::{KeepAlive, Target, Upstream};
use crate::net::descriptors::{Share, Taken};
use crate::net::{DialError, Timer, dial};

/// Largest response head a target may send; ALB allows 32 KiB.
const MAX_RESPONSE_HEAD: usize = 64 * 1024;

/// Why no connection to a target could be had.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The socket could not be opened.
    #[error(transparent)]
    Dial(#[from] DialError),
    /// The socket closed as it was handed over.
    #[error(transparent)]
    Handshake(#[from] hyper::Error),
}

/// Idle connections of one worker, by target.
///
/// The key is the address of the live target; the entry keeps the target alive, so
/// the address cannot come to mean another one.
#[derive(Debug)]
pub struct Pool<B> {
    /// Those of all workers together.
    descriptors: Share,
    targets: RefCell<FxHashMap<usize, Rc<IdleList<B>>>>,
}

/// The idle connections to one target.
#[derive(Debug)]
pub(super) struct IdleList<B> {
    target: Arc<Target>,
    idle: RefCell<Vec<Link<B>>>,
    /// How old they may get.
    pub(super) lifespan: Rc<Lifespan>,
    /// As the group had it at the last checkout.
    max_idle: Cell<usize>,
    /// The target has left the picture: nothing comes back.
    closed: Cell<bool>,
}

/// An open connection: the way in, and the task that drives it. Dropping it closes it
/// at once, even if its target takes no more of a request or sends without end.
#[derive(Debug)]
pub(super) struct Link<B> {
    pub(super) sender: SendRequest<B>,
    pub(super) signals: Arc<Signals>,
    pub(super) timer: Timer,
    /// Since when it has been idle, or was before the request it has now.
    since: Rc<Cell<Option<Instant>>>,
    driver: AbortHandle,
}

impl<B> Drop for Link<B> {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

impl<B> Pool<B>
where
    B: Body<Data = bytes::Bytes> + 'static,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    /// No connections yet; as many as `descriptors` has, over all pools that share it.
    pub fn new(descriptors: Share) -> Self {
        Self {
            descriptors,
            targets: RefCell::default(),
        }
    }

    /// A connection to the target: the idle one used last, or a new one.
    pub async fn checkout(
        &self,
        target: &Arc<Target>,
        policy: &Upstream,
        learned: &Arc<KeepAlive>,
    ) -> Result<Checkout<B>, ConnectError> {
        let list = self.list(target, policy, learned);
        while let Some((mut link, age)) = list.take() {
            // A connection that came back a moment ago becomes ready when its task has
            // seen the end of the last response; one that its target closed never does.
            if link.sender.ready().await.is_ok() {
                link.since.set(None);
                return Ok(Checkout::new(link, list, Some(age)));
            }
        }
        let descriptor = self.descriptor().await?;
        let link = connect(target, policy, &list.lifespan, descriptor).await?;
        Ok(Checkout::new(link, list, None))
    }

    /// A descriptor for a new connection; idle ones are closed for it if need be.
    async fn descriptor(&self) -> Result<Taken, DialError> {
        if let Some(descriptor) = self.descriptors.try_take() {
            return Ok(descriptor);
        }
        self.clear();
        // Their tasks end in the meantime, and give their descriptors back.
        yield_now().await;
        let descriptor = self.descriptors.try_take();
        descriptor.ok_or_else(|| {
            let message = "every descriptor for connections to targets is in use";
            DialError::Shortage(io::Error::other(message))
        })
    }

    /// Closes idle connections that are too old, and all while descriptors are short: this
    /// worker may hold what another one needs.
    pub fn reap(&self) {
        if self.descriptors.is_used_up() {
            self.clear();
        }
        for list in self.targets.borrow().values() {
            list.reap();
        }
    }

    fn clear(&self) {
        for list in self.targets.borrow().values() {
            list.clear();
        }
    }

    /// Closes the idle connections of targets that `keep` rejects, and refuses those
    /// that come back later.
    pub fn retain(&self, keep: impl Fn(&Target) -> bool) {
        self.targets.borrow_mut().retain(|_, list| {
            let kept = keep(&list.target);
            if !kept {
                list.close();
            }
            kept
        });
    }

    /// How many connections are idle.
    pub fn idle(&self) -> usize {
        let targets = self.targets.borrow();
        targets.values().map(|list| list.idle.borrow().len()).sum()
    }

    fn list(
        &self,
        target: &Arc<Target>,
        policy: &Upstream,
        learned: &Arc<KeepAlive>,
    ) -> Rc<IdleList<B>> {
        let key = Arc::as_ptr(target) as usize;
        let mut targets = self.targets.borrow_mut();
        let list = targets.entry(key).or_insert_with(|| {
            Rc::new(IdleList {
                target: Arc::clone(target),
                idle: RefCell::default(),
                lifespan: Rc::new(Lifespan::new(learned, Instant::now())),
                max_idle: Cell::default(),
                closed: Cell::default(),
            })
        });
        list.max_idle.set(policy.max_idle);
        list.lifespan.adapt(policy);
        Rc::clone(list)
    }
}

impl<B> IdleList<B> {
    /// The connection used last and its age, if that is young enough.
    fn take(&self) -> Option<(Link<B>, Duration)> {
        let mut idle = self.idle.borrow_mut();
        let newest = idle.pop()?;
        let age = newest.age(Instant::now());
        let limit = self.lifespan.limit().unwrap_or_default();
        if age > limit {
            // All below it are older still.
            idle.clear();
            return None;
        }
        // A system call for each request would cost more than it saves. One that is used
        // all the time is not closed for being idle.
        if age + age > limit {
            newest.signals.look();
        }
        Some((newest, age))
    }

    /// Takes a connection back that had been idle for `proven` before its last request.
    pub(super) fn put(&self, link: Link<B>, proven: Option<Duration>) {
        let now = Instant::now();
        if let Some(age) = proven {
            self.lifespan.proved(age, now);
        }
        let mut idle = self.idle.borrow_mut();
        let is_wanted = !self.closed.get() && idle.len() < self.max_idle.get();
        if is_wanted && !link.sender.is_closed() && self.lifespan.limit().is_some() {
            link.since.set(Some(now));
            idle.push(link);
        }
    }

    fn reap(&self) {
        let now = Instant::now();
        self.lifespan.forget(now);
        let limit = self.lifespan.limit().unwrap_or_default();
        let usable = |link: &mut Link<B>| !link.sender.is_closed() && link.age(now) <= limit;
        self.idle.borrow_mut().retain_mut(usable);
    }

    /// Closes all of them.
    pub(super) fn clear(&self) {
        self.idle.borrow_mut().clear();
    }

    fn close(&self) {
        self.closed.set(true);
        self.clear();
    }
}

impl<B> Link<B> {
    /// For how long it has been idle.
    fn age(&self, now: Instant) -> Duration {
        let since = self.since.get().unwrap_or(now);
        now.saturating_duration_since(since)
    }
}

async fn connect<B>(
    target: &Target,
    policy: &Upstream,
    lifespan: &Rc<Lifespan>,
    descriptor: Taken,
) -> Result<Link<B>, ConnectError>
where
    B: Body<Data = bytes::Bytes> + 'static,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    let stream = dial(target.id.addr, policy.connect_timeout).await?;
    let io = TargetIo::new(stream, descriptor);
    let signals = Arc::clone(io.signals());
    let (sender, connection) = http1::Builder::new()
        .max_buf_size(MAX_RESPONSE_HEAD)
        .handshake(TokioIo::new(io))
        .await?;
    let since = Rc::<Cell<Option<Instant>>>::default();
    let (id, idle, lifespan) = (target.id.clone(), Rc::clone(&since), Rc::clone(lifespan));
    // Owned by the link; ends by itself when the target closes.
    let driver = tokio::task::spawn_local(async move {
        let ended = connection.with_upgrades().await;
        if let Err(error) = &ended {
            debug!(target = %id, %error, "connection to target ended");
        }
        if let Some(since) = idle.get().filter(|_| is_closing(&ended)) {
            lifespan.closed(since.elapsed(), Instant::now());
        }
    });
    Ok(Link {
        sender,
        signals,
        timer: Timer::default(),
        since,
        driver: driver.abort_handle(),
    })
}

/// Whether the target closed or reset the connection: not if it said something that it was
/// not asked.
fn is_closing(ended: &hyper::Result<()>) -> bool {
    let Err(error) = ended else { return true };
    error.source().is_some_and(<dyn Error>::is::<io::Error>)
}

#[cfg(test)]
mod tests {
    use http_body_util::Empty;
    use tokio::net::TcpListener;
    use tokio::task::LocalSet;

    use super::*;
    use crate::model::TargetId;

    const POLICY: Upstream = Upstream {
        connect_timeout: Duration::from_secs(10),
        response_timeout: Duration::from_secs(10),
        body_timeout: Duration::from_secs(10),
        request_timeout: None,
        tunnel_timeout: Duration::from_secs(10),
        idle_timeout: Some(Duration::from_secs(10)),
        max_idle: 10,
    };

    async fn target() -> (TcpListener, Arc<Target>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let id = TargetId {
            group: "todo".into(),
            addr: listener.local_addr().unwrap(),
        };
        (listener, Arc::new(Target::new(id)))
    }

    #[tokio::test]
    async fn a_pool_without_descriptors_closes_idle_connections_and_then_fails() {
        let (_a_listens, a) = target().await;
        let (_b_listens, b) = target().await;
        let learned = Arc::new(KeepAlive::new(Instant::now()));
        let pool = Pool::<Empty<bytes::Bytes>>::new(Share::new(2));
        let connections = async {
            let first = pool.checkout(&a, &POLICY, &learned).await.unwrap();
            pool.checkout(&a, &POLICY, &learned)
                .await
                .unwrap()
                .recycle();
            assert_eq!(pool.idle(), 1);
            let second = pool.checkout(&b, &POLICY, &learned).await.unwrap();
            assert_eq!(pool.idle(), 0, "the idle one has made room");
            let third = pool.checkout(&b, &POLICY, &learned).await;
            let error = third.expect_err("there is no room");
            assert!(matches!(error, ConnectError::Dial(DialError::Shortage(_))));
            drop((first, second));
            yield_now().await;
            assert!(pool.checkout(&b, &POLICY, &learned).await.is_ok());
        };
        LocalSet::new().run_until(connections).await;
    }
}
