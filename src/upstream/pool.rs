//! The connections of one worker to targets.

use std::cell::RefCell;
use std::error::Error;
use std::io;
use std::rc::Rc;
use std::sync::Arc;

use http_body::Body;
use rustc_hash::FxHashMap;
use tokio::task::yield_now;

use super::checkout::Checkout;
use super::connection::{ConnectError, connect};
use super::idle::IdleList;
use crate::model::UpstreamLimits;
use crate::net::DialError;
use crate::net::descriptors::{DescriptorPermit, DescriptorPool};
use crate::target::{KeepAlive, Serial, Target};

/// Idle connections of one worker, by target.
#[derive(Debug)]
pub struct Pool<B> {
    /// Shared by the pools of all workers.
    descriptors: DescriptorPool,
    targets: RefCell<FxHashMap<Serial, Rc<IdleList<B>>>>,
}

impl<B> Pool<B>
where
    B: Body<Data = bytes::Bytes> + 'static,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    /// An empty pool. All pools that share `descriptors` have as many connections together.
    pub fn new(descriptors: DescriptorPool) -> Self {
        Self {
            descriptors,
            targets: RefCell::default(),
        }
    }

    /// A connection to the target: the idle one used last, or a new one.
    pub async fn checkout(
        &self,
        target: &Arc<Target>,
        policy: &UpstreamLimits,
        learned: &Arc<KeepAlive>,
    ) -> Result<Checkout<B>, ConnectError> {
        let list = self.list(target, policy, learned);
        while let Some((mut connection, age)) = list.take() {
            // A connection that was put back a moment ago becomes ready when its task has
            // seen the end of the last response; one that its target closed never does.
            if connection.sender.ready().await.is_ok() {
                connection.set_idle_since(None);
                return Ok(Checkout::new(connection, list, Some(age)));
            }
        }
        let descriptor = self.descriptor().await?;
        let connection = connect(target, policy, &list.lifespan, descriptor).await?;
        Ok(Checkout::new(connection, list, None))
    }

    /// A descriptor for a new connection; idle ones are closed for it if there is no other.
    async fn descriptor(&self) -> Result<DescriptorPermit, DialError> {
        if let Some(descriptor) = self.descriptors.try_take() {
            return Ok(descriptor);
        }
        self.clear();
        // Their tasks end in the meantime, and give their descriptors back.
        yield_now().await;
        self.descriptors.try_take().ok_or_else(|| {
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

    /// Closes the connections of targets that `keep` rejects: idle ones now, those in use when
    /// their response has ended.
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
        self.targets.borrow().values().map(|list| list.len()).sum()
    }

    fn list(
        &self,
        target: &Arc<Target>,
        policy: &UpstreamLimits,
        learned: &Arc<KeepAlive>,
    ) -> Rc<IdleList<B>> {
        let key = target.serial;
        let mut targets = self.targets.borrow_mut();
        let list = targets
            .entry(key)
            .or_insert_with(|| Rc::new(IdleList::new(target, learned)));
        list.adapt(policy);
        Rc::clone(list)
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use http_body_util::Empty;
    use tokio::net::TcpListener;
    use tokio::task::LocalSet;

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
            addr: listener.local_addr().unwrap(),
        };
        (listener, Arc::new(Target::new(id)))
    }

    #[tokio::test]
    async fn a_pool_without_descriptors_closes_idle_connections_and_then_fails() {
        let (_a_listens, a) = target().await;
        let (_b_listens, b) = target().await;
        let learned = Arc::new(KeepAlive::new(Instant::now()));
        let pool = Pool::<Empty<bytes::Bytes>>::new(DescriptorPool::new(2));
        let policy = policy();
        let connections = async {
            let first = pool.checkout(&a, &policy, &learned).await.unwrap();
            pool.checkout(&a, &policy, &learned)
                .await
                .unwrap()
                .recycle();
            assert_eq!(pool.idle(), 1);
            let second = pool.checkout(&b, &policy, &learned).await.unwrap();
            assert_eq!(pool.idle(), 0, "the idle one was closed for it");
            let third = pool.checkout(&b, &policy, &learned).await;
            let error = third.expect_err("no descriptor is left");
            assert!(matches!(error, ConnectError::Dial(DialError::Shortage(_))));
            drop((first, second));
            yield_now().await;
            assert!(pool.checkout(&b, &policy, &learned).await.is_ok());
        };
        LocalSet::new().run_until(connections).await;
    }
}
