//! How many requests a group's targets take at a time, and who waits for a place.
//!
//! One line per group, over all workers, first come first served: a place that becomes
//! free goes straight to the first request in line that may have it, so nobody who came
//! later gets in between. A request that left the line has no place, and a place is never
//! lost with a request that left.

use std::collections::{BTreeMap, HashMap};
use std::num::NonZeroU32;
use std::pin::Pin;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll, Waker};

use super::target::{Lease, Target};

/// The concurrency limit of a group's targets, shared by all of them, and the line of
/// requests that wait for a place.
///
/// A setting, and yet live state: a request that ends must know whether its place goes
/// to somebody, and it knows nothing but its target.
#[derive(Debug)]
pub struct Admission {
    /// Requests each target takes at a time; `u32::MAX` is no limit.
    limit: AtomicU32,
    /// The length of the line. Read by every request that ends, written while there is
    /// a line.
    waiting: AtomicUsize,
    line: Mutex<Line>,
}

#[derive(Debug, Default)]
struct Line {
    /// Whose places are given away: a target that left, drains or fails keeps its own.
    /// By address in memory. Weak, because a target knows its admission.
    eligible: Vec<Weak<Target>>,
    /// Each queue in the order of arrival.
    waiting: BTreeMap<(Queue, Number), Waiting>,
    /// Places given away and not yet taken.
    served: HashMap<Number, Lease>,
    next: Number,
    /// Whether requests wait although nobody is eligible, for somebody who is to come.
    is_patient: bool,
}

/// Counts up with each request that lines up.
type Number = u64;

/// Requests that wait for the same targets: for one, by its address in memory, or for
/// any. Each holds its target, so that the address stays its own.
type Queue = Option<usize>;

#[derive(Debug)]
struct Waiting {
    wants: Wants,
    /// `None` until its future is polled.
    waker: Option<Waker>,
}

/// Which targets a request waits for.
#[derive(Clone, Debug)]
pub enum Wants {
    /// Any but those it has tried.
    AnyBut(Vec<Arc<Target>>),
    /// The one that its session is on.
    Only(Arc<Target>),
}

impl Default for Admission {
    fn default() -> Self {
        Self {
            limit: AtomicU32::new(u32::MAX),
            waiting: AtomicUsize::new(0),
            line: Mutex::default(),
        }
    }
}

impl Admission {
    /// Changes the limit (`None` takes it away) and whose places are given away, and
    /// gives away those that are free now. Requests beyond a smaller limit go on.
    ///
    /// Who waits for nobody that is left is told so at once, unless the line `is_patient`:
    /// then somebody is to come, as in a group that scales to zero.
    pub fn open(&self, limit: Option<NonZeroU32>, eligible: &[Arc<Target>], is_patient: bool) {
        let limit = limit.map_or(u32::MAX, NonZeroU32::get);
        self.change(|line, wakers| {
            self.limit.store(limit, Ordering::Relaxed);
            line.is_patient = is_patient;
            line.eligible = eligible.iter().map(Arc::downgrade).collect();
            line.eligible.sort_unstable_by_key(Weak::as_ptr);
            line.send_away_hopeless(wakers);
            line.serve_all(wakers);
        });
    }

    /// Requests each target takes at a time.
    #[inline] // read for every request
    pub(super) fn limit(&self) -> u32 {
        self.limit.load(Ordering::Relaxed)
    }

    /// How many requests are in line.
    #[inline] // see `limit`
    pub fn waiting(&self) -> usize {
        // `SeqCst`: see the `Drop` of a lease.
        self.waiting.load(Ordering::SeqCst)
    }

    /// Joins the line, unless it is `length` long already and no place is free.
    pub fn line_up(self: &Arc<Self>, wants: Wants, length: usize) -> Option<Waiter> {
        let (ticket, is_beyond) = self.change(|line, wakers| {
            let ticket = line.push(wants);
            // From here on whoever ends a request sees this one waiting; a place that
            // became free before is found below.
            self.waiting.store(line.waiting.len(), Ordering::SeqCst);
            line.serve_all(wakers);
            let is_beyond = line.waiting.len() > length && line.remove(ticket).is_some();
            (ticket, is_beyond)
        });
        (!is_beyond).then(|| Waiter {
            admission: Arc::clone(self),
            ticket: Some(ticket),
        })
    }

    /// Gives the free places of a target away.
    #[cold]
    pub(super) fn serve(&self, target: &Arc<Target>) {
        self.change(|line, wakers| line.serve(target, wakers));
    }

    /// Changes the line. Wakes after the lock is released: what a waker does is not
    /// known here.
    fn change<T>(&self, change: impl FnOnce(&mut Line, &mut Vec<Waker>) -> T) -> T {
        let mut wakers = Vec::new();
        let mut line = self.line();
        let outcome = change(&mut line, &mut wakers);
        self.waiting.store(line.waiting.len(), Ordering::SeqCst);
        drop(line);
        wakers.into_iter().for_each(Waker::wake);
        outcome
    }

    fn line(&self) -> MutexGuard<'_, Line> {
        // Every statement under the lock leaves a legal line behind.
        self.line.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Line {
    /// Puts a request at the end, or nowhere if nobody eligible could serve it.
    fn push(&mut self, wants: Wants) -> (Queue, Number) {
        let ticket = (wants.queue(), self.next);
        self.next += 1;
        if self.is_hopeful(&wants) {
            let waker = None;
            self.waiting.insert(ticket, Waiting { wants, waker });
        }
        ticket
    }

    fn remove(&mut self, ticket: (Queue, Number)) -> Option<Waiting> {
        self.waiting.remove(&ticket)
    }

    fn is_eligible(&self, target: &Arc<Target>) -> bool {
        let (list, target) = (&self.eligible, Arc::as_ptr(target));
        list.binary_search_by_key(&target, Weak::as_ptr).is_ok()
    }

    /// Whether somebody could serve a request, were it not for the limit.
    fn is_hopeful(&self, wants: &Wants) -> bool {
        match wants {
            Wants::AnyBut(_) => self.is_patient || !self.eligible.is_empty(),
            Wants::Only(target) => self.is_eligible(target),
        }
    }

    fn send_away_hopeless(&mut self, wakers: &mut Vec<Waker>) {
        let mut waiting = std::mem::take(&mut self.waiting);
        waiting.retain(|_, entry| {
            let stays = self.is_hopeful(&entry.wants);
            if !stays {
                wakers.extend(entry.waker.take());
            }
            stays
        });
        self.waiting = waiting;
    }

    fn serve_all(&mut self, wakers: &mut Vec<Waker>) {
        if self.waiting.is_empty() {
            return;
        }
        for index in 0..self.eligible.len() {
            if let Some(target) = self.eligible[index].upgrade() {
                self.serve(&target, wakers);
            }
        }
    }

    fn serve(&mut self, target: &Arc<Target>, wakers: &mut Vec<Waker>) {
        if !self.is_eligible(target) {
            return;
        }
        while let Some(ticket) = self.first_for(target) {
            let Some(lease) = target.try_lease() else {
                return;
            };
            let entry = self.remove(ticket);
            wakers.extend(entry.and_then(|entry| entry.waker));
            self.served.insert(ticket.1, lease);
        }
    }

    /// The first request that may have a place on a target: of those that wait for it
    /// alone, and of the others, which pass it over if they have tried it.
    fn first_for(&self, target: &Arc<Target>) -> Option<(Queue, Number)> {
        let queue = |queue: Queue| self.waiting.range((queue, 0)..=(queue, Number::MAX));
        let bound = queue(Some(Arc::as_ptr(target) as usize)).next();
        let free = queue(None).find(|(_, entry)| entry.wants.accepts(target));
        let tickets = [bound, free]
            .into_iter()
            .flatten()
            .map(|(ticket, _)| *ticket);
        tickets.min_by_key(|(_, number)| *number)
    }
}

impl Wants {
    fn queue(&self) -> Queue {
        match self {
            Self::AnyBut(_) => None,
            Self::Only(target) => Some(Arc::as_ptr(target) as usize),
        }
    }

    fn accepts(&self, target: &Arc<Target>) -> bool {
        match self {
            Self::AnyBut(tried) => !tried.iter().any(|tried| Arc::ptr_eq(tried, target)),
            Self::Only(own) => Arc::ptr_eq(own, target),
        }
    }
}

/// A request in line: resolves to its place, or to `None` when nobody is left who could
/// serve it. Dropping it leaves the line, and gives a place back that was not taken.
#[derive(Debug)]
#[must_use = "a waiter that is dropped leaves the line"]
pub struct Waiter {
    admission: Arc<Admission>,
    /// `None` once it has resolved.
    ticket: Option<(Queue, Number)>,
}

impl Future for Waiter {
    type Output = Option<Lease>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Lease>> {
        let Some(ticket) = self.ticket else {
            return Poll::Ready(None);
        };
        let mut line = self.admission.line();
        let resolved = if let Some(entry) = line.waiting.get_mut(&ticket) {
            // Dropped after the lock: see `change`.
            let before = entry.waker.replace(cx.waker().clone());
            drop(line);
            drop(before);
            return Poll::Pending;
        } else {
            line.served.remove(&ticket.1)
        };
        drop(line);
        self.ticket = None;
        Poll::Ready(resolved)
    }
}

impl Drop for Waiter {
    fn drop(&mut self) {
        let Some(ticket) = self.ticket else { return };
        let left = self
            .admission
            .change(|line, _| (line.remove(ticket), line.served.remove(&ticket.1)));
        // Not before the lock is released: a lease that ends looks for the next in line.
        drop(left);
    }
}
