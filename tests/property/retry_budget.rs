//! The budget of retries, over any schedule: time is counted, not waited for.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use proptest::prelude::*;
use weir::config::defaults::RETRY;
use weir::model::Retry;
use weir::target_group::Budget;

/// One event of a schedule.
#[derive(Clone, Debug)]
enum Event {
    /// Milliseconds pass.
    Wait(u64),
    /// This many requests come.
    Requests(u16),
    /// A request asks for a retry.
    Retry,
    /// The retry that has been under way for the longest ends.
    End,
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        2 => (0..15_000u64).prop_map(Event::Wait),
        2 => (0..50u64).prop_map(Event::Wait),
        3 => (1..60u16).prop_map(Event::Requests),
        8 => Just(Event::Retry),
        3 => Just(Event::End),
    ]
}

/// Events by the second they happened in: counted in another way than the budget does.
#[derive(Default)]
struct Ledger(Vec<u64>);

impl Ledger {
    fn within_ten_seconds(&self, second: u64) -> u64 {
        self.0.iter().filter(|at| second - **at < 10).count() as u64
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    /// Beyond `min_concurrency` in flight a retry is allowed if, and only if, it is within
    /// its share of the requests of the last ten seconds.
    #[test]
    fn retries_never_exceed_their_share(
        budget in 0..=100u8,
        min_concurrency in 0..5u32,
        events in prop::collection::vec(event(), 1..300),
    ) {
        let policy = Retry { budget, min_concurrency, ..RETRY };
        let start = Instant::now();
        let live = Budget::new(start);
        let (mut requests, mut paid) = (Ledger::default(), Ledger::default());
        let mut flying = VecDeque::new();
        let mut millis = 0;
        for event in events {
            let (second, now) = (millis / 1000, start + Duration::from_millis(millis));
            match event {
                Event::Wait(passed) => millis += passed,
                Event::Requests(count) => {
                    for _ in 0..count {
                        live.request(now);
                        requests.0.push(second);
                    }
                }
                Event::Retry => {
                    let is_free = flying.len() < min_concurrency as usize;
                    let spent = paid.within_ten_seconds(second) + 1;
                    let share = requests.within_ten_seconds(second) * u64::from(budget);
                    let permit = live.retry(&policy, now);
                    prop_assert_eq!(permit.is_some(), is_free || spent * 100 <= share);
                    if !is_free && permit.is_some() {
                        paid.0.push(second);
                    }
                    flying.extend(permit);
                }
                Event::End => drop(flying.pop_front()),
            }
        }
    }
}

/// A thousand requests a second, all of which fail at once and want two retries each.
#[test]
fn a_storm_grows_by_the_budget_and_no_more() {
    let policy = Retry {
        budget: 20,
        min_concurrency: 3,
        ..RETRY
    };
    let start = Instant::now();
    let budget = Budget::new(start);
    // Retries take 100 ms until they fail too.
    let mut flying = VecDeque::new();
    let (mut requests, mut retries, mut most) = (0u64, 0u64, 0);
    for milli in 0..60_000u64 {
        let now = start + Duration::from_millis(milli);
        while flying.front().is_some_and(|(ends, _)| *ends <= milli) {
            flying.pop_front();
        }
        budget.request(now);
        requests += 1;
        for _ in 0..2 {
            if let Some(permit) = budget.retry(&policy, now) {
                flying.push_back((milli + 100, permit));
                retries += 1;
            }
        }
        most = most.max(flying.len());
    }
    // Three places that take 100 ms each serve thirty a second, beside the share.
    let (share, free) = (requests / 5, 60 * 30);
    assert!(retries <= share + free, "{retries} retries of {requests}");
    assert!(
        retries >= share,
        "{retries}: the budget is there to be used"
    );
    assert!(
        most < 300,
        "{most} in flight: a second's share came at once"
    );
}

#[test]
fn workers_do_not_spend_the_same_budget_twice() {
    let policy = Retry {
        budget: 20,
        min_concurrency: 0,
        ..RETRY
    };
    let now = Instant::now();
    let budget = Budget::new(now);
    for _ in 0..1000 {
        budget.request(now);
    }
    let granted: usize = std::thread::scope(|scope| {
        let worker = || {
            (0..1000)
                .filter(|_| budget.retry(&policy, now).is_some())
                .count()
        };
        let workers: Vec<_> = (0..4).map(|_| scope.spawn(worker)).collect();
        workers
            .into_iter()
            .map(|worker| worker.join().unwrap())
            .sum()
    });
    assert_eq!(granted, 200);
}
