//! A target that fails at once has few requests in flight, and must not get more for it.

use std::time::Duration;

use weir::model::Algorithm;
use weir::target::RequestResult;

use crate::property::simulation::{Manner, Simulation, WELL, group, target};

/// A hundredth of what the others take.
const FAILING: Manner = Manner {
    takes: Duration::from_micros(100),
    verdict: RequestResult::ServerError,
};

#[test]
fn a_target_that_fails_at_once_gets_few_requests_from_algorithms_that_compare_loads() {
    let algorithms = Algorithm::ALL.into_iter().filter(|a| a.goes_by_load());
    assert_eq!(algorithms.clone().count(), 5);
    for algorithm in algorithms {
        for others in 1..=3 {
            let mut targets = vec![(target(0), FAILING)];
            targets.extend((1..=others).map(|n| (target(n), WELL)));
            let mut group = Simulation::new(group(algorithm), targets);
            group.shares(Duration::from_secs(5));
            let share = group.shares(Duration::from_secs(60))[0];
            let name = algorithm.name();
            assert!(share < 0.1, "{name} beside {others}: {share}");
        }
    }
}
