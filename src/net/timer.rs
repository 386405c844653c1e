//! Deadlines of the data plane, thousands a worker: one wheel for each thread, and one timer of
//! the runtime that turns it.
//!
//! A deadline is coarse: it passes up to one [`TICK_BITS`] late, and never early. That makes timers
//! cheap: four bytes where one is kept, some forty in the wheel while it is set, no allocation and
//! no clock. A deadline that has to be exact takes `tokio::time` instead.

use std::cell::RefCell;
use std::future::Future;
use std::marker::PhantomData;
use std::mem;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use tokio::runtime::{Handle, RuntimeFlavor};
use tokio::time::{Instant, Sleep, sleep_until};

use super::wheel::{Key, Wheel};

/// A tick has 2 to the power of so many nanoseconds: 17 ms.
const TICK_BITS: u32 = 24;

/// Wakers that the driver keeps room for between two ticks.
const KEPT_WAKERS: usize = 256;

thread_local! {
    static TIMERS: RefCell<Timers> = const { RefCell::new(Timers::new()) };
}

/// A timer for deadlines that mostly move on before they pass. Moving costs nothing, because a
/// timer that is due too early only costs a wake-up. Takes memory only once it was pending.
#[derive(Debug, Default)]
pub struct Timer {
    key: Option<Key>,
    /// The wheel is that of the thread.
    thread: PhantomData<Rc<()>>,
}

impl Timer {
    /// Ready once `deadline` has passed; otherwise wakes the task then.
    pub fn poll(&mut self, cx: &mut Context<'_>, deadline: Instant) -> Poll<()> {
        TIMERS.with_borrow_mut(|timers| timers.poll(&mut self.key, cx, deadline))
    }

    /// Waits until `deadline` has passed. Cancel-safe.
    pub async fn until(deadline: Instant) {
        let mut timer = Self::default();
        std::future::poll_fn(|cx| timer.poll(cx, deadline)).await;
    }
}

impl Drop for Timer {
    // Most timers were never set.
    #[inline]
    fn drop(&mut self) {
        if let Some(key) = self.key {
            remove(key);
        }
    }
}

fn remove(key: Key) {
    // A thread that ends has no wheel any more. The waker is dropped after the borrow, because it
    // may drop a task with timers.
    let waker = TIMERS.try_with(|timers| timers.borrow_mut().wheel.remove(key));
    drop(waker);
}

/// The timers of one thread.
#[derive(Debug)]
struct Timers {
    wheel: Wheel<Armed>,
    /// When the first tick began.
    base: Option<Instant>,
    driver: DriverState,
}

/// What a deadline in the wheel was set for.
#[derive(Debug)]
struct Armed {
    deadline: Instant,
    waker: Waker,
}

/// What turns the wheel.
#[derive(Debug)]
enum DriverState {
    /// Nothing: the runtime has no driver yet.
    Missing,
    /// It was spawned, and runs soon.
    Started,
    /// It waits until this tick, and can be woken earlier.
    Waiting(u64, Waker),
}

impl Timers {
    const fn new() -> Self {
        Self {
            wheel: Wheel::new(),
            base: None,
            driver: DriverState::Missing,
        }
    }

    fn poll(
        &mut self,
        place: &mut Option<Key>,
        cx: &mut Context<'_>,
        deadline: Instant,
    ) -> Poll<()> {
        // Without a look at ticks: a timer is polled far more often than it has to be set.
        if let Some(key) = *place
            && let Some(armed) = self.wheel.get(key)
            && armed.deadline <= deadline
        {
            armed.waker.clone_from(cx.waker());
            return Poll::Pending;
        }
        if self.wheel.is_empty() {
            self.restart();
        }
        let at = self.tick_after(deadline);
        if at <= self.wheel.now() {
            return Poll::Ready(());
        }
        let waker = cx.waker().clone();
        let armed = Armed { deadline, waker };
        match *place {
            Some(key) => drop(self.wheel.set(key, at, armed)),
            None => *place = Some(self.wheel.insert(at, armed)),
        }
        self.drive_until(at);
        Poll::Pending
    }

    /// Begins to count ticks anew. The wheel was not turned while it was empty, and the thread may
    /// have another runtime since, whose clock need not be after the last one's.
    fn restart(&mut self) {
        self.base = Some(Instant::now());
        self.wheel.restart();
        if let DriverState::Waiting(until, _) = &mut self.driver {
            *until = u64::MAX;
        }
    }

    /// Makes sure that the driver runs at a tick, or before it.
    fn drive_until(&mut self, at: u64) {
        match &self.driver {
            DriverState::Missing => {
                // On another thread it would turn another wheel.
                debug_assert_eq!(
                    Handle::current().runtime_flavor(),
                    RuntimeFlavor::CurrentThread
                );
                tokio::spawn(Driver::new());
                self.driver = DriverState::Started;
            }
            DriverState::Waiting(until, waker) if at < *until => {
                waker.wake_by_ref();
                self.driver = DriverState::Started;
            }
            DriverState::Started | DriverState::Waiting(..) => {}
        }
    }

    /// The first tick that begins at `time` or later.
    fn tick_after(&mut self, time: Instant) -> u64 {
        self.nanoseconds(time).saturating_add((1 << TICK_BITS) - 1) >> TICK_BITS
    }

    /// The last tick that has begun at `time`.
    fn ticks_before(&mut self, time: Instant) -> u64 {
        self.nanoseconds(time) >> TICK_BITS
    }

    fn nanoseconds(&mut self, time: Instant) -> u64 {
        let base = *self.base.get_or_insert_with(Instant::now);
        let since = time.saturating_duration_since(base);
        let seconds = since.as_secs().saturating_mul(1_000_000_000);
        seconds.saturating_add(u64::from(since.subsec_nanos()))
    }

    /// When a tick begins.
    fn start_of(&mut self, tick: u64) -> Instant {
        let base = *self.base.get_or_insert_with(Instant::now);
        base + Duration::from_nanos(tick << TICK_BITS)
    }

    /// Takes the wakers of all deadlines that have passed. Returns when to do so again.
    fn turn(&mut self, driver: &Waker, passed: &mut Vec<Waker>) -> Option<Instant> {
        let now = self.ticks_before(Instant::now());
        self.wheel.advance(now, |armed| passed.push(armed.waker));
        let next = self.wheel.next();
        self.driver = DriverState::Waiting(next.unwrap_or(u64::MAX), driver.clone());
        next.map(|tick| self.start_of(tick))
    }
}

/// Turns the wheel of its thread as long as its runtime lives.
struct Driver {
    sleep: Pin<Box<Sleep>>,
    passed: Vec<Waker>,
}

impl Driver {
    fn new() -> Self {
        Self {
            sleep: Box::pin(sleep_until(Instant::now())),
            passed: Vec::new(),
        }
    }
}

impl Future for Driver {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            let mut passed = mem::take(&mut self.passed);
            let next = TIMERS.with_borrow_mut(|timers| timers.turn(cx.waker(), &mut passed));
            // The wheel is free again: what is woken may drop a timer.
            passed.drain(..).for_each(Waker::wake);
            passed.shrink_to(KEPT_WAKERS);
            self.passed = passed;
            let Some(next) = next else {
                return Poll::Pending;
            };
            if self.sleep.deadline() != next {
                self.sleep.as_mut().reset(next);
            }
            ready!(self.sleep.as_mut().poll(cx));
        }
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        // The next runtime of the thread needs one of its own.
        let _ = TIMERS.try_with(|timers| timers.borrow_mut().driver = DriverState::Missing);
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use tokio::task::yield_now;

    use super::*;

    const TICK: Duration = Duration::from_nanos(1 << TICK_BITS);

    fn is_empty() -> bool {
        TIMERS.with_borrow(|timers| timers.wheel.is_empty())
    }

    #[tokio::test(start_paused = true)]
    async fn a_deadline_passes_up_to_a_tick_late_and_never_early() {
        for millis in [0, 1, 16, 17, 50, 250, 1000, 5000, 60_000, 86_400_000] {
            let deadline = Instant::now() + Duration::from_millis(millis);
            Timer::until(deadline).await;
            let now = Instant::now();
            // The runtime's own timers have milliseconds.
            let latest = deadline + TICK + Duration::from_millis(1);
            assert!(deadline <= now && now <= latest, "{millis} ms");
        }
        assert!(is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn a_deadline_moves_both_ways() {
        let mut timer = Timer::default();
        let begun = Instant::now();
        let second = Duration::from_secs(1);
        for seconds in [5, 60, 2] {
            let deadline = begun + seconds * second;
            let polled = poll_fn(|cx| Poll::Ready(timer.poll(cx, deadline))).await;
            assert!(polled.is_pending());
            // The driver waits for the first one.
            yield_now().await;
        }
        poll_fn(|cx| timer.poll(cx, begun + 2 * second)).await;
        assert_eq!(begun.elapsed().as_secs(), 2);
        poll_fn(|cx| timer.poll(cx, begun + 60 * second)).await;
        assert_eq!(begun.elapsed().as_secs(), 60);
        poll_fn(|cx| timer.poll(cx, begun + 60 * second)).await;
        assert_eq!(begun.elapsed().as_secs(), 60, "it has passed before");
    }

    #[tokio::test(start_paused = true)]
    async fn many_timers_of_many_tasks_wake_their_own_task() {
        let tasks: Vec<_> = (0..1000_u64)
            .map(|number| {
                let wait = Duration::from_millis(1 + number * 37 % 5000);
                async move {
                    let begun = Instant::now();
                    Timer::until(begun + wait).await;
                    (wait, begun.elapsed())
                }
            })
            .collect();
        for (wait, lasted) in futures_util::future::join_all(tasks).await {
            assert!(wait <= lasted && lasted <= wait + TICK + Duration::from_millis(1));
        }
        assert!(is_empty());
    }

    #[test]
    fn every_runtime_of_a_thread_has_timers_and_none_is_left_behind() {
        // The clock of each begins behind the end of the one before.
        for _ in 0..3 {
            let mut runtime = tokio::runtime::Builder::new_current_thread();
            let runtime = runtime.enable_time().start_paused(true).build().unwrap();
            runtime.block_on(async {
                tokio::time::advance(Duration::from_hours(2)).await;
                let begun = Instant::now();
                Timer::until(begun + Duration::from_hours(1)).await;
                assert_eq!(begun.elapsed().as_secs(), 3600);
                let unfinished = Timer::until(begun + Duration::from_hours(9));
                tokio::select! {
                    biased;
                    () = unfinished => panic!("too early"),
                    () = yield_now() => {}
                }
            });
            drop(runtime);
            assert!(is_empty());
        }
    }

    #[test]
    fn a_timer_is_small() {
        assert!(size_of::<Timer>() <= 8);
    }
}
