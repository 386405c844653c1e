//! A change costs what it concerns: the rest of a snapshot is shared with the one before.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::super::builder::Builder;
use super::super::compile::GROUPS_COMPILED;
use super::super::fixture::{config, empty_group, publish};
use super::super::snapshot::Snapshot;
use super::super::work::Work;
use super::super::{Change, Publisher, Reader, Source, TargetChange};
use super::addr;
use crate::balance::{PickContext, TABLES_BUILT};
use crate::config::{TargetAddress, TargetGroup, TargetSpec, parse};
use crate::model::{Algorithm, TargetId};

/// A group of that many targets of weight 1.
fn group(name: &str, targets: u16) -> TargetGroup {
    let spec = |n| TargetSpec {
        address: TargetAddress::Socket(addr(n)),
        weight: 1,
    };
    TargetGroup {
        id: name.into(),
        targets: (1..=targets).map(spec).collect(),
        ..empty_group()
    }
}

/// A group with a table of keys.
fn hashing(name: &str) -> TargetGroup {
    TargetGroup {
        algorithm: Algorithm::ConsistentHash,
        ..group(name, 40)
    }
}

fn id(group: &str, n: u16) -> TargetId {
    TargetId {
        group: group.into(),
        addr: addr(n),
    }
}

async fn set_weight(publisher: &Publisher, group: &str, n: u16, weight: u16) {
    let change = TargetChange::Weight(weight);
    let changed = publisher.change_target(id(group, n), change).await;
    assert_eq!(changed.unwrap().unwrap().weight, weight);
}

/// The port of the target that a group's next request gets; `key` is for groups that hash.
fn pick(reader: &Reader, group: &str, key: u64) -> u16 {
    let snapshot = reader.load();
    let group = snapshot.group_named(&group.into()).unwrap();
    let selection = group.selection.as_ref().unwrap();
    let picked = selection.picker.pick(&PickContext {
        key: Some(key.wrapping_mul(0x9E37_79B9_7F4A_7C15)),
        entropy: 0,
        now: Instant::now(),
        tried: &[],
    });
    selection.roster.members()[picked.unwrap()]
        .target
        .id
        .addr
        .address()
        .unwrap()
        .port()
}

fn is_settled(snapshot: &Snapshot) -> bool {
    let mut selections = snapshot
        .groups()
        .iter()
        .filter_map(|group| group.selection.as_ref());
    selections.all(|selection| !selection.is_provisional)
}

/// Waits until every table is built.
async fn settle(reader: &mut Reader) {
    let settled = async { while !is_settled(&reader.load_full()) && reader.changed().await {} };
    tokio::time::timeout(Duration::from_secs(60), settled)
        .await
        .unwrap();
}

/// The groups of `after` that are not those of `before`.
fn changed(before: &Snapshot, after: &Snapshot) -> Vec<String> {
    after
        .changed_since(before)
        .map(|group| group.id.to_string())
        .collect()
}

#[tokio::test]
async fn one_weight_builds_one_group_and_no_table_on_the_control_thread() {
    let groups = ["a", "b", "c", "d"].map(hashing).to_vec();
    let (publisher, mut reader) = publish(groups).await;
    settle(&mut reader).await;
    let before = reader.load_full();
    let work = (GROUPS_COMPILED.get(), TABLES_BUILT.get());
    set_weight(&publisher, "b", 7, 5).await;
    assert_eq!(GROUPS_COMPILED.get() - work.0, 1);
    let after = reader.load_full();
    assert_eq!(changed(&before, &after), ["b"]);
    let roster = &after.groups()[1].selection.as_ref().unwrap().roster;
    assert_eq!(roster.members()[6].weight.get(), 5);
    settle(&mut reader).await;
    assert_eq!(changed(&before, &reader.load_full()), ["b"]);
    let got = (0..20_000)
        .filter(|&key| pick(&reader, "b", key) == 7)
        .count();
    // 5 of 44 instead of 1 of 40.
    assert!((1800..2800).contains(&got), "{got}");
    assert_eq!(TABLES_BUILT.get(), work.1, "another thread builds them");
}

#[tokio::test]
async fn a_target_that_is_out_gets_no_key_while_its_groups_table_is_built() {
    let (publisher, mut reader) = publish(vec![hashing("a")]).await;
    settle(&mut reader).await;
    let places =
        |reader: &Reader| -> Vec<u16> { (0..2000).map(|key| pick(reader, "a", key)).collect() };
    let before = places(&reader);
    assert!(before.contains(&9));
    publisher
        .change_target(id("a", 9), TargetChange::Drain)
        .await
        .unwrap();
    let meanwhile = places(&reader);
    assert!(!meanwhile.contains(&9));
    let moved = before
        .iter()
        .zip(&meanwhile)
        .filter(|(before, now)| **before != 9 && before != now)
        .count();
    assert!(
        is_settled(&reader.load()) || moved == 0,
        "{moved} keys moved"
    );
    settle(&mut reader).await;
    assert!(!places(&reader).contains(&9));
    publisher
        .change_target(id("a", 9), TargetChange::Register { weight: None })
        .await
        .unwrap();
    settle(&mut reader).await;
    assert_eq!(places(&reader), before);
}

#[tokio::test(start_paused = true)]
async fn the_rotation_of_a_group_goes_on_whatever_happens_to_others() {
    let (publisher, reader) = publish(vec![group("a", 3), group("b", 5)]).await;
    let mut last = pick(&reader, "b", 0);
    let mut follow = || {
        for _ in 0..3 {
            let next = pick(&reader, "b", 0);
            assert_eq!(next, last % 5 + 1);
            last = next;
        }
    };
    follow();
    set_weight(&publisher, "a", 1, 9).await;
    follow();
    publisher
        .change_target(id("a", 2), TargetChange::Deregister)
        .await
        .unwrap();
    follow();
    publisher.send(Change::Health { target: id("a", 1) }).await;
    let reloaded = config(vec![group("c", 1), group("b", 5), group("a", 2)]);
    publisher.configure(reloaded).await.unwrap();
    follow();
    publisher
        .configure(config(vec![group("b", 5)]))
        .await
        .unwrap();
    follow();
}

#[tokio::test(start_paused = true)]
async fn changes_that_wait_together_are_published_once() {
    let (publisher, reader) = publish(vec![group("a", 50), group("b", 50), group("c", 50)]).await;
    let before = reader.load_full();
    let work = GROUPS_COMPILED.get();
    for n in 1..=50 {
        publisher.send(Change::Health { target: id("a", n) }).await;
    }
    let changes = (1..=50).map(|n| {
        let publisher = publisher.clone();
        tokio::spawn(async move { set_weight(&publisher, "b", n, n).await })
    });
    for changed in changes.collect::<Vec<_>>() {
        changed.await.unwrap();
    }
    let after = reader.load_full();
    assert_eq!(changed(&before, &after), ["a", "b"]);
    // Tasks run when they are given a turn: a batch for those that were there, and some.
    let versions = after.version - before.version;
    assert!(versions <= 3, "{versions}");
    assert!(GROUPS_COMPILED.get() - work <= 4);
}

#[tokio::test(start_paused = true)]
async fn a_list_that_says_the_same_again_costs_nothing() {
    let mut named = group("a", 1);
    named.targets.push(name("todo.example", 80, 1));
    let (publisher, reader) = publish(vec![named]).await;
    publisher.send(list("todo.example", 80, &[7, 8])).await;
    // Answered after what came before it.
    set_weight(&publisher, "a", 1, 2).await;
    let version = reader.load().version;
    for _ in 0..10 {
        publisher.send(list("todo.example", 80, &[7, 8])).await;
        let source = Source::Srv("nothing.example".to_owned());
        let group = "a".into();
        publisher
            .send(Change::Members {
                group,
                source,
                members: Vec::new(),
            })
            .await;
    }
    set_weight(&publisher, "a", 1, 3).await;
    assert_eq!(reader.load().version, version + 1);
}

#[tokio::test(start_paused = true)]
async fn a_reload_shares_what_it_does_not_change() {
    let both = |group: &str, weight: u16| {
        let text = format!(
            "[[listener]]\nname = \"one\"\nbind = \"127.0.0.1:6001\"\nforward = \"a\"\n\
             [[listener]]\nname = \"two\"\nbind = \"127.0.0.1:6002\"\nforward = \"{group}\"\n\
             [target_group.a]\ntargets = [\"10.0.0.1:1\"]\n\
             [target_group.b]\ntargets = [{{ address = \"10.0.0.1:2\", weight = {weight} }}]\n"
        );
        parse("test.toml", &text, &|_| None).unwrap().config
    };
    let (publisher, reader) = publish(vec![]).await;
    publisher.configure(both("a", 1)).await.unwrap();
    let first = reader.load_full();
    publisher.configure(both("a", 2)).await.unwrap();
    let second = reader.load_full();
    assert_eq!(changed(&first, &second), ["b"]);
    let same = |a: &Snapshot, b: &Snapshot| -> Vec<bool> {
        a.listeners()
            .zip(b.listeners())
            .map(|(a, b)| Arc::ptr_eq(a, b))
            .collect()
    };
    assert_eq!(same(&first, &second), [true, true]);
    publisher.configure(both("b", 2)).await.unwrap();
    let third = reader.load_full();
    assert_eq!(same(&second, &third), [true, false]);
    assert!(changed(&second, &third).is_empty());
}

#[tokio::test]
async fn a_large_reload_is_compiled_on_another_thread() {
    let (publisher, reader) = publish(vec![group("a", 3)]).await;
    let small = reader.load().groups()[0].clone();
    let work = GROUPS_COMPILED.get();
    let large = config(vec![group("a", 3), group("large", 5000)]);
    publisher.configure(large).await.unwrap();
    assert_eq!(GROUPS_COMPILED.get(), work);
    let snapshot = reader.load_full();
    assert_eq!(snapshot.groups()[1].targets.len(), 5000);
    assert!(small.is_same(&snapshot.groups()[0]));
    // So is every change of such a group.
    set_weight(&publisher, "large", 4000, 9).await;
    assert_eq!(GROUPS_COMPILED.get(), work);
    assert_eq!(reader.load().groups()[1].targets[3999].weight, 9);
}

#[test]
fn a_table_that_is_superseded_is_not_built() {
    let current = Arc::new(arc_swap::ArcSwap::from_pointee(Snapshot::empty()));
    let mut builder = Builder::new(current, tokio::sync::watch::Sender::new(0), 0);
    let apply = |builder: &mut Builder, change| {
        builder.apply(Work::Changes(vec![change]), Instant::now());
    };
    let (done, _outcome) = tokio::sync::oneshot::channel();
    let config = config(vec![hashing("a"), group("b", 40)]);
    apply(
        &mut builder,
        Change::Configure {
            config,
            sockets: Vec::new(),
            done,
        },
    );
    for weight in 1..9 {
        let (done, _outcome) = tokio::sync::oneshot::channel();
        let change = TargetChange::Weight(weight);
        apply(
            &mut builder,
            Change::Target {
                target: id("a", 1),
                change,
                done,
            },
        );
    }
    let wanted = builder.take_wanted_tables(16);
    assert_eq!(wanted.len(), 1);
    assert_eq!(wanted[0].1.members()[0].weight.get(), 8);
    assert!(builder.take_wanted_tables(16).is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_target_is_listed_until_no_snapshot_shows_it() {
    let (publisher, reader) = publish(vec![group("a", 3)]).await;
    let targets = reader.load().groups()[0].targets.to_vec();
    let lease = targets[1].target.lease();
    for n in [2, 3] {
        publisher
            .change_target(id("a", n), TargetChange::Deregister)
            .await
            .unwrap();
    }
    let listed = || {
        targets
            .iter()
            .map(|t| t.target.is_listed())
            .collect::<Vec<_>>()
    };
    assert_eq!(listed(), [true, true, false]);
    drop(lease);
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(listed(), [true, false, false]);
}

fn name(name: &str, port: u16, weight: u16) -> TargetSpec {
    let name = name.to_owned();
    TargetSpec {
        address: TargetAddress::Host { name, port },
        weight,
    }
}

/// What a lookup of a name has found: 10.0.0.N each.
fn list(name: &str, port: u16, last_bytes: &[u8]) -> Change {
    let member = |&n: &u8| (([10, 0, 0, n], port).into(), 1);
    Change::Members {
        group: "a".into(),
        source: Source::Dns(name.to_owned(), port),
        members: last_bytes.iter().map(member).collect(),
    }
}

/// Address and weight of the group's targets that may be picked.
fn members(reader: &Reader) -> Vec<(String, u16)> {
    let snapshot = reader.load();
    let selection = snapshot.groups()[0].selection.as_ref();
    selection
        .map(|s| s.roster.members())
        .unwrap_or_default()
        .iter()
        .map(|m| (m.target.id.addr.to_string(), m.weight.get()))
        .collect()
}

fn expected(members: &[(&str, u16)]) -> Vec<(String, u16)> {
    let owned = |&(addr, weight): &(&str, u16)| (addr.to_owned(), weight);
    members.iter().map(owned).collect()
}

#[tokio::test(start_paused = true)]
async fn a_name_with_another_port_or_weight_keeps_its_addresses() {
    let named = |port, weight| TargetGroup {
        targets: vec![name("todo.example", port, weight)],
        ..group("a", 0)
    };
    let (publisher, reader) = publish(vec![named(80, 1)]).await;
    publisher.send(list("todo.example", 80, &[7, 8])).await;
    publisher
        .configure(config(vec![named(81, 1)]))
        .await
        .unwrap();
    assert_eq!(
        members(&reader),
        expected(&[("10.0.0.7:81", 1), ("10.0.0.8:81", 1)])
    );
    publisher
        .configure(config(vec![named(81, 5)]))
        .await
        .unwrap();
    assert_eq!(
        members(&reader),
        expected(&[("10.0.0.7:81", 5), ("10.0.0.8:81", 5)])
    );
    // An answer for the port of before comes too late.
    publisher.send(list("todo.example", 80, &[9])).await;
    publisher.send(list("todo.example", 81, &[8])).await;
    publisher
        .configure(config(vec![named(81, 1)]))
        .await
        .unwrap();
    assert_eq!(members(&reader), expected(&[("10.0.0.8:81", 1)]));
}

#[tokio::test(start_paused = true)]
async fn a_group_keeps_its_targets_until_its_new_name_has_answered() {
    let named = |specs: Vec<TargetSpec>| TargetGroup {
        targets: specs,
        ..group("a", 0)
    };
    let (publisher, reader) = publish(vec![named(vec![name("old.example", 80, 3)])]).await;
    publisher.send(list("old.example", 80, &[7])).await;
    let reload = async |specs| {
        publisher
            .configure(config(vec![named(specs)]))
            .await
            .unwrap()
    };
    for weight in [1, 2] {
        reload(vec![name("new.example", 80, weight)]).await;
        assert_eq!(members(&reader), expected(&[("10.0.0.7:80", 1)]));
    }
    publisher.send(list("new.example", 80, &[8])).await;
    reload(vec![name("new.example", 80, 1)]).await;
    assert_eq!(members(&reader), expected(&[("10.0.0.8:80", 1)]));
    // With any other target there is no need for it.
    let fixed = |n| TargetSpec {
        address: TargetAddress::Socket(addr(n)),
        weight: 1,
    };
    reload(vec![fixed(1), name("old.example", 80, 1)]).await;
    assert_eq!(members(&reader), expected(&[("10.0.0.1:1", 1)]));
    reload(vec![]).await;
    assert_eq!(members(&reader), []);
}
