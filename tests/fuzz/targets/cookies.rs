//! Session cookies: what Weir sealed comes back as it was, and nothing else comes back.

use std::time::{Duration, SystemTime};

use weir::model::{CookieSource, Endpoint, Sticky, StickyDraining, StickyFull};
use weir::target_group::{
    ApplicationCookie, Choices, CookieUpdate, Nonce, Seal, Session, Sessions,
};

const KEY: [u8; 32] = [7; 32];
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// What a fuzzer has made: numbers to seal, and a text which claims to be a cookie.
struct Input<'i> {
    numbers: [u64; 4],
    nonce: Nonce,
    text: &'i [u8],
}

impl<'i> Input<'i> {
    fn read(data: &'i [u8]) -> Option<Self> {
        let (numbers, rest) = data.split_first_chunk::<32>()?;
        let (nonce, text) = rest.split_first_chunk::<12>()?;
        let mut parts = numbers.chunks_exact(8).map(|part| {
            let part = part.try_into().expect("eight bytes");
            u64::from_be_bytes(part)
        });
        Some(Self {
            numbers: std::array::from_fn(|_| parts.next().expect("four parts")),
            nonce: *nonce,
            text,
        })
    }
}

pub(super) fn run(data: &[u8]) {
    let Some(input) = Input::read(data) else {
        return;
    };
    check_forged(input.text);
    check_round_trip(&input);
    check_choices(&input);
    check_any_plain_text(&input);
}

fn now() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000)
}

fn sessions(source: CookieSource) -> Sessions {
    let settings = Sticky {
        source,
        cookie: "WEIRLB".to_owned(),
        duration: DAY,
        when_full: StickyFull::Move,
        when_draining: StickyDraining::Stay,
    };
    let group = "todo".into();
    Sessions::new(settings, &KEY, &group, None, std::iter::empty())
}

fn of_balancer() -> Sessions {
    sessions(CookieSource::LoadBalancer)
}

fn find<'c>(sessions: &Sessions, cookies: impl IntoIterator<Item = &'c [u8]>) -> Option<Session> {
    sessions.find(cookies.into_iter(), now())
}

/// A text of the fuzzer is no cookie, whole or in parts. It does not know the key.
fn check_forged(text: &[u8]) {
    assert_eq!(find(&of_balancer(), [text]), None);
    assert_eq!(find(&of_balancer(), text.split(|byte| *byte == b';')), None);
    let seal = Choices::seal_of(&KEY);
    let found = Choices::find(&seal, [text].into_iter(), now());
    assert_eq!(found, Choices::default());
    assert_eq!(seal.open::<64>(text), None);
}

fn check_round_trip(input: &Input<'_>) {
    let sessions = of_balancer();
    let [target, life, ends, _] = input.numbers;
    let after = |seconds: u64| now() + Duration::from_secs(seconds % 10_000_000 + 1);
    let session = Session {
        target,
        expires: after(life),
        ends: (ends % 2 == 0).then(|| after(ends)),
    };
    let cookie = sessions.seal(&session, input.nonce);
    assert_eq!(find(&sessions, [cookie.as_bytes()]), Some(session));
    assert_eq!(
        sessions.find([cookie.as_bytes()].into_iter(), session.expires),
        None
    );
    for changed in changed(&cookie, input.text) {
        assert_eq!(find(&sessions, [&*changed]), None);
    }
}

/// The cookie with the fuzzer's text in its place, each time elsewhere.
fn changed(cookie: &str, text: &[u8]) -> Vec<Vec<u8>> {
    let mut all = Vec::new();
    for at in (0..=cookie.len()).step_by(7) {
        for length in [0, 1, text.len()] {
            let mut bytes = cookie.as_bytes().to_vec();
            let end = cookie.len().min(at + length);
            bytes.splice(at..end, text.iter().copied());
            if bytes != cookie.as_bytes() {
                all.push(bytes);
            }
        }
    }
    all
}

fn check_choices(input: &Input<'_>) {
    let seal = Choices::seal_of(&KEY);
    let mut choices = Choices::default();
    for (count, group) in input.numbers.iter().enumerate() {
        let siblings = &input.numbers[..count];
        if let Some(next) = choices.choose(*group, siblings, DAY, now()) {
            assert!(next.until(*group).is_some_and(|until| until > now()));
            choices = next;
        }
    }
    let cookie = choices.seal(&seal, input.nonce);
    let found = Choices::find(&seal, [cookie.as_bytes()].into_iter(), now());
    assert_eq!(found, choices);
    assert_eq!(
        find(&of_balancer(), [cookie.as_bytes()]),
        None,
        "another purpose"
    );
    for changed in changed(&cookie, input.text) {
        let found = Choices::find(&seal, [&*changed].into_iter(), now());
        assert_eq!(found, Choices::default());
    }
}

/// Whatever a holder of the key has sealed is read without a panic, and ends in time.
fn check_any_plain_text(input: &Input<'_>) {
    let mut plain = [0; 24];
    for (part, number) in plain.chunks_exact_mut(8).zip(input.numbers) {
        part.copy_from_slice(&number.to_be_bytes());
    }
    let cookie = Seal::new(&KEY, "weir session 1 todo").seal(plain, input.nonce);
    let sessions = sessions(CookieSource::Application("sid".to_owned()));
    let found = find(&sessions, [cookie.as_bytes()]);
    let target = Endpoint::from(([10, 0, 0, 1], 6400));
    let said = ApplicationCookie::Unmentioned;
    if let CookieUpdate::Issue(next) = sessions.cookie_update(found, said, &target, now()) {
        assert!(next.expires <= now() + DAY);
        let _ = sessions.max_age(&next, now());
    }
}
