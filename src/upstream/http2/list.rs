//! The HTTP/2 connections to one target: which one a request gets, and when another is opened.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::task::spawn_local;
use tokio::time::timeout_at;

use super::connection::Http2Connection;
use super::opening::Opening;
use super::stream::Http2Stream;
use crate::clock;
use crate::model::UpstreamLimits;
use crate::net::descriptors::DescriptorPermit;
use crate::net::{DialError, Prelude, dial};
use crate::target::{KeptCount, Target};
use crate::tls;
use crate::upstream::ConnectError;
use crate::upstream::kept::KeptReport;
use crate::upstream::terms::Terms;

/// How long an idle connection is kept unless the group says otherwise. A target that closes one
/// before says so, and what it had not looked at is sent again.
const IDLE_TIMEOUT: Duration = Duration::from_secs(60);

/// After this time without a stream a connection is asked whether it is still there before it is
/// used again.
const CHECK_AFTER: Duration = Duration::from_secs(10);

/// How long it has to answer; then another one is opened.
const CHECK_TIMEOUT: Duration = Duration::from_millis(500);

/// How often a request waits for a connection that others have used up before it had its turn.
const MAX_ROUNDS: u32 = 16;

/// The connections of one worker to one target, those that have long been open at the front. All
/// were made in the same terms: once a group has others, another list takes the place of this one.
pub(in crate::upstream) struct Http2List {
    pub(in crate::upstream) target: Arc<Target>,
    connections: RefCell<Vec<Rc<Http2Connection>>>,
    openings: RefCell<Vec<Rc<Opening>>>,
    /// As the group had it at the last request.
    policy: Cell<UpstreamLimits>,
    /// In what its connections are made.
    tls: Option<tls::Client>,
    /// How many streams the connection that was opened last may have.
    expected: Cell<usize>,
    /// When no connection could be opened last.
    failed: Cell<Option<Instant>>,
    kept: KeptReport,
}

impl Http2List {
    pub(in crate::upstream) fn new(
        target: &Arc<Target>,
        policy: &UpstreamLimits,
        tls: Option<&tls::Client>,
    ) -> Self {
        Self {
            target: Arc::clone(target),
            connections: RefCell::default(),
            openings: RefCell::default(),
            policy: Cell::new(*policy),
            tls: tls.cloned(),
            expected: Cell::new(policy.max_streams.get() as usize),
            failed: Cell::default(),
            kept: KeptReport::new(target),
        }
    }

    /// Adopts what the group's configuration says now, which is in the same terms.
    pub(in crate::upstream) fn adapt(&self, policy: &UpstreamLimits) {
        self.policy.set(*policy);
    }

    /// Whether its connections are such as the group wants them now: windows and limits of heads are
    /// settled when a connection begins.
    pub(in crate::upstream) fn fits(&self, terms: &Terms<'_>) -> bool {
        let (made, wanted) = (self.policy.get(), terms.policy);
        wanted.protocol.is_http2()
            && made.max_streams == wanted.max_streams
            && made.max_head == wanted.max_head
            && self.tls.as_ref() == terms.tls
    }

    /// How many connections have no stream.
    pub(in crate::upstream) fn idle(&self) -> usize {
        let connections = self.connections.borrow();
        connections.iter().filter(|c| c.vitals.open() == 0).count()
    }

    /// Tells the target how many there are.
    pub(in crate::upstream) fn report(&self) {
        self.kept.tell(KeptCount {
            idle: self.idle(),
            http2: self.connections.borrow().len(),
        });
    }

    /// A stream on a connection that is there. Of several the fullest is taken, so that those which
    /// a burst has left become idle.
    pub(in crate::upstream) fn take(&self, now: Instant) -> Option<Http2Stream> {
        let policy = self.policy.get();
        let mut connections = self.connections.borrow_mut();
        connections.retain(|connection| connection.is_usable());
        let is_fresh = |c: &&Rc<Http2Connection>| c.idle(now).is_none_or(|idle| idle < CHECK_AFTER);
        connections
            .iter()
            .filter(is_fresh)
            .filter(|connection| connection.room(&policy) > 0)
            .max_by_key(|connection| connection.vitals.open())
            .map(|connection| Http2Stream::new(Rc::clone(connection), &policy))
    }

    /// Whether another connection should be opened before it is needed: less than a quarter of the
    /// streams of one is left on all.
    pub(in crate::upstream) fn is_short(&self) -> bool {
        let policy = self.policy.get();
        let connections = self.connections.borrow();
        let left: usize = connections.iter().map(|c| c.room(&policy)).sum();
        let now = clock::last().into_std();
        let has_failed = self.failed.get().is_some_and(|at| now < at + CHECK_AFTER);
        left * 4 < self.expected.get() && self.openings.borrow().is_empty() && !has_failed
    }

    /// A stream on a connection that is opened, checked, or has become free meanwhile.
    /// `descriptor` gives the descriptor of a new connection.
    pub(in crate::upstream) async fn connect(
        self: &Rc<Self>,
        descriptor: impl Fn() -> Result<DescriptorPermit, DialError>,
    ) -> Result<Http2Stream, ConnectError> {
        for _ in 0..MAX_ROUNDS {
            let opening = match self.opening_with_room() {
                Some(opening) => opening,
                None => self.open(descriptor()?),
            };
            opening.wait().await?;
            if let Some(stream) = self.take(clock::now().into_std()) {
                return Ok(stream);
            }
        }
        Err(ConnectError::NoStream)
    }

    /// Opens a connection before it is needed.
    pub(in crate::upstream) fn open_ahead(self: &Rc<Self>, descriptor: DescriptorPermit) {
        self.open(descriptor);
    }

    fn opening_with_room(&self) -> Option<Rc<Opening>> {
        let openings = self.openings.borrow();
        let has_room = |opening: &&Rc<Opening>| opening.waiting() < self.expected.get();
        openings.iter().find(has_room).cloned()
    }

    /// Begins to open a connection. One that was idle for long and still answers will do.
    fn open(self: &Rc<Self>, descriptor: DescriptorPermit) -> Rc<Opening> {
        let opening = Rc::new(Opening::default());
        self.openings.borrow_mut().push(Rc::clone(&opening));
        let mut ending = Ending {
            list: Rc::clone(self),
            opening: Rc::clone(&opening),
            error: Some(ConnectError::NoStream),
        };
        spawn_local(async move {
            let list = Rc::clone(&ending.list);
            ending.error = list.find_or_open(descriptor).await.err();
            drop(ending);
        });
        opening
    }

    /// Adds a connection to the list.
    async fn find_or_open(&self, descriptor: DescriptorPermit) -> Result<(), ConnectError> {
        while let Some(connection) = self.take_unchecked() {
            if connection.vitals.answers(CHECK_TIMEOUT).await {
                connection.vitals.refresh();
                self.add(connection);
                return Ok(());
            }
        }
        let opened = self.open_new(descriptor).await;
        let failed = opened.as_ref().err().map(|_| clock::now().into_std());
        self.failed.set(failed);
        let connection = opened?;
        let limit = connection.limit(&self.policy.get());
        self.expected.set(limit.max(1));
        self.add(Rc::new(connection));
        Ok(())
    }

    fn add(&self, connection: Rc<Http2Connection>) {
        self.connections.borrow_mut().push(connection);
    }

    /// A connection that was idle for long; it is in no list until it has answered.
    fn take_unchecked(&self) -> Option<Rc<Http2Connection>> {
        let now = clock::now().into_std();
        let mut connections = self.connections.borrow_mut();
        let is_old = |c: &Rc<Http2Connection>| c.idle(now).is_some_and(|idle| idle >= CHECK_AFTER);
        let index = connections.iter().position(is_old)?;
        Some(connections.swap_remove(index))
    }

    /// A new connection, on which the target has spoken: a target of HTTP/2 begins by saying how
    /// many streams it takes (RFC 9113 section 3.4).
    async fn open_new(
        &self,
        descriptor: DescriptorPermit,
    ) -> Result<Http2Connection, ConnectError> {
        let policy = self.policy.get();
        let id = &self.target.id;
        let until = clock::now() + policy.connect_timeout;
        let prelude = Prelude {
            tls: self.tls.as_ref(),
            ..Prelude::default()
        };
        let stream = dial(&id.addr, prelude, policy.connect_timeout).await?;
        // A target without ALPN may speak HTTP/2 all the same; one that has chosen otherwise does not.
        let chosen = stream.tls().and_then(|tls| tls.alpn.as_deref());
        if chosen.is_some_and(|chosen| chosen != b"h2") {
            return Err(ConnectError::NotHttp2);
        }
        let begun = Http2Connection::begin(stream, &policy, id.clone(), descriptor);
        let connection = timeout_at(until, begun)
            .await
            .map_err(|_| DialError::TimedOut)?
            .map_err(|_| ConnectError::NotHttp2)?;
        let left = until.saturating_duration_since(clock::now());
        if !connection.vitals.hears_something(left).await {
            // Most servers of HTTP/1.1 close what begins with the preface of HTTP/2 without a word.
            return Err(if connection.vitals.is_over() {
                ConnectError::NotHttp2
            } else {
                DialError::TimedOut.into()
            });
        }
        Ok(connection)
    }

    /// Closes connections that have been idle for too long.
    pub(in crate::upstream) fn reap(&self) {
        let now = clock::now().into_std();
        let limit = self.policy.get().idle_timeout.unwrap_or(IDLE_TIMEOUT);
        self.connections.borrow_mut().retain(|connection| {
            connection.is_usable() && connection.idle(now).is_none_or(|idle| idle < limit)
        });
    }

    /// Closes idle connections.
    pub(in crate::upstream) fn clear(&self) {
        let mut connections = self.connections.borrow_mut();
        connections.retain(|connection| connection.vitals.open() > 0);
    }

    /// Closes connections as their streams end. One that is being opened ends with the requests that
    /// wait for it: nothing else refers to the list any more.
    pub(in crate::upstream) fn close(&self) {
        self.connections.borrow_mut().clear();
    }
}

/// Ends an opening when it is dropped, however its task ends.
struct Ending {
    list: Rc<Http2List>,
    opening: Rc<Opening>,
    error: Option<ConnectError>,
}

impl Drop for Ending {
    fn drop(&mut self) {
        let mut openings = self.list.openings.borrow_mut();
        openings.retain(|known| !Rc::ptr_eq(known, &self.opening));
        self.opening.end(self.error.take());
    }
}

impl fmt::Debug for Http2List {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Http2List")
            .field("target", &self.target.id)
            .field("connections", &self.connections.borrow().len())
            .finish_non_exhaustive()
    }
}
