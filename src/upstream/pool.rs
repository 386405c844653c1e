//! The idle connections of one worker.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use http_body::Body;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use rustc_hash::FxHashMap;
use tokio::task::AbortHandle;
use tracing::debug;

use super::checkout::Checkout;
use crate::model::{Target, Upstream};
use crate::transport::{DialError, dial};

/// Largest response head a target may send; ALB allows 32 KiB.
const MAX_RESPONSE_HEAD: usize = 64 * 1024;

/// How long an idle connection is kept as long as nothing is known about its target:
/// below Node's 5 s, the shortest keep-alive among common servers.
const UNLEARNED: Duration = Duration::from_secs(4);

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
    targets: RefCell<FxHashMap<usize, Rc<IdleList<B>>>>,
}

/// The idle connections to one target.
#[derive(Debug)]
pub(super) struct IdleList<B> {
    target: Arc<Target>,
    idle: RefCell<Vec<Idle<B>>>,
    /// As the group had it at the last checkout.
    max_idle: Cell<usize>,
    idle_timeout: Cell<Duration>,
    /// The target has left the picture: nothing comes back.
    closed: Cell<bool>,
}

#[derive(Debug)]
struct Idle<B> {
    link: Link<B>,
    since: Instant,
}

/// An open connection: the way in, and the task that drives it. Dropping it closes it
/// at once, even if its target takes no more of a request or sends without end.
#[derive(Debug)]
pub(super) struct Link<B> {
    pub(super) sender: SendRequest<B>,
    driver: AbortHandle,
}

impl<B> Drop for Link<B> {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

impl<B> Default for Pool<B> {
    fn default() -> Self {
        Self {
            targets: RefCell::default(),
        }
    }
}

impl<B> Pool<B>
where
    B: Body<Data = bytes::Bytes> + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    /// A connection to the target: the idle one used last, or a new one.
    pub async fn checkout(
        &self,
        target: &Arc<Target>,
        policy: &Upstream,
    ) -> Result<Checkout<B>, ConnectError> {
        let list = self.list(target, policy);
        while let Some(mut link) = list.take() {
            // A connection that came back a moment ago becomes ready when its task has
            // seen the end of the last response; one that its target closed never does.
            if link.sender.ready().await.is_ok() {
                return Ok(Checkout::new(link, list, true));
            }
        }
        let link = connect(target, policy).await?;
        Ok(Checkout::new(link, list, false))
    }

    /// Closes idle connections that are too old.
    pub fn reap(&self) {
        for list in self.targets.borrow().values() {
            list.reap();
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

    fn list(&self, target: &Arc<Target>, policy: &Upstream) -> Rc<IdleList<B>> {
        let key = Arc::as_ptr(target) as usize;
        let mut targets = self.targets.borrow_mut();
        let list = targets.entry(key).or_insert_with(|| {
            Rc::new(IdleList {
                target: Arc::clone(target),
                idle: RefCell::default(),
                max_idle: Cell::default(),
                idle_timeout: Cell::default(),
                closed: Cell::default(),
            })
        });
        list.max_idle.set(policy.max_idle);
        list.idle_timeout
            .set(policy.idle_timeout.unwrap_or(UNLEARNED));
        Rc::clone(list)
    }
}

impl<B> IdleList<B> {
    /// The connection used last, if it is young enough.
    fn take(&self) -> Option<Link<B>> {
        let mut idle = self.idle.borrow_mut();
        let newest = idle.pop()?;
        if newest.since.elapsed() > self.idle_timeout.get() {
            // All below it are older still.
            idle.clear();
            return None;
        }
        Some(newest.link)
    }

    pub(super) fn put(&self, link: Link<B>) {
        let mut idle = self.idle.borrow_mut();
        if self.closed.get() || idle.len() >= self.max_idle.get() || link.sender.is_closed() {
            return;
        }
        idle.push(Idle {
            link,
            since: Instant::now(),
        });
    }

    fn reap(&self) {
        let (timeout, now) = (self.idle_timeout.get(), Instant::now());
        let young = |idle: &Idle<B>| now.duration_since(idle.since) <= timeout;
        let usable = |idle: &mut Idle<B>| !idle.link.sender.is_closed() && young(idle);
        self.idle.borrow_mut().retain_mut(usable);
    }

    fn close(&self) {
        self.closed.set(true);
        self.idle.borrow_mut().clear();
    }
}

async fn connect<B>(target: &Target, policy: &Upstream) -> Result<Link<B>, ConnectError>
where
    B: Body<Data = bytes::Bytes> + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let stream = dial(target.id.addr, policy.connect_timeout).await?;
    let (sender, connection) = http1::Builder::new()
        .max_buf_size(MAX_RESPONSE_HEAD)
        .handshake(TokioIo::new(stream))
        .await?;
    let id = target.id.clone();
    // Owned by the link; ends by itself when the target closes.
    let driver = tokio::task::spawn_local(async move {
        if let Err(error) = connection.await {
            debug!(target = %id, %error, "connection to target ended");
        }
    });
    Ok(Link {
        sender,
        driver: driver.abort_handle(),
    })
}
