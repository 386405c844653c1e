//! Deciding for 1000 groups: it happens once a second and must cost less than a hundredth of a
//! core, which is 10 ms.

use std::hint::black_box;
use std::time::Duration;

use criterion::{Criterion, criterion_group};
use jiff::{SignedDuration, Timestamp};
use weir::autoscale::{Capacity, Now, Reading, Sample, Scaler};
use weir::config::{Autoscaling, Metric, Profile, TargetTracking};

const GROUPS: usize = 1000;

fn policy(profile: Profile) -> Autoscaling {
    let tracking = |metric, target| TargetTracking {
        metric,
        target,
        scale_in: true,
    };
    Autoscaling {
        target_tracking: vec![
            tracking(Metric::Cpu, 60.0),
            tracking(Metric::RequestsPerTarget, 100.0),
        ],
        ..Autoscaling::without_policies(profile, 1, 10)
    }
}

/// All groups at one second: the load is low, so that the longer window is evaluated too.
fn tick(scalers: &mut [Scaler], second: u32) {
    let now = Now {
        uptime: Duration::from_secs(second.into()),
        wall: Timestamp::UNIX_EPOCH + SignedDuration::from_secs(second.into()),
    };
    let capacity = Capacity {
        desired: 2,
        running: 2,
        warming: 0,
    };
    for scaler in scalers {
        let readings = vec![
            (Metric::Cpu, Reading::Value(40.0)),
            (Metric::RequestsPerTarget, Reading::Value(70.0)),
        ];
        let sample = Sample {
            now,
            capacity,
            readings,
        };
        black_box(scaler.decide(sample, true));
    }
}

fn autoscale(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("decide_for_1000_groups");
    for profile in Profile::ALL {
        let scaler = |_| Scaler::new("todo", policy(profile));
        let mut scalers: Vec<Scaler> = (0..GROUPS).map(scaler).collect();
        let mut second = 0;
        while second < 1000 {
            second += 1;
            tick(&mut scalers, second);
        }
        group.bench_function(profile.name(), |bencher| {
            bencher.iter(|| {
                second += 1;
                tick(&mut scalers, second);
            });
        });
    }
    group.finish();
}

criterion_group!(benches, autoscale);
