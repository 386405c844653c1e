//! How many requests a group's targets take at a time, and the queue of requests that wait
//! for a slot.
//!
//! One queue per group, over all workers, first come first served: a slot that becomes free
//! goes straight to the first request in the queue that may have it, so no request that came
//! later gets in between. A request that left the queue has no slot, and a slot is never
//! lost with a request that left.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Debug;
use std::num::NonZeroU32;
use std::pin::Pin;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll, Waker};

use super::serial::Serial;

/// What an [`Admission`] gives out the slots of: a target.
pub trait Slots {
    /// A slot that is taken, until it is dropped.
    type Lease: Debug;

    /// Tells it from every other one.
    fn serial(&self) -> Serial;

    /// Takes a slot. Returns `None` if as many are taken as [`Admission::limit`] allows.
    fn try_lease(self: &Arc<Self>) -> Option<Self::Lease>;
}

/// The concurrency limit of a group's targets, shared by all of them, and the queue of
/// requests that wait for a slot.
///
/// A setting that is kept with the live state: when a request ends, its slot may go to another
/// one, and what leads there from its lease is the target alone.
#[derive(Debug)]
pub struct Admission<T: Slots> {
    /// Requests each target takes at a time; `u32::MAX` is no limit.
    limit: AtomicU32,
    /// The length of the queue. Read by every request that ends, written while there is
    /// a queue.
    waiting: AtomicUsize,
    queue: Mutex<WaitQueue<T>>,
}

#[derive(Debug)]
struct WaitQueue<T: Slots> {
    /// The targets that slots are given away of: not those that left, drain or fail. Sorted
    /// by serial number. Weak, because a target knows its admission.
    eligible: Vec<(Serial, Weak<T>)>,
    /// In the order of arrival among those which wait for the same.
    waiting: BTreeMap<Ticket, Waiting>,
    /// Slots given away and not yet fetched, by the number of their request.
    served: HashMap<Number, T::Lease>,
    next: Number,
    /// Whether requests wait although no target is eligible, because one is to come.
    waits_when_empty: bool,
}

/// Counts up with each request that waits.
type Number = u64;

/// The place of a request in the queue. Requests that wait for one target are apart from
/// those that wait for any, so that the first of each are found at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Ticket {
    /// The target the request waits for; `None` for any.
    only: Option<Serial>,
    number: Number,
}

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
    AnyBut(Vec<Serial>),
    /// The one that its session is on.
    Only(Serial),
}

impl<T: Slots> Default for Admission<T> {
    fn default() -> Self {
        Self {
            limit: AtomicU32::new(u32::MAX),
            waiting: AtomicUsize::new(0),
            queue: Mutex::default(),
        }
    }
}

impl<T: Slots> Default for WaitQueue<T> {
    fn default() -> Self {
        Self {
            eligible: Vec::new(),
            waiting: BTreeMap::new(),
            served: HashMap::new(),
            next: 0,
            waits_when_empty: false,
        }
    }
}

impl<T: Slots> Admission<T> {
    /// Changes the limit (`None` removes it) and the targets that slots are given away of,
    /// and gives away those that are free now. Requests beyond a smaller limit go on.
    ///
    /// Requests that no target is left for fail at once, unless the queue
    /// `waits_when_empty`: then a target is to come, as in a group that scales to zero.
    pub fn open(&self, limit: Option<NonZeroU32>, eligible: &[Arc<T>], waits_when_empty: bool) {
        let limit = limit.map_or(u32::MAX, NonZeroU32::get);
        self.change(|queue, wakers| {
            self.limit.store(limit, Ordering::Relaxed);
            queue.waits_when_empty = waits_when_empty;
            queue.eligible = eligible
                .iter()
                .map(|target| (target.serial(), Arc::downgrade(target)))
                .collect();
            queue.eligible.sort_unstable_by_key(|(serial, _)| *serial);
            queue.fail_unservable(wakers);
            queue.serve_all(wakers);
        });
    }

    /// Requests each target takes at a time; `u32::MAX` is no limit.
    #[inline] // read for every request
    pub fn limit(&self) -> u32 {
        self.limit.load(Ordering::Relaxed)
    }

    /// How many requests wait.
    #[inline] // see `limit`
    pub fn waiting(&self) -> usize {
        // `SeqCst`: see `Load::end`.
        self.waiting.load(Ordering::SeqCst)
    }

    /// Joins the queue. Returns `None` if `length` requests wait already and no slot is free.
    pub fn enqueue(self: &Arc<Self>, wants: Wants, length: usize) -> Option<Waiter<T>> {
        let (ticket, is_beyond) = self.change(|queue, wakers| {
            let ticket = queue.push(wants);
            // From here on whatever ends a request sees this one waiting; a slot that became
            // free before is found below.
            self.waiting.store(queue.waiting.len(), Ordering::SeqCst);
            queue.serve_all(wakers);
            let is_beyond = queue.waiting.len() > length && queue.remove(ticket).is_some();
            (ticket, is_beyond)
        });
        (!is_beyond).then(|| Waiter {
            admission: Arc::clone(self),
            ticket: Some(ticket),
        })
    }

    /// Gives the free slots of a target away.
    #[cold]
    pub(super) fn serve(&self, target: &Arc<T>) {
        self.change(|queue, wakers| queue.serve(target, wakers));
    }

    /// Changes the queue. Wakes after the lock is released: what a waker does is not
    /// known here.
    fn change<R>(&self, change: impl FnOnce(&mut WaitQueue<T>, &mut Vec<Waker>) -> R) -> R {
        let mut wakers = Vec::new();
        let mut queue = self.queue();
        let returned = change(&mut queue, &mut wakers);
        self.waiting.store(queue.waiting.len(), Ordering::SeqCst);
        drop(queue);
        wakers.into_iter().for_each(Waker::wake);
        returned
    }

    fn queue(&self) -> MutexGuard<'_, WaitQueue<T>> {
        // Every statement under the lock leaves a legal queue behind.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T: Slots> WaitQueue<T> {
    /// Puts a request at the end, or nowhere if no eligible target could serve it.
    fn push(&mut self, wants: Wants) -> Ticket {
        let ticket = Ticket {
            only: wants.only(),
            number: self.next,
        };
        self.next += 1;
        if self.is_servable(&wants) {
            let waker = None;
            self.waiting.insert(ticket, Waiting { wants, waker });
        }
        ticket
    }

    fn remove(&mut self, ticket: Ticket) -> Option<Waiting> {
        self.waiting.remove(&ticket)
    }

    fn is_eligible(&self, target: Serial) -> bool {
        self.eligible
            .binary_search_by_key(&target, |(serial, _)| *serial)
            .is_ok()
    }

    /// Whether a target could serve a request, were it not for the limit.
    fn is_servable(&self, wants: &Wants) -> bool {
        match wants {
            Wants::AnyBut(_) => self.waits_when_empty || !self.eligible.is_empty(),
            Wants::Only(target) => self.is_eligible(*target),
        }
    }

    fn fail_unservable(&mut self, wakers: &mut Vec<Waker>) {
        let mut waiting = std::mem::take(&mut self.waiting);
        waiting.retain(|_, request| {
            let stays = self.is_servable(&request.wants);
            if !stays {
                wakers.extend(request.waker.take());
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
            if let Some(target) = self.eligible[index].1.upgrade() {
                self.serve(&target, wakers);
            }
        }
    }

    fn serve(&mut self, target: &Arc<T>, wakers: &mut Vec<Waker>) {
        let serial = target.serial();
        if !self.is_eligible(serial) {
            return;
        }
        while let Some(ticket) = self.first_for(serial) {
            let Some(lease) = target.try_lease() else {
                return;
            };
            let request = self.remove(ticket);
            wakers.extend(request.and_then(|request| request.waker));
            self.served.insert(ticket.number, lease);
        }
    }

    /// The first request that may have a slot of a target: of those that wait for it alone,
    /// and of the others, which pass it over if they have tried it.
    fn first_for(&self, target: Serial) -> Option<Ticket> {
        let bound = self.waiting_for(Some(target)).next();
        let free = self
            .waiting_for(None)
            .find(|(_, request)| request.wants.accepts(target));
        [bound, free]
            .into_iter()
            .flatten()
            .map(|(ticket, _)| *ticket)
            .min_by_key(|ticket| ticket.number)
    }

    fn waiting_for(&self, only: Option<Serial>) -> impl Iterator<Item = (&Ticket, &Waiting)> {
        let ticket = |number| Ticket { only, number };
        self.waiting.range(ticket(0)..=ticket(Number::MAX))
    }
}

impl Wants {
    fn only(&self) -> Option<Serial> {
        match self {
            Self::AnyBut(_) => None,
            Self::Only(target) => Some(*target),
        }
    }

    fn accepts(&self, target: Serial) -> bool {
        match self {
            Self::AnyBut(tried) => !tried.contains(&target),
            Self::Only(own) => *own == target,
        }
    }
}

/// A request that waits: resolves to its slot, or to `None` when no target is left which
/// could serve it. Dropping it leaves the queue, and gives a slot back that was not fetched.
#[derive(Debug)]
#[must_use = "a waiter that is dropped leaves the queue"]
pub struct Waiter<T: Slots> {
    admission: Arc<Admission<T>>,
    /// `None` once it has resolved.
    ticket: Option<Ticket>,
}

impl<T: Slots> Future for Waiter<T> {
    type Output = Option<T::Lease>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<T::Lease>> {
        let Some(ticket) = self.ticket else {
            return Poll::Ready(None);
        };
        let mut queue = self.admission.queue();
        let resolved = if let Some(request) = queue.waiting.get_mut(&ticket) {
            // Dropped after the lock: see `change`.
            let before = request.waker.replace(cx.waker().clone());
            drop(queue);
            drop(before);
            return Poll::Pending;
        } else {
            queue.served.remove(&ticket.number)
        };
        drop(queue);
        self.ticket = None;
        Poll::Ready(resolved)
    }
}

impl<T: Slots> Drop for Waiter<T> {
    fn drop(&mut self) {
        let Some(ticket) = self.ticket else { return };
        let left = self
            .admission
            .change(|queue, _| (queue.remove(ticket), queue.served.remove(&ticket.number)));
        // Not before the lock is released: a lease that ends looks for the next in the queue.
        drop(left);
    }
}
