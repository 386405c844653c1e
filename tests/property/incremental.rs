//! A snapshot built step by step by changes equals one that is built from scratch.

use std::time::{Duration, Instant};

use proptest::prelude::*;
use tokio::sync::oneshot;
use weir::balance::PickContext;
use weir::config::{Config, CookieKey, HealthCheck, Probe, TargetAddress, TargetGroup, TargetSpec};
use weir::model::{Algorithm, Endpoint, TargetId, Thresholds};
use weir::state::{Change, Publisher, Reader, Snapshot, Source, TargetChange, compile_group};
use weir::target_group;

use crate::property::simulation;

/// One step: groups by their position, targets by their port.
#[derive(Clone, Debug)]
enum Step {
    Target(usize, u16, TargetChange),
    Health(usize, usize, bool),
    Members(Vec<u8>),
    Reload(Vec<(usize, u16)>),
}

const NAMES: [&str; 3] = ["plain", "hashed", "named"];

/// Large enough for a table, with a few more and a few less.
const PORTS: u16 = 22;

fn addr(port: u16) -> Endpoint {
    ([10, 0, 0, 1], port).into()
}

fn change() -> impl Strategy<Value = TargetChange> {
    prop_oneof![
        Just(TargetChange::Deregister),
        Just(TargetChange::Drain),
        (0..4_u16).prop_map(TargetChange::Weight),
        prop::option::of(1..4_u16).prop_map(|weight| TargetChange::Register { weight }),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    let place = 0..NAMES.len();
    prop_oneof![
        4 => (place.clone(), 1..=PORTS, change()).prop_map(|(g, p, c)| Step::Target(g, p, c)),
        4 => (place.clone(), 0..usize::from(PORTS), any::<bool>())
            .prop_map(|(g, t, passes)| Step::Health(g, t, passes)),
        2 => prop::collection::vec(1..6_u8, 0..4).prop_map(Step::Members),
        1 => prop::sample::subsequence(vec![0, 1, 2], 0..=3)
            .prop_shuffle()
            .prop_flat_map(|places| {
                prop::collection::vec(1..3_u16, places.len()).prop_map(move |weights| {
                    places.iter().copied().zip(weights).collect::<Vec<_>>()
                })
            })
            .prop_map(Step::Reload),
    ]
}

/// One of three groups: taking turns and checked, hashing, found by name.
fn group(place: usize, weight: u16) -> TargetGroup {
    let fixed = |port| TargetSpec {
        address: TargetAddress::Socket(addr(port)),
        weight,
    };
    let name = TargetAddress::Host {
        name: "todo.example".to_owned(),
        port: 80,
    };
    let base = TargetGroup {
        deregistration_delay: Duration::ZERO,
        ..TargetGroup::new(NAMES[place].into())
    };
    match place {
        0 => TargetGroup {
            targets: (1..5).map(fixed).collect(),
            health: Some(check()),
            ..base
        },
        1 => TargetGroup {
            targets: (1..PORTS).map(fixed).collect(),
            algorithm: Algorithm::ConsistentHash,
            health: None,
            ..base
        },
        _ => TargetGroup {
            targets: vec![
                TargetSpec {
                    address: name,
                    weight,
                },
                fixed(9),
            ],
            algorithm: Algorithm::LeastConnections,
            health: Some(check()),
            ..base
        },
    }
}

fn check() -> HealthCheck {
    HealthCheck {
        probe: Probe::Tcp,
        port: None,
        interval: Duration::from_secs(10),
        timeout: Duration::from_secs(5),
        thresholds: ONCE,
    }
}

const ONCE: Thresholds = Thresholds {
    healthy: 1,
    unhealthy: 1,
};

fn config(groups: &[(usize, u16)]) -> Config {
    Config {
        target_groups: groups
            .iter()
            .map(|&(place, weight)| group(place, weight))
            .collect(),
        ..Config::empty()
    }
}

/// Carries a step out. Returns the group that it concerns; `None` for all of them.
async fn carry_out(publisher: &Publisher, reader: &Reader, step: &Step) -> Option<&'static str> {
    match *step {
        Step::Target(place, port, change) => {
            let target = TargetId {
                group: NAMES[place].into(),
                addr: addr(port),
            };
            // Refused if there is nothing to be changed.
            let _ = publisher.change_target(target, change).await;
            Some(NAMES[place])
        }
        Step::Health(place, index, passes) => {
            let snapshot = reader.load_full();
            let group = snapshot.group_named(&NAMES[place].into());
            let target = group.and_then(|group| group.targets.get(index));
            if let Some(registered) = target {
                simulation::check(&registered.target, passes);
                let target = registered.target.id.clone();
                publisher.send(Change::Health { target }).await;
            }
            Some(NAMES[place])
        }
        Step::Members(ref last_bytes) => {
            let member = |&n: &u8| (([10, 0, 1, n], 80).into(), 1);
            let change = Change::Members {
                group: NAMES[2].into(),
                source: Source::Dns("todo.example".to_owned(), 80),
                members: last_bytes.iter().map(member).collect(),
            };
            publisher.send(change).await;
            Some(NAMES[2])
        }
        Step::Reload(ref groups) => {
            publisher.configure(config(groups)).await.unwrap();
            None
        }
    }
}

/// Waits until what was sent before is visible: changes are applied in order.
async fn visible(publisher: &Publisher) {
    let (done, refused) = oneshot::channel();
    let target = TargetId {
        group: "nothing".into(),
        addr: addr(1),
    };
    let change = TargetChange::Drain;
    publisher
        .send(Change::Target {
            target,
            change,
            done,
        })
        .await;
    assert!(refused.await.unwrap().is_err());
}

/// Each group is what a build from its configuration and targets makes of it now.
fn check_groups(snapshot: &Snapshot, with_keys: bool) -> Result<(), TestCaseError> {
    for group in snapshot.groups() {
        let config = &group.config;
        let fresh = compile_group(
            config,
            group.targets.clone(),
            group.admission.clone(),
            group.live.clone(),
            &CookieKey([0; 32]),
            0,
            Instant::now(),
        );
        prop_assert_eq!(members(group), members(&fresh), "{}", &group.id);
        let facts = |group: &target_group::TargetGroup| (group.failing_open, group.is_alive);
        prop_assert_eq!(facts(group), facts(&fresh), "{}", &group.id);
        if with_keys && config.algorithm == Algorithm::ConsistentHash {
            prop_assert_eq!(places(group), places(&fresh), "{}", &group.id);
        }
    }
    Ok(())
}

fn members(group: &target_group::TargetGroup) -> Vec<(Endpoint, u16)> {
    group
        .selection
        .iter()
        .flat_map(|selection| selection.roster.members())
        .map(|m| (m.target.id.addr.clone(), m.weight.get()))
        .collect()
}

fn places(group: &target_group::TargetGroup) -> Vec<Option<usize>> {
    let picker = group.selection.as_ref().map(|selection| &selection.picker);
    let pick = |key: u64| {
        picker?.pick(&PickContext {
            key: Some(key.wrapping_mul(0x9E37_79B9_7F4A_7C15)),
            entropy: 0,
            now: Instant::now(),
            tried: &[],
        })
    };
    (0..500).map(pick).collect()
}

async fn settled(reader: &mut Reader) {
    let is_settled = |snapshot: &Snapshot| {
        let mut selections = snapshot
            .groups()
            .iter()
            .filter_map(|g| g.selection.as_ref());
        selections.all(|selection| !selection.is_provisional)
    };
    let settled = async { while !is_settled(&reader.load_full()) && reader.changed().await {} };
    tokio::time::timeout(Duration::from_secs(60), settled)
        .await
        .unwrap();
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn steps_lead_where_a_build_from_scratch_does(
        steps in prop::collection::vec(step(), 1..25)
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()
            .unwrap();
        runtime.block_on(async {
            let (publisher, task, mut reader) = Publisher::new(0);
            let _ends_with_the_publisher = tokio::spawn(task.run());
            publisher.configure(config(&[(0, 1), (1, 1), (2, 1)])).await.unwrap();
            settled(&mut reader).await;
            for step in &steps {
                let before = reader.load_full();
                let concerned = carry_out(&publisher, &reader, step).await;
                visible(&publisher).await;
                let after = reader.load_full();
                check_groups(&after, false)?;
                if let Some(concerned) = concerned {
                    for group in after.changed_since(&before) {
                        // A table may have been published meanwhile.
                        let is_hashed = group.hash_key.is_some();
                        prop_assert!(is_hashed || *group.id.0 == *concerned, "{}", &group.id);
                    }
                } else {
                    for group in after.groups() {
                        let known = before.group_named(&group.id);
                        let kept = known.is_some_and(|known| known.is_same(group));
                        let known = known.is_some_and(|known| known.config == group.config);
                        prop_assert!(kept || !known || group.hash_key.is_some(), "{}", &group.id);
                    }
                }
            }
            settled(&mut reader).await;
            check_groups(&reader.load_full(), true)
        })?;
    }
}
