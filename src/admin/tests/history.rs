//! The last hour, as the API tells it.

use std::time::{Duration, Instant};

use super::fixture::{Fixture, config};
use crate::admin::HistoryStatus;
use crate::admin::history::{POINT_INTERVAL, POINTS};
use crate::admin::points;
use crate::model::{AccessLog, AccessPolicy, ClientAddress, ListenerSlot, Protocol};
use crate::observe::Record;

impl Fixture {
    /// Takes so many points, as if time passed.
    fn points(&self, from: Instant, count: usize) -> Instant {
        let mut now = from;
        for _ in 0..count {
            now += POINT_INTERVAL;
            points::take(&self.context, now);
        }
        now
    }
}

fn request(fixture: &Fixture, status: u16) {
    let mut record = Record::begin(
        &fixture.context.metrics.worker(),
        AccessPolicy {
            logged: AccessLog::Off,
            ..AccessPolicy::FAILURES
        },
        Protocol::Http1,
        Instant::now(),
        (ListenerSlot(0), "http".into()),
        ClientAddress::Ip([127, 0, 0, 1].into()),
    );
    record.group = Some("todo".into());
    record.status = Some(status);
    record.complete = true;
}

/// How many values each column has.
fn lengths(history: &HistoryStatus) -> Vec<usize> {
    let loads = history.groups.values().map(|group| &group.load);
    let loads = loads.chain([&history.all]);
    let columns = loads.flat_map(|load| [&load.requests, &load.errors, &load.p99_ms]);
    columns.map(Vec::len).collect()
}

#[tokio::test]
async fn a_point_has_what_ended_since_the_last() {
    let fixture = Fixture::unserved_and_configured().await;
    let started = fixture.points(Instant::now(), 1);
    for status in [200, 200, 200, 503] {
        request(&fixture, status);
    }
    fixture.points(started, 2);
    let mut fixture = fixture;
    fixture.serve().await;
    let history = fixture.history("").await;
    assert_eq!(history.at.len(), 2, "the first reading is no point");
    assert_eq!(history.all.requests, [Some(0.8), Some(0.0)]);
    assert_eq!(history.all.errors, [Some(0.2), Some(0.0)]);
    assert!(history.all.p99_ms[0].is_some());
    assert_eq!(history.all.p99_ms[1], None);
    let todo = &history.groups["todo"];
    assert_eq!(todo.load.requests, [Some(0.8), Some(0.0)]);
    assert_eq!(todo.healthy, [Some(0), Some(0)]);
    assert_eq!(todo.desired, [None, None]);
}

#[tokio::test]
async fn points_are_bounded_and_columns_are_of_one_length() {
    let mut fixture = Fixture::unserved_and_configured().await;
    let now = fixture.points(Instant::now(), POINTS);
    let mut config = config();
    config.target_groups[1].id = "late".into();
    config.listeners.clear();
    fixture.publisher.configure(config).await.unwrap();
    fixture.points(now, 20);
    fixture.serve().await;
    let history = fixture.history("").await;
    assert_eq!(history.at.len(), POINTS);
    assert_eq!(history.groups.len(), 3);
    assert_eq!(lengths(&history), [POINTS; 12]);
    let (empty, late) = (&history.groups["empty"], &history.groups["late"]);
    assert_eq!(
        (empty.healthy[0], empty.healthy[POINTS - 1]),
        (Some(0), None)
    );
    assert_eq!((late.healthy[0], late.healthy[POINTS - 1]), (None, Some(0)));
    let minute = fixture.history("?minutes=1").await;
    assert_eq!(minute.at.len(), 12);
    assert_eq!(minute.at[11], history.at[POINTS - 1]);
    assert!(!minute.groups.contains_key("empty"));
    let all = fixture.history(&format!("?minutes={}", u64::MAX)).await;
    assert_eq!(all.at.len(), POINTS);
}

#[tokio::test]
async fn two_listeners_take_no_point_twice() {
    let fixture = Fixture::unserved();
    let now = fixture.points(Instant::now(), 3);
    points::take(&fixture.context, now + POINT_INTERVAL / 3);
    let points = fixture.context.history.last(Duration::MAX);
    assert_eq!(points.len(), 2);
}
