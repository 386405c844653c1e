//! The wait queue of a group: which request gets which slot, whatever happens in which order.
//!
//! A seeded schedule of arrivals, ends, timeouts and changes runs against a model that
//! knows the order of arrival; then the same on many threads, where only what always
//! holds can be looked at.

use std::num::NonZeroU32;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::thread;
use std::time::{Duration, Instant};

use fastrand::Rng;
use weir::model::TargetId;
use weir::target::{Admission, Lease, Target, Waiter, Wants};

/// A group of targets with one limit.
struct Group {
    admission: Arc<Admission<Target>>,
    targets: Vec<Arc<Target>>,
}

impl Group {
    fn new(targets: u16, limit: u32) -> Self {
        let admission = Arc::new(Admission::default());
        let target = |n| {
            let (group, addr) = ("todo".into(), ([10, 0, 0, 1], 6400 + n).into());
            Arc::new(Target::with_admission(
                TargetId { group, addr },
                admission.clone(),
            ))
        };
        let targets: Vec<_> = (0..targets).map(target).collect();
        admission.open(NonZeroU32::new(limit), &targets, false);
        Self { admission, targets }
    }

    /// As `TargetGroup` does: requests that wait come first; then the first target with a free
    /// slot.
    fn acquire(&self) -> Option<Lease> {
        if self.admission.waiting() > 0 {
            return None;
        }
        self.targets.iter().find_map(Target::try_lease)
    }
}

fn any_target() -> Wants {
    Wants::AnyBut(vec![])
}

/// Counts how often it was woken.
#[derive(Default)]
struct Alarm(AtomicUsize);

impl Wake for Alarm {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

/// A request in the queue, as its task sees it.
struct Queued {
    number: usize,
    wants: Wants,
    waiter: Pin<Box<Waiter<Target>>>,
    alarm: Arc<Alarm>,
    is_polled: bool,
}

impl Queued {
    fn new(number: usize, wants: Wants, waiter: Waiter<Target>) -> Self {
        Self {
            number,
            wants,
            waiter: Box::pin(waiter),
            alarm: Arc::default(),
            is_polled: false,
        }
    }

    fn poll(&mut self) -> Poll<Option<Lease>> {
        self.is_polled = true;
        let waker = Waker::from(self.alarm.clone());
        self.waiter.as_mut().poll(&mut Context::from_waker(&waker))
    }

    fn is_woken(&self) -> bool {
        self.alarm.0.load(Ordering::SeqCst) > 0
    }

    fn accepts(&self, target: &Arc<Target>) -> bool {
        match &self.wants {
            Wants::AnyBut(tried) => !tried.contains(&target.serial),
            Wants::Only(own) => *own == target.serial,
        }
    }
}

#[test]
fn slots_go_to_the_request_that_waits_longest_and_accepts_them() {
    let late: usize = (0..300).map(|seed| Schedule::new(seed).run(400)).sum();
    assert!(
        late > 1000,
        "schedules in which no request waits show nothing: {late}"
    );
}

/// Requests that come, wait, give up and end on one thread, in an order drawn by lot.
struct Schedule {
    rng: Rng,
    group: Group,
    eligible: Vec<bool>,
    limit: Option<u32>,
    running: Vec<Lease>,
    /// In the order of arrival.
    queue: Vec<Queued>,
    arrived: usize,
    served_late: usize,
}

const LENGTH: usize = 12;

impl Schedule {
    fn new(seed: u64) -> Self {
        let mut rng = Rng::with_seed(seed);
        let (targets, limit) = (rng.u16(1..=4), rng.u32(1..=3));
        Self {
            rng,
            group: Group::new(targets, limit),
            eligible: vec![true; usize::from(targets)],
            limit: Some(limit),
            running: vec![],
            queue: vec![],
            arrived: 0,
            served_late: 0,
        }
    }

    /// Returns how many were served after they had waited.
    fn run(mut self, steps: usize) -> usize {
        for _ in 0..steps {
            match self.rng.u8(..) {
                0..=119 => self.arrive(),
                120..=209 => self.end_one(),
                210..=239 => self.leave(),
                240..=247 => self.change_limit(),
                _ => self.change_members(),
            }
            self.check();
        }
        // Every request is served once those before have ended.
        self.eligible.fill(true);
        self.limit = Some(1);
        self.publish();
        self.check();
        while !self.queue.is_empty() || !self.running.is_empty() {
            if self.running.is_empty() {
                // Those left have tried every target.
                assert!(
                    self.queue
                        .iter()
                        .all(|q| !self.group.targets.iter().any(|t| q.accepts(t)))
                );
                self.queue.clear();
                break;
            }
            self.end_one();
            self.check();
        }
        assert_eq!(self.group.admission.waiting(), 0);
        assert!(
            self.group
                .targets
                .iter()
                .all(|target| target.load().in_flight() == 0)
        );
        self.served_late
    }

    fn arrive(&mut self) {
        let target = self.rng.choice(&self.group.targets).cloned().unwrap();
        let wants = match self.rng.u8(0..8) {
            0 => Wants::Only(target.serial),
            1 | 2 => Wants::AnyBut(vec![target.serial]),
            _ => any_target(),
        };
        let before = self.group.admission.waiting();
        let number = self.arrived;
        self.arrived += 1;
        match self.group.admission.enqueue(wants.clone(), LENGTH) {
            Some(waiter) => self.queue.push(Queued::new(number, wants, waiter)),
            None => assert_eq!(before, LENGTH, "refused by a queue that is not full"),
        }
    }

    fn end_one(&mut self) {
        if !self.running.is_empty() {
            let index = self.rng.usize(0..self.running.len());
            drop(self.running.swap_remove(index));
        }
    }

    /// A request gives up, perhaps with a slot that it has not fetched yet.
    fn leave(&mut self) {
        if !self.queue.is_empty() {
            let index = self.rng.usize(0..self.queue.len());
            drop(self.queue.remove(index));
        }
    }

    fn change_limit(&mut self) {
        self.limit = (self.rng.u8(0..6) > 0).then(|| self.rng.u32(1..=4));
        self.publish();
    }

    fn change_members(&mut self) {
        let index = self.rng.usize(0..self.eligible.len());
        self.eligible[index] = !self.eligible[index];
        self.publish();
    }

    fn eligible(&self) -> Vec<Arc<Target>> {
        self.group
            .targets
            .iter()
            .zip(&self.eligible)
            .filter(|(_, is_eligible)| **is_eligible)
            .map(|(target, _)| target.clone())
            .collect()
    }

    fn publish(&mut self) {
        let limit = self.limit.and_then(NonZeroU32::new);
        self.group.admission.open(limit, &self.eligible(), false);
    }

    /// Fetches the slots that were given away, and checks which requests got them.
    fn check(&mut self) {
        let in_flight: Vec<u32> = self
            .group
            .targets
            .iter()
            .map(|t| t.load().in_flight())
            .collect();
        let eligible = self.eligible();
        let mut waiting: Vec<Queued> = vec![];
        for mut queued in std::mem::take(&mut self.queue) {
            let was_polled = queued.is_polled;
            match queued.poll() {
                Poll::Pending => {
                    assert!(!queued.is_woken(), "woken for nothing");
                    waiting.push(queued);
                }
                Poll::Ready(Some(lease)) => {
                    assert!(queued.is_woken() || !was_polled, "served and not woken");
                    assert!(queued.accepts(lease.target()));
                    let passed = waiting.iter().find(|q| q.accepts(lease.target()));
                    assert!(
                        passed.is_none(),
                        "{:?} was passed over",
                        passed.map(|q| q.number)
                    );
                    self.served_late += usize::from(was_polled);
                    self.running.push(lease);
                }
                Poll::Ready(None) => assert!(
                    eligible.is_empty()
                        || matches!(&queued.wants, Wants::Only(t) if !eligible.iter().any(|e| e.serial == *t)),
                    "failed although a target could serve it"
                ),
            }
        }
        self.queue = waiting;
        assert_eq!(self.group.admission.waiting(), self.queue.len());
        assert_eq!(
            in_flight.iter().sum::<u32>() as usize,
            self.running.len(),
            "a slot was lost"
        );
        for target in &eligible {
            let has_free_slot = self
                .limit
                .is_none_or(|limit| target.load().in_flight() < limit);
            let wanted = self.queue.iter().any(|queued| queued.accepts(target));
            assert!(
                !(has_free_slot && wanted),
                "a request waits although a slot is free"
            );
        }
    }
}

#[test]
fn on_many_threads_no_slot_is_lost_and_the_limit_holds() {
    const THREADS: u64 = 8;
    const REQUESTS: usize = 3_000;
    const LIMIT: u32 = 2;
    let group = Group::new(3, LIMIT);
    let peaks: Vec<AtomicU32> = group.targets.iter().map(|_| AtomicU32::new(0)).collect();
    let waited = AtomicUsize::new(0);
    thread::scope(|scope| {
        for seed in 0..THREADS {
            let (group, peaks, waited) = (&group, &peaks, &waited);
            scope.spawn(move || {
                let mut rng = Rng::with_seed(seed);
                for _ in 0..REQUESTS {
                    let lease = group.acquire().or_else(|| {
                        let queued = group.admission.enqueue(any_target(), usize::MAX)?;
                        waited.fetch_add(1, Ordering::SeqCst);
                        wait(queued, &mut rng)
                    });
                    let Some(lease) = lease else { continue };
                    let index = group
                        .targets
                        .iter()
                        .position(|t| t.serial == lease.target().serial);
                    peaks[index.unwrap()]
                        .fetch_max(lease.target().load().in_flight(), Ordering::SeqCst);
                    if rng.bool() {
                        thread::yield_now();
                    }
                }
            });
        }
    });
    assert!(waited.load(Ordering::SeqCst) > 0, "no request ever waited");
    assert_eq!(group.admission.waiting(), 0);
    for (target, peak) in group.targets.iter().zip(&peaks) {
        assert_eq!(target.load().in_flight(), 0);
        assert_eq!(
            peak.load(Ordering::SeqCst),
            LIMIT,
            "never full, or more than full"
        );
    }
}

/// Slots change hands within microseconds; a request that waits longer was forgotten.
const WAKE_TIMEOUT: Duration = Duration::from_secs(20);

/// Waits on this thread for a slot; sometimes gives up at once.
fn wait(waiter: Waiter<Target>, rng: &mut Rng) -> Option<Lease> {
    struct Unpark(thread::Thread);
    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let mut waiter = Box::pin(waiter);
    let (gives_up, began) = (rng.u8(0..5) == 0, Instant::now());
    loop {
        match waiter.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(lease) => return Some(lease.expect("the group stays open")),
            Poll::Pending if gives_up => return None,
            // Returns without a wake-up now and then, which costs another look.
            Poll::Pending => {
                thread::park_timeout(WAKE_TIMEOUT);
                assert!(began.elapsed() < WAKE_TIMEOUT, "never woken");
            }
        }
    }
}

#[test]
fn a_queue_that_is_never_served_holds_no_more_than_its_length() {
    let group = Group::new(1, 1);
    let _busy = group.acquire().unwrap();
    for _ in 0..1000 {
        let mut queue: Vec<_> = (0..100)
            .filter_map(|_| group.admission.enqueue(any_target(), 10))
            .collect();
        assert_eq!((queue.len(), group.admission.waiting()), (10, 10));
        queue.truncate(5);
        assert_eq!(group.admission.waiting(), 5);
    }
}

#[test]
fn a_group_that_is_removed_fails_every_request_that_waits() {
    let group = Group::new(2, 1);
    let _busy = [group.acquire(), group.acquire()].map(Option::unwrap);
    let mut queued = Queued::new(
        0,
        any_target(),
        group.admission.enqueue(any_target(), 10).unwrap(),
    );
    assert!(queued.poll().is_pending());
    group.admission.open(None, &[], false);
    assert!(queued.is_woken());
    assert!(matches!(queued.poll(), Poll::Ready(None)));
    let late = group.admission.enqueue(any_target(), 10).unwrap();
    let mut late = Queued::new(1, any_target(), late);
    assert!(matches!(late.poll(), Poll::Ready(None)));
}

#[test]
fn a_queue_that_waits_when_empty_is_served_in_order_by_targets_that_come() {
    let group = Group::new(1, 1);
    group.admission.open(NonZeroU32::new(2), &[], true);
    let enqueue = |number| {
        let waiter = group.admission.enqueue(any_target(), 5)?;
        Some(Queued::new(number, any_target(), waiter))
    };
    let mut queue: Vec<Queued> = (0..8).filter_map(enqueue).collect();
    assert_eq!(queue.len(), 5, "beyond its length no request waits");
    assert!(queue.iter_mut().all(|queued| queued.poll().is_pending()));
    group
        .admission
        .open(NonZeroU32::new(2), &group.targets, true);
    let mut leases = Vec::new();
    for queued in &mut queue {
        if let Poll::Ready(lease) = queued.poll() {
            leases.push((queued.number, lease.unwrap()));
        }
    }
    let served: Vec<usize> = leases.iter().map(|(number, _)| *number).collect();
    assert_eq!(served, [0, 1], "two slots, first come first served");
    drop(leases);
    assert!(matches!(queue[2].poll(), Poll::Ready(Some(_))));
}
