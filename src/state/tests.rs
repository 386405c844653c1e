//! Which targets are in a group, which drain, and what is kept over reloads.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;
use tokio::time::sleep;

use super::fixture::{config, empty_group, publish};
use super::{Change, Publisher, Reader, Refusal, Source, TargetChange};
use crate::config::{
    Allowance, ProcessRunner, Replicas, Runner, Scaler, TargetAddress, TargetGroup, TargetSpec,
    parse,
};
use crate::model::{
    CookieSource, DrainReason, Endpoint, HttpPolicy, Registration, Sticky, StickyDraining,
    StickyFull, TargetId,
};
use crate::target::Target;
use crate::target_group::Registered;

mod incremental;

const DELAY: Duration = Duration::from_secs(300);
/// Long enough for every idle target to be released.
const MOMENT: Duration = Duration::from_millis(200);

fn addr(n: u16) -> Endpoint {
    ([10, 0, 0, 1], n).into()
}

fn id(n: u16) -> TargetId {
    TargetId {
        group: "todo".into(),
        addr: addr(n),
    }
}

/// Targets by port, with their weights.
fn group(targets: &[(u16, u16)]) -> TargetGroup {
    let spec = |&(port, weight): &(u16, u16)| TargetSpec {
        address: TargetAddress::Socket(addr(port)),
        weight,
    };
    TargetGroup {
        targets: targets.iter().map(spec).collect(),
        deregistration_delay: DELAY,
        ..empty_group()
    }
}

fn targets(reader: &Reader) -> Vec<Registered> {
    reader.load().groups()[0].targets.to_vec()
}

/// Port, weight and registration of every target of the group.
fn shown(reader: &Reader) -> Vec<(u16, u16, &'static str)> {
    targets(reader)
        .into_iter()
        .map(|t| {
            (
                t.target.id.addr.address().unwrap().port(),
                t.weight,
                t.registration.name(),
            )
        })
        .collect()
}

fn target(reader: &Reader, n: u16) -> Arc<Target> {
    targets(reader)
        .into_iter()
        .find(|t| t.target.id == id(n))
        .unwrap()
        .target
}

/// Ports that may be picked.
fn eligible(reader: &Reader) -> Vec<u16> {
    let snapshot = reader.load();
    let selection = snapshot.groups()[0].selection.as_ref();
    let members = selection.map(|s| s.roster.members()).unwrap_or_default();
    members
        .iter()
        .map(|m| m.target.id.addr.address().unwrap().port())
        .collect()
}

async fn reload(publisher: &Publisher, group: TargetGroup) -> Vec<String> {
    let diff = publisher.configure(config(vec![group])).await;
    diff.unwrap().contradictions
}

async fn register(publisher: &Publisher, n: u16, weight: Option<u16>) {
    let change = TargetChange::Register { weight };
    let registered = publisher.change_target(id(n), change).await.unwrap();
    assert!(registered.unwrap().registration.is_active());
}

#[tokio::test(start_paused = true)]
async fn a_target_that_leaves_with_requests_drains_until_the_last_has_ended() {
    let (publisher, reader) = publish(vec![group(&[(1, 1), (2, 7)])]).await;
    let leaving = target(&reader, 2);
    let (first, second) = (leaving.lease(), leaving.lease());
    reload(&publisher, group(&[(1, 1)])).await;
    assert_eq!(shown(&reader), [(1, 1, "active"), (2, 7, "draining")]);
    assert_eq!(eligible(&reader), [1]);
    let Registration::Draining(draining) = targets(&reader)[1].registration else {
        panic!("it drains");
    };
    assert_eq!(draining.reason, DrainReason::Deregistered);
    assert_eq!(draining.until, Some(draining.since + DELAY));
    drop(first);
    sleep(DELAY / 2).await;
    assert_eq!(shown(&reader).len(), 2);
    assert!(!leaving.is_released());
    drop(second);
    sleep(MOMENT).await;
    assert_eq!(shown(&reader), [(1, 1, "active")]);
    assert!(leaving.is_released());
}

#[tokio::test(start_paused = true)]
async fn when_the_delay_is_over_a_target_with_requests_is_released() {
    let (publisher, reader) = publish(vec![group(&[(1, 1), (2, 1)])]).await;
    let leaving = target(&reader, 2);
    let _tunnel = leaving.lease();
    reload(&publisher, group(&[(1, 1)])).await;
    // Reloads do not begin the delay anew.
    sleep(DELAY.saturating_sub(Duration::from_secs(1))).await;
    reload(&publisher, group(&[(1, 2)])).await;
    assert_eq!(shown(&reader), [(1, 2, "active"), (2, 1, "draining")]);
    assert!(!leaving.is_released());
    sleep(Duration::from_secs(2)).await;
    assert_eq!(shown(&reader), [(1, 2, "active")]);
    assert!(leaving.is_released());
}

#[tokio::test(start_paused = true)]
async fn without_a_delay_a_target_is_gone_at_once() {
    let at_once = |targets: &[(u16, u16)]| TargetGroup {
        deregistration_delay: Duration::ZERO,
        ..group(targets)
    };
    let (publisher, reader) = publish(vec![at_once(&[(1, 1), (2, 1)])]).await;
    let leaving = target(&reader, 2);
    let _lease = leaving.lease();
    reload(&publisher, at_once(&[(1, 1)])).await;
    assert_eq!(shown(&reader), [(1, 1, "active")]);
    assert!(leaving.is_released());
}

#[tokio::test(start_paused = true)]
async fn an_idle_target_does_not_drain_unless_a_request_was_about_to_pick_it() {
    let (publisher, reader) = publish(vec![group(&[(1, 1), (2, 1), (3, 1)])]).await;
    let (idle, picked) = (target(&reader, 2), target(&reader, 3));
    reload(&publisher, group(&[(1, 1)])).await;
    assert_eq!(shown(&reader), [(1, 1, "active")]);
    assert!(!idle.is_released());
    let late = picked.lease();
    sleep(MOMENT).await;
    assert!(idle.is_released());
    assert_eq!(shown(&reader), [(1, 1, "active"), (3, 1, "draining")]);
    drop(late);
    sleep(MOMENT).await;
    assert_eq!(shown(&reader), [(1, 1, "active")]);
}

#[tokio::test(start_paused = true)]
async fn a_target_that_comes_back_is_the_same_and_active() {
    let (publisher, reader) = publish(vec![group(&[(1, 1), (2, 1)])]).await;
    let away = target(&reader, 2);
    let lease = away.lease();
    reload(&publisher, group(&[(1, 1)])).await;
    reload(&publisher, group(&[(2, 1), (1, 1)])).await;
    assert_eq!(shown(&reader), [(2, 1, "active"), (1, 1, "active")]);
    assert_eq!(away.serial, target(&reader, 2).serial);
    drop(lease);
    sleep(2 * DELAY).await;
    assert!(!away.is_released());
    assert_eq!(eligible(&reader), [2, 1]);
}

#[tokio::test(start_paused = true)]
async fn targets_of_a_removed_group_have_their_delay_and_may_come_back() {
    let (publisher, reader) = publish(vec![group(&[(1, 1), (2, 1)])]).await;
    let (kept, left) = (target(&reader, 1), target(&reader, 2));
    let leases = (kept.lease(), left.lease());
    publisher.configure(config(vec![])).await.unwrap();
    let version = reader.load().version;
    sleep(DELAY / 2).await;
    assert_eq!(reader.load().version, version, "there is nothing to show");
    assert!(!left.is_released());
    reload(&publisher, group(&[(1, 1)])).await;
    assert_eq!(kept.serial, target(&reader, 1).serial);
    assert_eq!(shown(&reader), [(1, 1, "active"), (2, 1, "draining")]);
    sleep(DELAY).await;
    assert_eq!((kept.is_released(), left.is_released()), (false, true));
    drop(leases);
}

#[tokio::test(start_paused = true)]
async fn sessions_that_may_stay_keep_a_target_for_the_whole_delay() {
    let sticky = |targets: &[(u16, u16)]| TargetGroup {
        sticky: Some(Sticky {
            source: CookieSource::LoadBalancer,
            cookie: "WEIRLB".to_owned(),
            duration: Duration::from_secs(60),
            when_full: StickyFull::Move,
            when_draining: StickyDraining::Stay,
        }),
        ..group(targets)
    };
    let (publisher, reader) = publish(vec![sticky(&[(1, 1), (2, 1)])]).await;
    reload(&publisher, sticky(&[(1, 1)])).await;
    sleep(DELAY.saturating_sub(Duration::from_secs(1))).await;
    assert_eq!(shown(&reader), [(1, 1, "active"), (2, 1, "draining")]);
    sleep(Duration::from_secs(2)).await;
    assert_eq!(shown(&reader), [(1, 1, "active")]);
}

#[tokio::test(start_paused = true)]
async fn only_other_targets_count_as_another_membership() {
    let (publisher, reader) = publish(vec![group(&[(1, 1), (2, 1)])]).await;
    let since = || reader.load().targets_since;
    let first = since();
    reload(&publisher, group(&[(1, 5), (2, 1)])).await;
    publisher.send(Change::Health { target: id(1) }).await;
    sleep(MOMENT).await;
    assert_eq!((reader.load().version, since()), (first + 2, first));
    reload(&publisher, group(&[(1, 5)])).await;
    assert_eq!(since(), first + 3);
}

#[tokio::test(start_paused = true)]
async fn a_drained_target_gets_nothing_new_until_it_is_registered() {
    let (publisher, reader) = publish(vec![group(&[(1, 1), (2, 3)])]).await;
    let drained = publisher.change_target(id(2), TargetChange::Drain).await;
    let Registration::Draining(draining) = drained.unwrap().unwrap().registration else {
        panic!("it drains");
    };
    assert_eq!(draining.reason, DrainReason::Requested);
    assert_eq!(draining.until, None);
    sleep(10 * DELAY).await;
    assert_eq!(shown(&reader), [(1, 1, "active"), (2, 3, "draining")]);
    assert_eq!(eligible(&reader), [1]);
    register(&publisher, 2, None).await;
    assert_eq!(shown(&reader), [(1, 1, "active"), (2, 3, "active")]);
}

#[tokio::test(start_paused = true)]
async fn what_is_set_at_run_time_stands_and_a_reload_reports_contradictions() {
    let (publisher, reader) = publish(vec![group(&[(1, 1), (2, 1)])]).await;
    register(&publisher, 3, Some(9)).await;
    let gone = publisher
        .change_target(id(2), TargetChange::Deregister)
        .await;
    assert!(gone.unwrap().is_none(), "it was idle");
    let weight = TargetChange::Weight(5);
    publisher.change_target(id(1), weight).await.unwrap();
    let expected = [(1, 5, "active"), (3, 9, "active")];
    assert_eq!(shown(&reader), expected);
    for _ in 0..2 {
        assert_eq!(
            reload(&publisher, group(&[(1, 2), (2, 1)])).await,
            [
                "target 10.0.0.1:1 of todo: weight 5 set at run time stays, the file says 2",
                "target 10.0.0.1:2 of todo: deregistered at run time, stays out; the file lists it",
                "target 10.0.0.1:3 of todo: registered at run time, stays; the file does not list it",
            ]
        );
        assert_eq!(shown(&reader), expected);
    }
    let agreed = group(&[(1, 5), (3, 9)]);
    assert_eq!(reload(&publisher, agreed.clone()).await, [""; 0]);
    // A listed target that is registered without a weight has the weight of the file.
    register(&publisher, 1, None).await;
    assert_eq!(reload(&publisher, group(&[(1, 4), (3, 9)])).await, [""; 0]);
    assert_eq!(shown(&reader), [(1, 4, "active"), (3, 9, "active")]);
    let diff = publisher.configure(config(vec![])).await.unwrap();
    assert_eq!(
        diff.contradictions,
        ["target group todo: goes with what was set at run time"]
    );
    assert_eq!(reload(&publisher, agreed).await, [""; 0]);
    assert_eq!(shown(&reader), [(1, 5, "active"), (3, 9, "active")]);
}

#[tokio::test(start_paused = true)]
async fn only_what_is_in_a_group_can_be_changed() {
    let (publisher, reader) = publish(vec![group(&[(1, 1)])]).await;
    let changes = [
        TargetChange::Deregister,
        TargetChange::Drain,
        TargetChange::Weight(2),
    ];
    for change in changes {
        let refused = publisher.change_target(id(9), change).await.unwrap_err();
        assert_eq!(refused, Refusal::UnknownTarget(id(9)));
    }
    let other = TargetId {
        group: "other".into(),
        ..id(1)
    };
    let refused = publisher.change_target(other, TargetChange::Drain).await;
    assert_eq!(
        refused.unwrap_err().to_string(),
        "there is no target group `other`"
    );
    assert_eq!(shown(&reader), [(1, 1, "active")]);
}

#[tokio::test(start_paused = true)]
async fn a_replica_drains_but_is_not_deregistered_and_its_settings_end_with_it() {
    let mut replicas = group(&[]);
    replicas.replicas = Some(Replicas {
        runner: Runner::Process(ProcessRunner {
            command: vec!["replica".to_owned()],
            env: Vec::new(),
            secrets: BTreeSet::new(),
            directory: None,
            stop_timeout: Duration::ZERO,
            output: crate::config::ReplicaOutput::Log,
        }),
        count: Some(1),
        allowance: Allowance::default(),
        warm_up: None,
        scaler: Scaler::Lease,
    });
    let (publisher, reader) = publish(vec![replicas]).await;
    let members = |ports: &[u16]| Change::Members {
        group: "todo".into(),
        source: Source::Replicas,
        members: ports.iter().map(|&port| (addr(port), 1)).collect(),
    };
    publisher.send(members(&[1, 2])).await;
    let refused = publisher
        .change_target(id(1), TargetChange::Deregister)
        .await
        .unwrap_err();
    assert_eq!(refused, Refusal::Replica(id(1)));
    let drained = publisher.change_target(id(1), TargetChange::Drain).await;
    assert!(drained.is_ok());
    assert_eq!(eligible(&reader), [2]);
    publisher.send(members(&[2])).await;
    publisher.send(members(&[1, 2])).await;
    sleep(MOMENT).await;
    assert_eq!(eligible(&reader), [1, 2], "another one at the same port");
}

/// What a test does to a group, by port.
#[derive(Clone, Debug)]
enum Step {
    Register(u16, Option<u16>),
    Deregister(u16),
    Weight(u16, u16),
    Reload(BTreeMap<u16, u16>),
}

#[tokio::test]
async fn how_a_listener_reads_http_reaches_the_data_path() {
    let text = "[[listener]]\nbind = \"127.0.0.1:0\"\nfixed_response = { status = 404 }\n\
                via = \"weir\"\nnormalize_path = \"off\"\nclient = { abort_on_close = false }\n\
                forwarded = { send = \"both\" }";
    let file = parse("weir.toml", text, &|_| None).unwrap().config;
    let (publisher, reader) = publish(Vec::new()).await;
    publisher.configure(file.clone()).await.unwrap();
    let snapshot = reader.load();
    let (compiled, written) = (snapshot.listeners().next().unwrap(), &file.listeners[0]);
    assert_eq!(compiled.http, written.http);
    assert_ne!(compiled.http, HttpPolicy::default());
    assert_eq!(compiled.client, written.client);
    assert_eq!(compiled.forwarded, written.forwarded);
}

fn step() -> impl Strategy<Value = Step> {
    let (port, weight) = (1..6_u16, 1..4_u16);
    prop_oneof![
        (port.clone(), prop::option::of(weight.clone())).prop_map(|(p, w)| Step::Register(p, w)),
        port.clone().prop_map(Step::Deregister),
        (port.clone(), weight.clone()).prop_map(|(p, w)| Step::Weight(p, w)),
        prop::collection::btree_map(port, weight, 0..5).prop_map(Step::Reload),
    ]
}

/// The rules as the documentation states them.
#[derive(Default)]
struct Expected {
    file: BTreeMap<u16, u16>,
    added: BTreeMap<u16, Option<u16>>,
    removed: BTreeSet<u16>,
    weights: BTreeMap<u16, u16>,
}

impl Expected {
    fn members(&self) -> BTreeMap<u16, u16> {
        let added = self
            .added
            .iter()
            .map(|(&p, weight)| (p, weight.unwrap_or(1)));
        let mut members: BTreeMap<u16, u16> = added.collect();
        for (&port, &weight) in &self.file {
            if !self.removed.contains(&port) {
                let added = self.added.get(&port).copied().flatten();
                members.insert(port, added.unwrap_or(weight));
            }
        }
        for (&port, &weight) in &self.weights {
            members.entry(port).and_modify(|w| *w = weight);
        }
        members
    }

    fn take(&mut self, step: &Step) {
        let members = self.members();
        match *step {
            Step::Register(port, weight) => {
                self.weights.remove(&port);
                self.removed.remove(&port);
                self.added.remove(&port);
                match (self.file.contains_key(&port), weight) {
                    (false, weight) => drop(self.added.insert(port, weight)),
                    (true, Some(weight)) => drop(self.weights.insert(port, weight)),
                    (true, None) => {}
                }
            }
            Step::Deregister(port) if members.contains_key(&port) => {
                self.weights.remove(&port);
                self.added.remove(&port);
                if self.file.contains_key(&port) {
                    self.removed.insert(port);
                }
            }
            Step::Weight(port, weight) if members.contains_key(&port) => {
                self.weights.insert(port, weight);
            }
            Step::Deregister(_) | Step::Weight(..) => {}
            Step::Reload(ref file) => self.file.clone_from(file),
        }
    }
}

async fn do_step(publisher: &Publisher, step: &Step) {
    let (port, change) = match *step {
        Step::Register(port, weight) => (port, TargetChange::Register { weight }),
        Step::Deregister(port) => (port, TargetChange::Deregister),
        Step::Weight(port, weight) => (port, TargetChange::Weight(weight)),
        Step::Reload(ref file) => {
            let listed: Vec<(u16, u16)> = file.iter().map(|(&p, &w)| (p, w)).collect();
            reload(publisher, group(&listed)).await;
            return;
        }
    };
    // Refused if the target is not in the group, which the expectation takes into account.
    let _ = publisher.change_target(id(port), change).await;
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn in_any_order_changes_and_reloads_leave_the_expected_targets(
        steps in prop::collection::vec(step(), 1..40)
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .unwrap();
        runtime.block_on(async {
            let (publisher, reader) = publish(vec![group(&[])]).await;
            let mut expected = Expected::default();
            for step in &steps {
                expected.take(step);
                do_step(&publisher, step).await;
                let now = targets(&reader).into_iter();
                let now: BTreeMap<u16, u16> =
                    now.map(|t| (t.target.id.addr.address().unwrap().port(), t.weight)).collect();
                prop_assert_eq!(now, expected.members());
            }
            Ok(())
        })?;
    }
}
