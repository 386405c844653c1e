//! Session cookies: what Weir sealed comes back as it was, and nothing else comes back.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use fastrand::Rng;
use weir::balance::{Member, Roster};
use weir::model::{
    CookieSource, DrainReason, Draining, Endpoint, Registration, Sticky, StickyDraining,
    StickyFull, TargetId,
};
use weir::target::Target;
use weir::target_group::{
    ApplicationCookie, Choices, CookieUpdate, Nonce, Registered, Seal, Session, Sessions, draining,
    hash_target,
};

const KEY: [u8; 32] = [7; 32];
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

fn now() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000)
}

fn seconds(count: u64) -> Duration {
    Duration::from_secs(count)
}

fn random<const N: usize>(rng: &mut Rng) -> [u8; N] {
    let mut bytes = [0; N];
    rng.fill(&mut bytes);
    bytes
}

fn nonce(rng: &mut Rng) -> Nonce {
    random(rng)
}

fn settings(source: CookieSource) -> Sticky {
    Sticky {
        source,
        cookie: "WEIRLB".to_owned(),
        duration: DAY,
        when_full: StickyFull::Move,
        when_draining: StickyDraining::Stay,
    }
}

fn target(n: u16) -> Arc<Target> {
    Arc::new(Target::new(TargetId {
        group: "todo".into(),
        addr: addr(n),
    }))
}

fn addr(n: u16) -> Endpoint {
    ([10, 0, 0, 1], 6400 + n).into()
}

/// The sessions of a group of two targets.
fn sessions(key: &[u8; 32], group: &str, source: CookieSource) -> Sessions {
    let weight = 1.try_into().unwrap();
    let member = |n| Member {
        target: target(n),
        weight,
    };
    let roster = Roster::new(vec![member(0), member(1)]);
    let draining = std::iter::empty();
    Sessions::new(
        settings(source),
        key,
        &group.into(),
        roster.as_ref(),
        draining,
    )
}

fn of_balancer() -> Sessions {
    sessions(&KEY, "todo", CookieSource::LoadBalancer)
}

fn of_application() -> Sessions {
    sessions(&KEY, "todo", CookieSource::Application("sid".to_owned()))
}

fn session(n: u16, life: Duration) -> Session {
    Session {
        target: hash_target(&addr(n)),
        expires: now() + life,
        ends: None,
    }
}

fn find(sessions: &Sessions, cookies: &[&str]) -> Option<Session> {
    sessions.find(cookies.iter().map(|cookie| cookie.as_bytes()), now())
}

fn issued(update: CookieUpdate) -> Session {
    match update {
        CookieUpdate::Issue(session) => session,
        other => panic!("{other:?}"),
    }
}

#[test]
fn what_was_sealed_is_what_is_opened() {
    let mut rng = Rng::with_seed(1);
    let sessions = of_balancer();
    for _ in 0..2_000 {
        let session = Session {
            target: rng.u64(..),
            expires: now() + seconds(rng.u64(1..700_000)),
            ends: rng.bool().then(|| now() + seconds(rng.u64(1..900_000))),
        };
        let cookie = sessions.seal(&session, nonce(&mut rng));
        assert_eq!(cookie.len(), 70, "one length, whatever is in it");
        assert_eq!(find(&sessions, &[&cookie]), Some(session));
    }
}

#[test]
fn no_changed_bit_and_no_other_length_is_accepted() {
    let mut rng = Rng::with_seed(2);
    let sessions = of_balancer();
    let cookie = sessions.seal(&session(0, DAY), nonce(&mut rng));
    for at in 0..cookie.len() * 8 {
        let mut bytes = cookie.clone().into_bytes();
        bytes[at / 8] ^= 1 << (at % 8);
        assert_eq!(sessions.find([&bytes[..]].into_iter(), now()), None, "{at}");
    }
    for len in 0..cookie.len() {
        assert_eq!(find(&sessions, &[&cookie[..len]]), None, "{len}");
        let tail = &cookie[cookie.len() - len..];
        assert_eq!(find(&sessions, &[tail]), None, "the last {len}");
    }
    for tail in ["=", "==", "A", "AA", " "] {
        assert_eq!(find(&sessions, &[&format!("{cookie}{tail}")]), None);
    }
}

#[test]
fn cookies_of_another_key_group_or_purpose_are_foreign() {
    let mut rng = Rng::with_seed(3);
    let own = of_balancer();
    let mut other_key = KEY;
    other_key[31] ^= 1;
    let session = session(0, DAY);
    for (key, group) in [
        (&other_key, "todo"),
        (&KEY, "todos"),
        (&KEY, "tod"),
        (&KEY, ""),
    ] {
        let other = sessions(key, group, CookieSource::LoadBalancer);
        let cookie = other.seal(&session, nonce(&mut rng));
        assert_eq!(find(&other, &[&cookie]), Some(session));
        assert_eq!(find(&own, &[&cookie]), None, "{group}");
    }
    let choices = Choices::default().choose(1, &[], DAY, now()).unwrap();
    let cookie = choices.seal(&Choices::seal_of(&KEY), nonce(&mut rng));
    assert_eq!(find(&own, &[&cookie]), None);
}

#[test]
fn a_session_ends_with_its_last_second() {
    let mut rng = Rng::with_seed(4);
    let sessions = of_balancer();
    let cookie = sessions.seal(&session(0, seconds(60)), nonce(&mut rng));
    let at = |offset| sessions.find([cookie.as_bytes()].into_iter(), now() + offset);
    assert!(at(seconds(59)).is_some());
    assert_eq!(at(seconds(60)), None);
    assert_eq!(at(DAY), None);
}

#[test]
fn garbage_is_no_session_and_never_panics() {
    let mut rng = Rng::with_seed(5);
    let sessions = of_balancer();
    let seal = Choices::seal_of(&KEY);
    let alphabet = b"ABCabc019-_=+/ \"%;,\x00\xff";
    for _ in 0..20_000 {
        let len = match rng.u8(..4) {
            0 => 70,
            1 => 123,
            _ => rng.usize(..300),
        };
        let text: Vec<u8> = if rng.bool() {
            (0..len).map(|_| rng.u8(..)).collect()
        } else {
            (0..len)
                .map(|_| alphabet[rng.usize(..alphabet.len())])
                .collect()
        };
        assert_eq!(sessions.find([&text[..]].into_iter(), now()), None);
        let choices = Choices::find(&seal, [&text[..]].into_iter(), now());
        assert_eq!(choices, Choices::default());
    }
}

#[test]
fn whatever_a_holder_of_the_key_seals_never_panics() {
    let mut rng = Rng::with_seed(6);
    let sessions = of_application();
    let seal = Seal::new(&KEY, "weir session 1 todo");
    let choices = Choices::seal_of(&KEY);
    for round in 0..5_000 {
        let mut plain = random::<24>(&mut rng);
        if round % 2 == 0 {
            plain[8..12].fill(0); // near enough to be a time
        }
        let cookie = seal.seal(plain, nonce(&mut rng));
        let found = sessions.find([cookie.as_bytes()].into_iter(), now());
        let said = ApplicationCookie::Unmentioned;
        if let CookieUpdate::Issue(next) = sessions.cookie_update(found, said, &addr(0), now()) {
            assert!(next.expires <= now() + DAY);
            let _ = sessions.max_age(&next, now());
        }
        let cookie = choices.seal(random::<64>(&mut rng), nonce(&mut rng));
        let found = Choices::find(&choices, [cookie.as_bytes()].into_iter(), now());
        let next = found.choose(1, &[1, 2], DAY, now()).unwrap();
        let _ = next.max_age(now());
    }
}

#[test]
fn the_first_cookie_that_leads_to_a_target_counts_and_only_so_many_are_tried() {
    let mut rng = Rng::with_seed(7);
    let sessions = of_balancer();
    let mut seal = |n| sessions.seal(&session(n, DAY), nonce(&mut rng));
    let (first, second, gone) = (seal(0), seal(1), seal(9));
    let target = |cookies: &[&str]| find(&sessions, cookies).map(|session| session.target);
    let [to_first, to_second, to_gone] = [0, 1, 9].map(|n| Some(hash_target(&addr(n))));
    assert_eq!(target(&["junk", &second, &first]), to_second);
    assert_eq!(target(&[&gone, &first]), to_first);
    assert_eq!(target(&["junk", &gone]), to_gone, "its end is remembered");
    assert_eq!(target(&["a", "b", "c", &first]), to_first);
    assert_eq!(target(&["a", "b", "c", "d", &first]), None);
}

#[test]
fn a_session_used_within_nine_tenths_of_its_duration_never_ends() {
    let mut rng = Rng::with_seed(8);
    for duration in [1, 2, 10, 60, 3_600, 604_800].map(seconds) {
        let mut sessions = of_balancer();
        sessions.settings.duration = duration;
        let nothing = ApplicationCookie::Unmentioned;
        let mut at = now() + Duration::from_millis(rng.u64(..1_000));
        let mut held = issued(sessions.cookie_update(None, nothing, &addr(0), at));
        for _ in 0..500 {
            at += duration.mul_f64(0.899 * rng.f64());
            let cookie = sessions.seal(&held, nonce(&mut rng));
            let found = sessions.find([cookie.as_bytes()].into_iter(), at);
            assert_eq!(found, Some(held), "{duration:?}");
            match sessions.cookie_update(found, nothing, &addr(0), at) {
                CookieUpdate::Issue(session) => held = session,
                CookieUpdate::Keep => {}
                CookieUpdate::Delete => panic!("the application did not end it"),
            }
        }
    }
}

#[test]
fn a_cookie_is_issued_for_another_target_and_after_a_tenth_of_its_life() {
    let sessions = of_balancer();
    let nothing = ApplicationCookie::Unmentioned;
    let held = issued(sessions.cookie_update(None, nothing, &addr(0), now()));
    assert_eq!(held, session(0, DAY));
    let after = |time, n| sessions.cookie_update(Some(held), nothing, &addr(n), now() + time);
    assert_eq!(after(seconds(0), 0), CookieUpdate::Keep);
    assert_eq!(after(DAY / 10, 0), CookieUpdate::Keep);
    assert_eq!(issued(after(DAY / 10 + seconds(1), 0)).target, held.target);
    assert_eq!(issued(after(seconds(0), 1)), session(1, DAY));
}

#[test]
fn a_session_of_the_application_lasts_as_long_as_its_cookie() {
    let sessions = of_application();
    let (set, nothing) = (ApplicationCookie::Set, ApplicationCookie::Unmentioned);
    let verdict = |held, said| sessions.cookie_update(held, said, &addr(0), now());
    assert_eq!(verdict(None, nothing), CookieUpdate::Keep, "none has begun");
    assert_eq!(
        verdict(None, ApplicationCookie::Deleted),
        CookieUpdate::Delete
    );
    let open = issued(verdict(None, set(None)));
    assert_eq!(open, session(0, DAY));
    assert_eq!(sessions.max_age(&open, now()), None);
    let hour = issued(verdict(None, set(Some(now() + seconds(3_600)))));
    assert_eq!(hour.expires, now() + seconds(3_600));
    assert_eq!(sessions.max_age(&hour, now()), Some(seconds(3_600)));
    let week = issued(verdict(None, set(Some(now() + DAY * 7))));
    assert_eq!(week.expires, now() + DAY, "the duration is the limit");
    // It moves, and keeps its end.
    let moved = issued(sessions.cookie_update(Some(hour), nothing, &addr(1), now() + seconds(60)));
    assert_eq!(
        (moved.target, moved.expires),
        (hash_target(&addr(1)), hour.expires)
    );
    assert_eq!(
        verdict(Some(hour), set(Some(now() + seconds(3_601)))),
        CookieUpdate::Keep
    );
    assert_eq!(
        verdict(Some(open), ApplicationCookie::Deleted),
        CookieUpdate::Delete
    );
}

#[test]
fn choices_are_remembered_beside_each_other_and_replaced_by_their_siblings() {
    let mut rng = Rng::with_seed(9);
    let seal = Choices::seal_of(&KEY);
    let chosen = |choices: &Choices| {
        (1..=9)
            .filter(|group| choices.until(*group).is_some())
            .collect::<Vec<_>>()
    };
    let mut choices = Choices::default();
    for (group, siblings, expected) in [
        (1, &[1, 2][..], &[1][..]),
        (2, &[1, 2], &[2]),
        (3, &[3, 4], &[2, 3]),
        (5, &[5], &[2, 3, 5]),
        (6, &[6], &[2, 3, 5, 6]),
        (7, &[7], &[3, 5, 6, 7]),
    ] {
        choices = choices.choose(group, siblings, DAY, now()).unwrap();
        assert_eq!(chosen(&choices), expected);
        let cookie = choices.seal(&seal, nonce(&mut rng));
        assert_eq!(cookie.len(), 123);
        let found = Choices::find(
            &seal,
            ["junk", &cookie].map(str::as_bytes).into_iter(),
            now(),
        );
        assert_eq!(found, choices);
        assert_eq!(found.choose(group, siblings, DAY, now()), None);
    }
    let cookie = choices.seal(&seal, nonce(&mut rng));
    let later = Choices::find(&seal, [cookie.as_bytes()].into_iter(), now() + DAY);
    assert_eq!(chosen(&later), [0; 0]);
}

#[test]
fn targets_without_weight_or_about_to_leave_keep_their_sessions() {
    let registered = |n, weight, registration| Registered {
        target: target(n),
        weight,
        registration,
    };
    let leaving = Draining {
        reason: DrainReason::Deregistered,
        since: Instant::now(),
        until: None,
    };
    let all = [
        registered(0, 1, Registration::Active),
        registered(1, 0, Registration::Active),
        registered(2, 1, Registration::Draining(leaving)),
    ];
    let kept = |checked| {
        draining(&all, checked)
            .map(|t| t.id.addr.clone())
            .collect::<Vec<_>>()
    };
    assert_eq!(kept(false), [addr(1), addr(2)]);
    assert_eq!(kept(true), [], "no target has passed a check");
}
