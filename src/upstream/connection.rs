//! One HTTP/1.1 connection to a target, and how it is made.

use std::cell::Cell;
use std::error::Error;
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use http_body::Body;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::task::AbortHandle;
use tracing::debug;

use super::lifespan::Lifespan;
use super::target_io::{Signals, TargetIo};
use crate::model::UpstreamLimits;
use crate::net::descriptors::DescriptorPermit;
use crate::net::{DialError, Timer, dial};
use crate::target::Target;

/// Largest response head a target may send, in bytes; ALB allows 32 KiB.
const MAX_RESPONSE_HEAD: usize = 64 * 1024;

/// Why no connection to a target could be made.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The socket could not be opened.
    #[error(transparent)]
    Dial(#[from] DialError),
    /// The socket closed before hyper could use it.
    #[error(transparent)]
    Handshake(#[from] hyper::Error),
}

/// An open connection: the sender of its requests, and the task that drives it. Dropping it
/// closes the socket at once, even if the target reads no more of a request or sends without
/// end.
#[derive(Debug)]
pub(super) struct Connection<B> {
    pub(super) sender: SendRequest<B>,
    pub(super) signals: Arc<Signals>,
    pub(super) timer: Timer,
    /// When it became idle; `None` while it has a request.
    idle_since: Rc<Cell<Option<Instant>>>,
    driver: AbortHandle,
}

impl<B> Drop for Connection<B> {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

impl<B> Connection<B> {
    /// For how long it has been idle.
    pub(super) fn age(&self, now: Instant) -> Duration {
        let since = self.idle_since.get().unwrap_or(now);
        now.saturating_duration_since(since)
    }

    /// Notes when it became idle; `None` if a request uses it from now on.
    pub(super) fn set_idle_since(&self, since: Option<Instant>) {
        self.idle_since.set(since);
    }
}

/// Connects to a target. `descriptor` is given back when the socket closes.
pub(super) async fn connect<B>(
    target: &Target,
    policy: &UpstreamLimits,
    lifespan: &Rc<Lifespan>,
    descriptor: DescriptorPermit,
) -> Result<Connection<B>, ConnectError>
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
    let idle_since = Rc::<Cell<Option<Instant>>>::default();
    let (id, since, lifespan) = (
        target.id.clone(),
        Rc::clone(&idle_since),
        Rc::clone(lifespan),
    );
    // Aborted with the connection; ends by itself when the target closes.
    let driver = tokio::task::spawn_local(async move {
        let ended = connection.with_upgrades().await;
        if let Err(error) = &ended {
            debug!(target = %id, %error, "connection to target ended");
        }
        if let Some(since) = since.get().filter(|_| is_closing(&ended)) {
            lifespan.closed(since.elapsed(), Instant::now());
        }
    });
    Ok(Connection {
        sender,
        signals,
        timer: Timer::default(),
        idle_since,
        driver: driver.abort_handle(),
    })
}

/// Whether the target closed or reset the connection. An idle connection may also end because
/// the target sent something without a request.
fn is_closing(ended: &hyper::Result<()>) -> bool {
    let Err(error) = ended else { return true };
    error.source().is_some_and(<dyn Error>::is::<io::Error>)
}
