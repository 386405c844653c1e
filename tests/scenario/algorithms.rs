//! Algorithms that need more than a picker: limits, the clock, and slow start.

use std::time::Duration;

use weir::model::Algorithm;

use crate::scenario::balancing::{answering, counts, group, holding, plain};
use crate::scenario::support::{Backend, Lb, answer, eventually};

#[tokio::test]
async fn first_fills_each_target_to_its_limit_before_the_next() {
    let (backends, gate) = holding(3).await;
    let more = "health = false\nmax_concurrency = 2";
    let lb = Lb::start(&group(Algorithm::First, &plain(&backends), more)).await;
    let mut held = Vec::new();
    for expected in [[1, 0, 0], [2, 0, 0], [2, 1, 0], [2, 2, 0], [2, 2, 1]] {
        let mut client = lb.connect().await;
        held.push(tokio::spawn(async move { client.get("/hold").await }));
        // One after the other, so that each pick sees the load of those before it.
        eventually("the request arrives", || async {
            let now = counts(&backends);
            let arrived = now.iter().sum::<usize>() == expected.iter().sum::<usize>();
            arrived.then_some(()).ok_or(format!("{now:?}"))
        })
        .await;
        assert_eq!(counts(&backends), expected);
    }
    gate.add_permits(held.len());
    for held in held {
        assert_eq!(held.await.unwrap().status, 200);
    }
}

#[tokio::test]
async fn algorithms_that_use_latency_avoid_a_slow_target() {
    for algorithm in [Algorithm::PeakEwma, Algorithm::LeastTime] {
        let slow = Backend::with(|_| async {
            // The response time of the target; the test itself waits for nothing.
            tokio::time::sleep(Duration::from_millis(200)).await;
            answer(200, "slow")
        })
        .await;
        let backends = [slow, Backend::answering("fast").await];
        let lb = Lb::start(&group(algorithm, &plain(&backends), "health = false")).await;
        let mut client = lb.connect().await;
        for _ in 0..40 {
            assert_eq!(client.get("/").await.status, 200);
        }
        // Chance would give it about 20. A few are needed to measure its latency.
        let slow = backends[0].requests();
        assert!((1..8).contains(&slow), "{algorithm:?}: {slow}");
    }
}

#[tokio::test]
async fn a_target_that_joins_a_group_starts_slowly() {
    let backends = answering(3).await;
    let config = |count: usize| {
        let more = "health = false\nslow_start = \"900s\"";
        let text = group(Algorithm::RoundRobin, &plain(&backends)[..count], more);
        format!("admin = {{ bind = \"127.0.0.1:0\" }}\n{text}")
    };
    let mut lb = Lb::start(&config(2)).await;
    let mut client = lb.connect().await;
    for _ in 0..20 {
        assert_eq!(client.get("/").await.status, 200);
    }
    assert_eq!(counts(&backends), [10, 10, 0]);
    lb.reload(&config(3)).await.unwrap();
    for _ in 0..120 {
        assert_eq!(client.get("/").await.status, 200);
    }
    // At the start its share is a hundredth of a third, and the test ends before it grows much.
    let new = backends[2].requests();
    assert!(new < 12, "{new}");
    let mut shares = Vec::new();
    for backend in &backends {
        shares.push(lb.target_status("app", backend.addr()).await.share);
    }
    assert_eq!(shares[..2], [100, 100]);
    assert!((1..50).contains(&shares[2]), "{shares:?}");
}
