//! What a reconciler makes of providers that fail, hang, panic or are wrong.

use super::*;

#[tokio::test(start_paused = true)]
async fn a_provider_that_fails_keeps_its_targets_and_shows_the_fault() {
    let rig = Rig::start().await;
    rig.fake.change(|script| {
        script.fails = ["fleet", "set_count"].into();
        script.replicas.clear();
    });
    rig.order(run(4)).await;
    assert_eq!(rig.targets().len(), 2);
    assert_eq!(
        rig.fault().unwrap(),
        "cannot change the count: the engine does not answer: it is down"
    );
    let since = rig.shown().fault.unwrap().since;
    sleep(100 * SECOND).await;
    assert_eq!(rig.shown().fault.unwrap().since, since);
    // After 0, 1, 3, 7, 15, 31, 61 and 91 seconds.
    assert_eq!(rig.fake.calls("set_count 4"), 8);
    assert_eq!(rig.targets().len(), 2);
    rig.fake.change(|script| script.fails.clear());
    sleep(30 * SECOND).await;
    assert_eq!(rig.fault(), None);
    assert_eq!(rig.shown().desired, 4);
    assert_eq!(rig.targets().len(), 4, "the count was asked for again");
}

#[tokio::test(start_paused = true)]
async fn a_list_that_hangs_does_not_delay_a_count_for_ever() {
    let rig = Rig::start().await;
    rig.fake.change(|script| script.hangs = ["fleet"].into());
    rig.settle().await;
    rig.order(run(3)).await;
    assert_eq!(rig.fake.calls("set_count 3"), 0, "one call at a time");
    sleep(5 * SECOND).await;
    assert_eq!(rig.fake.calls("set_count 3"), 1);
    let fault = "cannot list the replicas: no answer within 5s";
    assert_eq!(rig.fault().as_deref(), Some(fault));
    assert_eq!(rig.targets().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn stopping_cuts_a_call_short_that_hangs() {
    for call in ["configure", "may_scale", "set_count", "fleet"] {
        let order = if call == "configure" {
            scaled_by(Scaler::Yes, 3)
        } else {
            run(3)
        };
        let rig = Rig::start().await;
        rig.fake.change(|script| script.hangs = [call].into());
        rig.order(order).await;
        rig.fake.change(|script| script.hangs.clear());
        let begun = Instant::now();
        rig.order(Order::Stop).await;
        assert!(rig.reconciler.is_finished(), "{call}");
        assert_eq!(begun.elapsed(), MOMENT);
        assert_eq!(rig.fake.count(), 0);
    }
}

#[tokio::test(start_paused = true)]
async fn stopping_gives_up_on_a_provider_that_is_down() {
    for broken in ["set_count", "fleet", "release"] {
        let rig = Rig::start().await;
        rig.fake.change(|script| script.hangs = [broken].into());
        rig.order(Order::Stop).await;
        assert!(!rig.reconciler.is_finished(), "{broken}");
        sleep(21 * SECOND).await;
        assert!(rig.reconciler.is_finished(), "{broken}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_provider_that_always_reports_changes_is_not_asked_without_end() {
    let rig = Rig::start().await;
    rig.fake.change(|script| script.is_restless = true);
    let before = rig.fake.calls("fleet");
    sleep(SECOND).await;
    let lists = rig.fake.calls("fleet") - before;
    assert!((10..=50).contains(&lists), "{lists}");
}

#[tokio::test(start_paused = true)]
async fn other_settings_are_tried_at_once_though_the_provider_fails() {
    let rig = Rig::start_with(group(), run(2), |script| {
        script.fails = ["configure"].into();
    })
    .await;
    assert_eq!(rig.targets().len(), 0);
    sleep(64 * SECOND).await;
    let tried = rig.fake.calls("configure");
    rig.fake.script().fails.clear();
    rig.order(scaled_by(Scaler::Yes, 2)).await;
    assert_eq!(rig.fake.calls("configure"), tried + 1);
    assert_eq!(rig.targets().len(), 2);
    assert_eq!(rig.fault(), None);
}

#[tokio::test(start_paused = true)]
async fn a_count_whose_answer_never_came_is_taken_back() {
    let rig = Rig::start().await;
    rig.fake.script().is_mute = true;
    rig.order(run(4)).await;
    // Accepted, but not answered: it is not known whether two or four are to come.
    sleep(11 * SECOND).await;
    rig.fake.script().is_mute = false;
    rig.order(run(2)).await;
    sleep(60 * SECOND).await;
    assert_eq!(rig.targets().len(), 2);
    assert_eq!((rig.shown().desired, rig.fault()), (2, None));
}

#[tokio::test(start_paused = true)]
async fn stopping_goes_by_no_list_from_before_the_last_count() {
    let order = Order::Run(Box::new(replicas(0)), Some(0));
    let rig = Rig::start_with(group(), order, |_| {}).await;
    rig.fake.script().is_mute = true;
    // Replicas start, of which the list does not know yet.
    rig.orders.send_replace(run(2));
    sleep(MOMENT).await;
    assert_eq!(rig.fake.count(), 2);
    rig.fake.script().is_mute = false;
    rig.order(Order::Stop).await;
    assert!(rig.reconciler.is_finished());
    assert_eq!(rig.fake.count(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_provider_that_panics_is_one_that_fails() {
    for call in ["fleet", "changed"] {
        let rig = Rig::start().await;
        rig.fake.change(|script| {
            script.panics.insert(call);
        });
        rig.settle().await;
        let before = rig.fake.calls("fleet");
        // After 1, 2, 4, 8, 16 and then every 30 seconds, and a list anyway now and then.
        sleep(100 * SECOND).await;
        let calls = rig.fake.calls("fleet") - before;
        assert!((3..=20).contains(&calls), "{call}: {calls}");
        let fault = rig.fault().expect("it is shown");
        assert!(
            fault.ends_with(&format!("the provider panicked: {call} is broken")),
            "{fault}"
        );
        assert_eq!(rig.targets().len(), 2, "they stay");
        assert!(!rig.reconciler.is_finished());
        rig.fake.change(Script::recover);
        sleep(60 * SECOND).await;
        assert_eq!(rig.fault(), None, "{call}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_count_that_is_accepted_and_never_comes_is_a_fault() {
    let rig = Rig::start().await;
    rig.fake.script().is_idle = true;
    rig.order(run(4)).await;
    sleep(58 * SECOND).await;
    assert_eq!(rig.fault(), None);
    sleep(2 * SECOND).await;
    let fault = "asked for 4 replicas, 2 exist for over 60s";
    assert_eq!(rig.fault().as_deref(), Some(fault));
    assert_eq!(rig.targets().len(), 2);
    assert_eq!(rig.fake.calls("set_count 4"), 2, "asked again");
    rig.fake.script().is_idle = false;
    sleep(60 * SECOND).await;
    assert_eq!(rig.targets().len(), 4);
    assert_eq!(rig.fault(), None);
}

#[tokio::test(start_paused = true)]
async fn replicas_that_do_not_go_although_that_was_accepted_are_left_behind_at_the_end() {
    let rig = Rig::start().await;
    rig.fake.script().is_idle = true;
    rig.order(Order::Retire).await;
    sleep(60 * SECOND).await;
    let fault = "asked for 0 replicas, 2 exist for over 60s";
    assert_eq!(rig.fault().as_deref(), Some(fault));
    assert_eq!(rig.fake.calls("set_count 0"), 2, "asked again");
    rig.order(Order::Stop).await;
    assert!(!rig.reconciler.is_finished());
    sleep(20 * SECOND).await;
    assert!(rig.reconciler.is_finished());
}

#[tokio::test(start_paused = true)]
async fn an_engine_that_forgets_replicas_which_pass_their_checks_is_not_believed() {
    let rig = Rig::start_with(checked(), run(2), |script| script.is_engine = true).await;
    rig.check(true).await;
    let forgotten = std::mem::take(&mut rig.fake.script().replicas);
    rig.fake.change(|_| {});
    rig.settle().await;
    assert_eq!(rig.targets().len(), 2);
    let fault = "lists no replica that runs, but 2 targets pass their checks: not believed";
    assert_eq!(rig.fault().as_deref(), Some(fault));
    rig.fake.change(|script| script.replicas = forgotten);
    rig.settle().await;
    assert_eq!(rig.fault(), None);
    rig.fake.change(|script| script.replicas.clear());
    rig.settle().await;
    assert_eq!(rig.targets().len(), 2);
    rig.check(false).await;
    assert_eq!(rig.targets().len(), 0, "the checks agree");
    assert_eq!(rig.fault(), None);
}

#[tokio::test(start_paused = true)]
async fn an_engine_is_believed_what_cannot_be_checked() {
    let rig = Rig::start_with(group(), run(2), |script| script.is_engine = true).await;
    rig.fake.change(|script| script.replicas.clear());
    rig.settle().await;
    assert_eq!(rig.targets().len(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_replica_that_dies_again_and_again_is_a_fault_until_it_runs() {
    let rig = Rig::start().await;
    rig.fake.change(|script| {
        script.replicas[1].state = ReplicaState::Starting;
        script.replicas[1].restarts = 2;
    });
    rig.settle().await;
    assert_eq!(rig.fault(), None, "that happens");
    rig.fake.change(|script| script.replicas[1].restarts = 3);
    rig.settle().await;
    let fault = "1 of 2 replicas does not run, started again 3 times: see its log";
    assert_eq!(rig.fault().as_deref(), Some(fault));
    rig.fake
        .change(|script| script.replicas[1].state = ReplicaState::Running);
    rig.settle().await;
    assert_eq!(rig.fault(), None);
}

/// Whatever a provider has done, once it works again the group has what was ordered last, and
/// the reconciler ends when it is told to.
#[test]
fn any_failure_ends_with_what_was_wanted() {
    const CALLS: [&str; 5] = ["configure", "may_scale", "set_count", "fleet", "release"];
    for seed in 0..40 {
        let mut random = fastrand::Rng::with_seed(seed);
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .start_paused(true)
            .build();
        runtime.unwrap().block_on(async {
            let is_engine = random.bool();
            let group = if random.bool() { checked() } else { group() };
            let rig = Rig::start_with(group, run(2), |script| script.is_engine = is_engine).await;
            rig.other.script().is_engine = random.bool();
            for _ in 0..30 {
                let (fake, other) = (&rig.fake, &rig.other);
                let fake = if random.bool() { fake } else { other };
                let call = CALLS[random.usize(..CALLS.len())];
                match random.u8(..11) {
                    10 => fake.change(|script| script.panics.extend([call])),
                    0 => fake.change(|script| script.fails.extend([call])),
                    1 => fake.change(|script| script.hangs.extend([call])),
                    2 => fake.change(|script| script.is_idle = true),
                    3 => fake.change(|script| script.follows = true),
                    4 => fake.change(|script| script.is_restless = true),
                    5 => fake.change(Script::recover),
                    6 => rig.check(random.bool()).await,
                    7 => rig.order(run(random.u32(..5))).await,
                    8 => rig.order(run_other(random.u32(..5))).await,
                    _ => sleep(random.u32(..40) * SECOND).await,
                }
            }
            rig.fake.change(Script::recover);
            rig.other.change(Script::recover);
            rig.order(run(3)).await;
            for _ in 0..30 {
                sleep(30 * SECOND).await;
                rig.check(true).await;
            }
            let context = format!("seed {seed}: {:?}", rig.shown());
            assert_eq!(rig.fault(), None, "{context}");
            assert!(rig.ports().iter().all(|port| *port < 7400), "{context}");
            assert_eq!(
                (rig.targets().len(), rig.shown().desired),
                (3, 3),
                "{context}"
            );
            rig.order(Order::Stop).await;
            assert!(rig.reconciler.is_finished(), "{context}");
            assert!(is_engine || rig.fake.count() == 0, "{context}");
        });
    }
}
