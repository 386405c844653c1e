//! One connection to a target, with what its pool knows of it: see
//! [`Connection`](crate::upstream::Connection) for what each method does.

use std::fmt;
use std::ops::{Deref, DerefMut};
use std::rc::Rc;
use std::time::{Duration, Instant};

use super::exchange::Http1;
use super::idle::IdleList;
use super::state::ConnectionState;
use crate::clock;
use crate::message::Fields;
use crate::net::descriptors::DescriptorPermit;
use crate::net::{Input, Stream};

/// A connection that one exchange has for itself; its protocol is behind the deref to [`Http1`]. It
/// returns to its pool only through [`Http1Connection::recycle`]; dropping it closes it.
pub struct Http1Connection {
    state: Box<ConnectionState>,
    list: Rc<IdleList>,
}

impl Http1Connection {
    pub(in crate::upstream) fn new(
        http: Http1,
        list: Rc<IdleList>,
        descriptor: DescriptorPermit,
    ) -> Self {
        let state = ConnectionState {
            http,
            idle: None,
            since: Instant::now(),
            descriptor,
        };
        let state = Box::new(state);
        Self { state, list }
    }

    /// A connection of the pool, which has been idle for `age` and was just found fresh.
    pub(in crate::upstream) fn reused(
        mut state: Box<ConnectionState>,
        list: Rc<IdleList>,
        age: Duration,
    ) -> Self {
        state.http.note_fresh();
        state.idle = Some(age);
        Self { state, list }
    }

    /// Whether it served a request before. Its target may have closed it already.
    pub fn is_reused(&self) -> bool {
        self.state.idle.is_some()
    }

    /// Learns the target's keep-alive timeout from the fields of a response; does nothing if it is
    /// not the first response of the connection.
    pub fn learn(&self, fields: &Fields) {
        if self.state.idle.is_none() {
            self.list.lifespan.announced(fields);
        }
    }

    /// Notes that the target closed the connection before a byte of a response came, by which the
    /// target's keep-alive timeout is learned. Does nothing for a new connection.
    ///
    /// If the request was written, the close was seen too late. The connections that are idle
    /// now are older still, and are closed as well.
    pub fn closed(&self) {
        let Some(idle) = self.state.idle else { return };
        self.list.lifespan.closed(idle, Instant::now());
        if self.state.http.is_written() {
            self.list.clear();
        }
    }

    /// Notes that the target has sent bytes before the request was written, so that they cannot be
    /// its response: the target is distrusted.
    pub fn note_unsolicited(&self) {
        self.list.distrust();
    }

    /// Gives the connection back if it can serve another request, closes it otherwise. Bytes behind
    /// the response make the target distrusted. The clock was read for the last of it.
    pub fn recycle(mut self) {
        if self.state.http.has_excess() {
            self.list.distrust();
        }
        if !self.state.http.is_reusable() {
            return;
        }
        self.state.http.release();
        let now = clock::last().into_std();
        self.state.since = now;
        let proven = self.state.idle;
        self.list.put(self.state, proven, now);
    }

    /// After a switch of protocols: the stream, what the target has sent beyond the head of its
    /// 101, and the permit that counts the stream's descriptor, to be held as long as the stream.
    pub fn into_stream(self) -> (Stream, Input, DescriptorPermit) {
        let ConnectionState {
            http, descriptor, ..
        } = *self.state;
        let (stream, input) = http.into_parts();
        (stream, input, descriptor)
    }
}

impl Deref for Http1Connection {
    type Target = Http1;

    fn deref(&self) -> &Http1 {
        &self.state.http
    }
}

impl DerefMut for Http1Connection {
    fn deref_mut(&mut self) -> &mut Http1 {
        &mut self.state.http
    }
}

impl fmt::Debug for Http1Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Http1Connection")
            .field("idle", &self.state.idle)
            .finish_non_exhaustive()
    }
}
