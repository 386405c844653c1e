//! The status and metrics pages.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use prost::Message;

use super::fixture::{Fixture, config};
use crate::admin::{metrics, paths};
use crate::lifecycle::Phase;
use crate::observe::prometheus;
use crate::observe::protobuf::MetricFamily;
use crate::target::KeptCount;

#[tokio::test]
async fn the_status_shows_listeners_and_groups_in_their_order() {
    let fixture = Fixture::configured().await;
    fixture.context.lifecycle.enter(Phase::Serving);
    let status = fixture.status().await;
    assert_eq!(status.version, env!("CARGO_PKG_VERSION"));
    assert_eq!((status.phase.as_str(), status.snapshot), ("serving", 1));
    assert!(status.started <= status.now);
    let listeners: Vec<_> = status
        .listeners
        .iter()
        .map(|l| (l.name.as_str(), l.rules, l.default_action.as_str()))
        .collect();
    let expected = [
        ("http", 1, "forward todo (90), empty (10)"),
        ("other", 1, "redirect 301 https://#{host}/#{path}"),
    ];
    assert_eq!(listeners, expected);
    let [todo, empty] = status.target_groups.as_slice() else {
        panic!("{:?}", status.target_groups);
    };
    assert_eq!((todo.name.as_str(), todo.checked), ("todo", true));
    assert_eq!(todo.algorithm, "round_robin");
    assert_eq!((todo.min_healthy.as_str(), todo.fail_open), ("50%", false));
    assert_eq!((empty.name.as_str(), empty.targets.len()), ("empty", 0));
}

#[tokio::test]
async fn the_status_shows_why_a_target_is_out() {
    let fixture = Fixture::configured().await;
    fixture.pass(0);
    fixture.fail(0, "\u{1b}[2J \"no\"");
    let _lease = fixture.lease();
    let status = fixture.status().await;
    let [sick, new] = status.target_groups[0].targets.as_slice() else {
        panic!("{status:?}");
    };
    assert_eq!((sick.state.as_str(), sick.weight), ("unhealthy", 1));
    assert_eq!(sick.reason.as_deref(), Some("Target.ResponseCodeMismatch"));
    assert_eq!(
        sick.since,
        Some(Timestamp::from_millisecond(1_500).unwrap())
    );
    assert_eq!((sick.in_flight, sick.requests), (1, 1));
    let [last, first] = sick.last_checks.as_slice() else {
        panic!("{sick:?}");
    };
    assert_eq!((last.ok, last.status, first.ok), (false, Some(503), true));
    assert_eq!(last.elapsed, Duration::from_micros(2_500));
    assert_eq!(last.detail.as_deref(), Some("\u{1b}[2J \"no\""));
    assert_eq!((new.state.as_str(), new.since), ("initial", None));
    assert_eq!(new.reason.as_deref(), Some("Elb.InitialHealthChecking"));
    let (_, json) = fixture.get(paths::STATUS).await;
    assert!(json.contains(r#""at": "1970-01-01T00:00:01.5Z""#), "{json}");
    assert!(json.contains(r#""ms": 2.5"#), "{json}");
}

#[tokio::test]
async fn the_metrics_page_is_legal_and_shows_the_moment() {
    let fixture = Fixture::new().await;
    assert_eq!(fixture.page().await.value("weir_ready"), Some(0.0));
    fixture.publisher.configure(config()).await.unwrap();
    fixture.context.lifecycle.enter(Phase::Serving);
    fixture.pass(0);
    fixture.fail(1, "");
    let _lease = fixture.lease();
    let page = fixture.page().await;
    let target = |name: &str, port: u16| {
        let labels = format!(r#"target_group="todo",target="127.0.0.1:{port}""#);
        page.value(&format!("{name}{{{labels}}}"))
    };
    assert_eq!(target("weir_target_in_flight", 6400), Some(1.0));
    assert_eq!(target("weir_target_health", 6400), Some(1.0));
    assert_eq!(target("weir_target_health", 6401), Some(0.0));
    let targets = |group: &str, state: &str| {
        let labels = format!(r#"target_group="{group}",state="{state}""#);
        page.value(&format!("weir_targets{{{labels}}}"))
    };
    assert_eq!(targets("todo", "healthy"), Some(1.0));
    assert_eq!(targets("todo", "unhealthy"), Some(1.0));
    assert_eq!(targets("todo", "draining"), Some(0.0));
    assert_eq!(targets("empty", "healthy"), Some(0.0));
    let failing_open = r#"weir_target_group_failing_open{target_group="todo"}"#;
    assert_eq!(page.value(failing_open), Some(0.0));
    assert_eq!(page.value("weir_ready"), Some(1.0));
    assert_eq!(page.value("weir_snapshot_version"), Some(1.0));
    assert!(page.value("process_start_time_seconds") > Some(1.6e9));
    if cfg!(target_os = "linux") {
        assert!(page.value("process_resident_memory_bytes") > Some(1e6));
        assert!(page.value("process_open_fds") > Some(3.0));
    }
}

#[tokio::test]
async fn the_format_is_what_the_scraper_asks_for() {
    let fixture = Fixture::new().await;
    let (_, head, _) = fixture.ask("GET", paths::METRICS).await;
    assert!(head.contains("application/openmetrics-text; version=1.0.0"));
    let browser = "GET /metrics HTTP/1.1\r\nconnection: close\r\naccept: text/html\r\n\r\n";
    let answer = fixture.send(browser).await;
    assert!(answer.contains("text/plain; version=0.0.4"), "{answer}");
    let counter = "# TYPE weir_connections_total counter\nweir_connections_total 0\n";
    assert!(answer.contains(counter), "{answer}");
    assert!(!answer.contains("# EOF"), "{answer}");
}

/// Name and series of each family, in either format.
fn families(text: &str) -> BTreeMap<String, usize> {
    let mut families = BTreeMap::new();
    let mut name = "";
    for line in text.lines() {
        if let Some(found) = line.strip_prefix("# TYPE ") {
            name = found.split(' ').next().unwrap();
            families.insert(name.to_owned(), 0);
        } else if !line.starts_with('#') && !line.contains("_bucket{") && !line.contains("_sum") {
            *families.get_mut(name).unwrap() += 1;
        }
    }
    families
}

#[tokio::test]
async fn protobuf_has_what_the_text_has() {
    let fixture = Fixture::configured().await;
    let text = prometheus(&metrics::page(&fixture.context).unwrap());
    let page = metrics::protobuf_page(&fixture.context).unwrap();
    let mut rest = &page[..];
    let mut binary = BTreeMap::new();
    while !rest.is_empty() {
        let family = MetricFamily::decode_length_delimited(&mut rest).unwrap();
        binary.insert(family.name.unwrap(), family.metric.len());
    }
    assert_eq!(binary, families(&text));
}

#[tokio::test]
async fn connections_and_their_limits_are_shown_and_on_the_metrics_page() {
    let fixture = Fixture::configured().await;
    let _lease = fixture.lease();
    let kept = |idle, http2| KeptCount { idle, http2 };
    let snapshot = fixture.context.reader.load_full();
    let target = &snapshot.groups()[0].targets[0].target;
    target.kept().replace(kept(0, 0), kept(3, 0));
    let shown = fixture.status().await.target_groups[0].targets[0].clone();
    assert_eq!((shown.idle_connections, shown.open_connections), (3, 4));
    assert_eq!(shown.source.as_deref(), Some("static"));
    let page = fixture.page().await;
    let labels = r#"{target_group="todo",target="127.0.0.1:6400"}"#;
    let of_target = |name: &str| page.value(&format!("weir_target_connections{name}{labels}"));
    assert_eq!((of_target(""), of_target("_idle")), (Some(4.0), Some(3.0)));
    let listener = |name: &str| page.value(&format!(r#"weir_listener_{name}{{listener="http"}}"#));
    assert_eq!(
        (listener("connections"), listener("max_connections")),
        (Some(0.0), Some(100.0))
    );
    assert!(
        page.value(r#"weir_queue_limit{target_group="todo"}"#)
            .is_some()
    );
}
