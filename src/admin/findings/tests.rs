//! Each fault that an operator must find, staged in a document.

use std::time::Duration;

use serde_json::{Value, json};

use super::of;
use crate::admin::finding::{Finding, Severity};
use crate::admin::status::Status;
use crate::model::{Blame, Failure};

const NOW: &str = "2026-01-02T06:09:05Z";

/// A target that serves well.
fn target(port: u16) -> Value {
    json!({
        "address": format!("127.0.0.1:{port}"), "weight": 1, "registration": "active",
        "draining": null, "state": "healthy", "reason": null, "since": "2026-01-02T03:04:05Z",
        "share": 100, "ejected": null, "ejections": {},
        "anomaly_detection": { "result": "normal", "mitigation_in_effect": false },
        "in_flight": 0, "requests": 1000,
        "minute": { "seconds": 60.0, "requests": 100, "errors": 0,
            "p50_ms": 5.0, "p95_ms": 20.0, "p99_ms": 30.0 },
        "check": { "method": "GET", "url": format!("http://127.0.0.1:{port}/healthz"),
            "wanted": "200-299", "interval_seconds": 5.0, "timeout_seconds": 2.0 },
        "checks": 9, "failed_checks": 0, "last_checks": []
    })
}

fn failed(target: &mut Value, status: Option<u16>, reason: &str, detail: &str) {
    target["state"] = "unhealthy".into();
    target["since"] = "2026-01-02T06:08:05Z".into();
    target["last_checks"] = json!([{ "at": NOW, "ok": false, "status": status, "ms": 1.0,
        "reason": reason, "detail": detail }]);
}

/// A Weir in which nothing is wrong.
fn sample() -> Value {
    json!({
        "version": "1.2.3", "pid": 7, "phase": "serving", "snapshot": 7,
        "started": "2026-01-02T03:04:05Z", "now": NOW, "uptime_seconds": 11100.0,
        "process": { "memory_bytes": 1, "open_files": 100, "max_open_files": 65536,
            "access_lines_dropped": 0, "event_lines_dropped": 0, "last_event": 1,
            "followers": 0, "followers_lost": 0 },
        "listeners": [{ "name": "http", "bind": "127.0.0.1:8080", "protocol": "http1",
            "max_connections": 1000, "connections": 10, "rules": 1, "default_action": "forward todo",
            "rule_hits": [
                { "priority": 10, "conditions": ["path is /api/*"], "action": "forward todo",
                  "hits": 5, "last_hit": NOW },
                { "priority": null, "conditions": [], "action": "forward todo", "hits": 995,
                  "last_hit": NOW }],
            "certificates": [{ "file": "/etc/a.pem", "names": ["a.example"],
                "expires": "2026-06-01T00:00:00Z" }] }],
        "target_groups": [{ "name": "todo", "algorithm": "round_robin", "checked": true,
            "fail_open": false, "failing_open": false, "min_healthy": "1",
            "max_concurrency": 10, "waiting": 0, "queue_length": 100,
            "targets": [target(1), target(2), target(3)],
            "desired": 3, "fault": null, "autoscaling": null,
            "replicas": [{ "name": "todo.1", "pid": 42, "address": "127.0.0.1:1",
                "state": "running", "restarts": 7, "since": "2026-01-02T03:04:05Z",
                "cpu": null, "memory": null }] }]
    })
}

fn find(change: impl FnOnce(&mut Value)) -> Vec<Finding> {
    let mut document = sample();
    change(&mut document);
    of(&serde_json::from_value::<Status>(document).unwrap())
}

/// The one finding after a change.
fn found(change: impl FnOnce(&mut Value)) -> Finding {
    let mut found = find(change);
    assert_eq!(found.len(), 1, "{found:#?}");
    found.remove(0)
}

fn group(change: impl FnOnce(&mut Value)) -> Finding {
    found(|document| change(&mut document["target_groups"][0]))
}

#[track_caller]
fn assert_is(finding: &Finding, severity: Severity, kind: &str, subject: &str, parts: &[&str]) {
    let is_like = (finding.severity, finding.kind.as_str()) == (severity, kind);
    assert!(is_like && finding.subject() == subject, "{finding:#?}");
    for part in parts {
        assert!(finding.text.contains(part), "{part}: {finding:#?}");
    }
}

use Severity::{Error, Info, Warning};

#[test]
fn nothing_is_wrong_with_one_that_serves() {
    assert_eq!(find(|_| {}), []);
}

#[test]
fn a_dead_target_is_found() {
    let finding = group(|group| {
        failed(
            &mut group["targets"][1],
            None,
            "Target.ConnectionError",
            "refused",
        );
    });
    let parts = [
        "fails its checks for 1m 0s",
        "GET http://127.0.0.1:2/healthz: refused",
    ];
    assert_is(
        &finding,
        Warning,
        "target_unhealthy",
        "todo 127.0.0.1:2",
        &parts,
    );
}

#[test]
fn a_slow_target_is_found_beside_its_peers() {
    let finding = group(|group| group["targets"][2]["minute"]["p95_ms"] = 400.0.into());
    let parts = ["p95 400 ms in the last minute, 20 ms"];
    assert_is(&finding, Warning, "target_slow", "todo 127.0.0.1:3", &parts);
    let few = |document: &mut Value| {
        let minute = &mut document["target_groups"][0]["targets"][2]["minute"];
        (minute["p95_ms"], minute["requests"]) = (400.0.into(), 9.into());
    };
    assert_eq!(find(few), [], "of nine requests one may be slow");
}

#[test]
fn a_target_that_answers_500_is_found() {
    let finding = group(|group| group["targets"][0]["minute"]["errors"] = 90.into());
    let parts = ["5xx to 90 of 100 requests of the last minute"];
    assert_is(&finding, Error, "target_errors", "todo 127.0.0.1:1", &parts);
    let finding = group(|group| group["targets"][0]["minute"]["errors"] = 10.into());
    assert_eq!(finding.severity, Warning);
}

#[test]
fn a_wrong_health_path_is_one_problem_of_the_group() {
    let finding = group(|group| {
        for target in group["targets"].as_array_mut().unwrap() {
            failed(
                target,
                Some(404),
                "Target.ResponseCodeMismatch",
                "status 404",
            );
        }
    });
    let parts = [
        "all 3 targets",
        "status 404",
        "/healthz is to answer 200-299",
        "requests fail",
    ];
    assert_is(&finding, Error, "wrong_health_check", "todo", &parts);
}

#[test]
fn a_group_without_a_healthy_target_says_why() {
    let all = |status, reason, detail| {
        group(|group| {
            group["failing_open"] = true.into();
            for target in group["targets"].as_array_mut().unwrap() {
                failed(target, status, reason, detail);
            }
        })
    };
    let finding = all(None, "Target.ConnectionError", "connection refused");
    let parts = ["connection refused", "requests go to all of them"];
    assert_is(&finding, Error, "no_healthy_target", "todo", &parts);
    let finding = all(Some(503), "Target.ResponseCodeMismatch", "status 503");
    assert_eq!(finding.kind, "no_healthy_target", "503 is no wrong path");
}

#[test]
fn a_group_that_fails_open_with_few_healthy_targets_is_found() {
    let found = find(|document| {
        let group = &mut document["target_groups"][0];
        group["failing_open"] = true.into();
        group["min_healthy"] = "90%".into();
        failed(
            &mut group["targets"][0],
            None,
            "Target.Timeout",
            "no answer",
        );
    });
    let kinds: Vec<_> = found.iter().map(|finding| finding.kind.as_str()).collect();
    assert_eq!(kinds, ["failing_open", "target_unhealthy"]);
    assert!(
        found[0]
            .text
            .contains("2 of 3 targets are healthy, fewer than 90%")
    );
}

#[test]
fn ejections_and_those_that_are_withheld_are_found() {
    let finding = group(|group| {
        group["targets"][0]["ejection_withheld"] =
            "5 errors in a row; max_ejected lets no more".into();
    });
    let parts = ["still gets requests", "max_ejected"];
    assert_is(
        &finding,
        Warning,
        "ejection_withheld",
        "todo 127.0.0.1:1",
        &parts,
    );
    let finding = group(|group| {
        group["targets"][0]["ejected"] = json!({ "reason": "consecutive_errors",
            "detail": "5 errors in a row", "until": "2026-01-02T06:09:35Z", "times": 1 });
    });
    let parts = ["for another 30s: 5 errors in a row"];
    assert_is(
        &finding,
        Warning,
        "target_ejected",
        "todo 127.0.0.1:1",
        &parts,
    );
}

#[test]
fn a_rule_that_never_matched_is_told_when_it_could_have() {
    let unused = |document: &mut Value| document["listeners"][0]["rule_hits"][0]["hits"] = 0.into();
    let finding = found(unused);
    let parts = ["rule 10 (path is /api/*) has matched none of 995 requests"];
    assert_is(
        &finding,
        Info,
        "rule_never_matched",
        "listener http",
        &parts,
    );
    let early = |document: &mut Value| {
        unused(document);
        document["uptime_seconds"] = 59.0.into();
    };
    assert_eq!(find(early), []);
    let idle = |document: &mut Value| {
        unused(document);
        document["listeners"][0]["rule_hits"][1]["hits"] = 99.into();
    };
    assert_eq!(find(idle), []);
}

#[test]
fn the_limit_of_connections_is_found_before_and_after() {
    let listener = |fields: Value| {
        found(|document| {
            for (name, value) in fields.as_object().unwrap() {
                document["listeners"][0][name] = value.clone();
            }
        })
    };
    let full = listener(json!({ "connections": 1000, "waiting": 1 }));
    let parts = ["all of its 1000 connections are open; 1 client wait"];
    assert_is(&full, Error, "connection_limit", "listener http", &parts);
    let near = listener(json!({ "connections": 900 }));
    assert_is(
        &near,
        Warning,
        "connection_limit",
        "listener http",
        &["900 of 1000"],
    );
    let over = listener(json!({ "limit_reached": "2026-01-02T06:08:05Z" }));
    assert_is(
        &over,
        Warning,
        "connection_limit",
        "listener http",
        &["1m 0s ago"],
    );
    let files = listener(json!({ "connections": 20, "waiting": 3 }));
    assert_is(
        &files,
        Error,
        "connection_limit",
        "listener http",
        &["although 20 of 1000"],
    );
    assert!(files.hint.unwrap().contains("LimitNOFILE"));
}

#[test]
fn a_full_queue_is_found_by_what_waits_and_by_what_failed() {
    let finding = group(|group| group["waiting"] = 100.into());
    assert_is(
        &finding,
        Error,
        "queue_full",
        "todo",
        &["100 of 100 requests wait"],
    );
    let finding = group(|group| group["waiting"] = 80.into());
    assert_eq!(finding.severity, Warning);
    let finding = group(|group| {
        group["minute"] =
            json!({ "seconds": 60.0, "failures": { "queue_full": 7 }, "retries": {} });
    });
    let parts = ["7 requests of the last minute", "and the queue full"];
    assert_is(&finding, Error, "queue_full", "todo", &parts);
}

#[test]
fn requests_that_fail_are_found_by_their_reasons() {
    let failing = |failures: Value| {
        move |group: &mut Value| {
            group["minute"] = json!({ "seconds": 60.0, "failures": failures, "retries": {} });
        }
    };
    let finding = group(failing(json!({ "target_closed": 1, "connect_error": 2,
        "client_gone": 90, "tunnel_timeout": 90 })));
    let parts = [
        "3 requests of the last minute failed: 2 connect_error (the target could not be reached), \
         1 target_closed (",
    ];
    assert_is(&finding, Error, "requests_failing", "todo", &parts);
    let finding = group(failing(json!({ "request_timeout": 2 })));
    assert_eq!(finding.severity, Warning, "two of three hundred");
    let finding = group(failing(json!({ "no_target": 9 })));
    assert_eq!(finding.kind, "requests_failing", "it has targets");
    let others = json!({ "client_gone": 90, "maintenance": 9, "shutting_down": 9 });
    assert_eq!(
        find(|document| failing(others)(&mut document["target_groups"][0])),
        []
    );
}

#[test]
fn no_client_is_told_of_as_a_failing_request() {
    let told = super::failures::TOLD;
    let blames_client = |failure: &Failure| failure.blame() == Blame::Client;
    assert!(!told.iter().any(blames_client));
}

#[test]
fn a_target_that_does_worse_than_its_peers_is_found() {
    let find = |fields: Value, share: u32| {
        group(|group| {
            group["targets"][0]["anomaly_detection"] = fields;
            group["targets"][0]["share"] = share.into();
        })
    };
    let detected = json!({ "result": "anomalous", "mitigation_in_effect": false });
    let finding = find(detected, 100);
    let parts = ["than its peers", "its whole share"];
    assert_is(
        &finding,
        Warning,
        "target_anomalous",
        "todo 127.0.0.1:1",
        &parts,
    );
    let mitigated = json!({ "result": "anomalous", "mitigation_in_effect": true });
    assert!(find(mitigated, 25).text.contains("25% of its share"));
    let finding = group(|group| {
        group["targets"][0]["anomaly_detection"]["result"] = "anomalous".into();
        group["targets"][0]["minute"]["errors"] = 90.into();
    });
    assert_eq!(finding.kind, "target_errors", "one problem is told once");
}

#[test]
fn a_target_that_gets_no_new_requests_is_told() {
    let finding = group(|group| {
        let target = &mut group["targets"][1];
        target["registration"] = "draining".into();
        target["in_flight"] = 1.into();
        target["draining"] = json!({ "reason": "Target.DeregistrationInProgress",
            "since": "2026-01-02T06:08:05Z", "seconds_left": null });
        // Neither is of consequence then.
        target["weight"] = 0.into();
        failed(target, None, "Target.Timeout", "no answer");
    });
    let parts = ["drains for 1m 0s", "1 request is left"];
    assert_is(
        &finding,
        Info,
        "target_draining",
        "todo 127.0.0.1:2",
        &parts,
    );
    let finding = group(|group| group["targets"][2]["weight"] = 0.into());
    assert_is(
        &finding,
        Info,
        "target_without_weight",
        "todo 127.0.0.1:3",
        &["no new requests"],
    );
}

#[test]
fn a_spent_budget_of_retries_is_found() {
    let finding = group(|group| {
        group["retries"] = json!({ "budget_percent": 20, "free": 3, "in_flight": 0,
            "recent_requests": 0, "recent_retries": 0, "total": {} });
        group["minute"] = json!({ "seconds": 30.0, "failures": {},
            "retries": { "budget_exhausted": 4 } });
    });
    let parts = [
        "4 retries of the last 30s were not made",
        "20 retries for a hundred",
    ];
    assert_is(&finding, Warning, "retry_budget", "todo", &parts);
}

#[test]
fn a_group_without_targets_is_found_unless_it_is_scaled_to_zero() {
    let empty = |document: &mut Value, desired: Value| {
        document["target_groups"][0]["targets"] = json!([]);
        document["target_groups"][0]["desired"] = desired;
    };
    let finding = found(|document| empty(document, Value::Null));
    assert_is(&finding, Warning, "no_targets", "todo", &["no targets"]);
    assert_eq!(find(|document| empty(document, 0.into())), []);
    let finding = found(|document| {
        empty(document, 0.into());
        document["target_groups"][0]["minute"] =
            json!({ "seconds": 60.0, "failures": { "no_target": 3 }, "retries": {} });
    });
    assert_is(&finding, Error, "no_targets", "todo", &["3 requests"]);
}

#[test]
fn a_replica_that_exits_again_and_again_is_found() {
    let run = |at: &str| {
        json!({ "id": 0, "name": "todo.1", "pid": 41, "address": null, "state": "stopped",
            "desired_state": "running", "restarts": 1, "started": null, "stopped": at,
            "reason": "exited", "exit": "exit status: 7" })
    };
    let stage = |group: &mut Value, first: &str| {
        let runs = [first, "2026-01-02T06:08:50Z", NOW].map(run);
        group["stopped_replicas"] = json!(runs);
        group["replicas"][0]["last_exit"] = json!({ "at": NOW, "status": "exit status: 7" });
    };
    let finding = group(|group| stage(group, "2026-01-02T06:00:00Z"));
    let parts = ["3 times in 10 minutes", "0s ago with exit status: 7"];
    assert_is(
        &finding,
        Error,
        "replica_crash_loop",
        "todo replica todo.1",
        &parts,
    );
    let slow = |document: &mut Value| {
        stage(&mut document["target_groups"][0], "2026-01-02T05:00:00Z");
    };
    assert_eq!(find(slow), [], "two are none");
}

#[test]
fn faults_of_the_provider_and_limits_of_scaling_are_found() {
    let finding = group(|group| {
        group["fault"] = json!({ "message": "the engine does not answer",
            "since": "2026-01-02T06:08:05Z" });
    });
    let parts = ["for 1m 0s: the engine does not answer"];
    assert_is(&finding, Error, "provider_fault", "todo", &parts);
    let scaling = json!({ "profile": "fast", "min": 1, "max": 4, "desired": 4, "running": 4,
        "warming": 0, "is_scaler": true, "alarm": "high", "outcome": null, "reason": null,
        "metrics": [], "out_cooldown": null, "in_cooldown": null, "fault": null,
        "last_change": null, "evaluations": [] });
    let finding = group(|group| group["autoscaling"] = scaling.clone());
    assert_is(
        &finding,
        Warning,
        "at_max",
        "todo",
        &["4 replicas, the most"],
    );
    let finding = group(|group| {
        group["autoscaling"] = scaling.clone();
        group["autoscaling"]["alarm"] = "ok".into();
        group["autoscaling"]["metrics"] =
            json!([{ "metric": "cpu", "value": null, "missing": "last measured 7 s ago" }]);
    });
    assert_is(
        &finding,
        Warning,
        "metric_missing",
        "todo",
        &["cpu", "7 s ago"],
    );
    let finding = group(|group| {
        group["autoscaling"] = scaling.clone();
        group["autoscaling"]["alarm"] = "ok".into();
        group["autoscaling"]["unrecorded"] = 2.into();
    });
    let parts = ["2 decisions of its autoscaling could not be recorded"];
    assert_is(&finding, Warning, "decisions_unrecorded", "todo", &parts);
}

#[test]
fn a_name_that_does_not_resolve_and_a_maintenance_are_found() {
    let source = |targets: Value| {
        json!([{ "kind": "dns", "name": "todo.example:6400", "targets": targets,
            "last_success": "2026-01-02T06:08:05Z", "next_lookup": null,
            "last_error": "no such name", "failures": 3, "failures_total": 3 }])
    };
    let finding = group(|group| group["discovery"] = source(json!(["10.0.0.1:6400"])));
    let parts = [
        "dns todo.example:6400 gives no targets: no such name",
        "1m 0s ago",
        "its last target stays",
    ];
    assert_is(&finding, Warning, "discovery", "todo", &parts);
    let finding = group(|group| group["discovery"] = source(json!([])));
    assert_eq!(finding.severity, Error);
    assert!(!finding.text.contains("stay"), "{finding:#?}");
    let since = json!({ "retry_after_seconds": 30.0,
        "since": "2026-01-02T06:08:05Z" });
    let finding = group(|group| group["maintenance"] = since);
    assert_is(&finding, Info, "maintenance", "todo", &["for 1m 0s"]);
}

#[test]
fn a_refused_reload_is_found_with_its_first_mistake() {
    let finding = found(|document| {
        document["reload_refused"] = true.into();
        document["last_reload"] = json!({ "at": "2026-01-02T06:08:05Z", "accepted": false,
            "summary": "2 mistakes", "problems": ["unknown key `acess_log`", "b"] });
    });
    let parts = ["the reload 1m 0s ago was refused: unknown key `acess_log`, and 1 mistake more"];
    assert_is(&finding, Error, "reload_refused", "", &parts);
}

#[test]
fn certificates_are_found_before_they_expire_and_after() {
    let expires = |at: &str| {
        found(|document| document["listeners"][0]["certificates"][0]["expires"] = at.into())
    };
    let parts = ["/etc/a.pem for a.example has expired 1m 5s ago"];
    let finding = expires("2026-01-02T06:08:00Z");
    assert_is(
        &finding,
        Error,
        "certificate_expired",
        "listener http",
        &parts,
    );
    let finding = expires("2026-01-04T06:09:05Z");
    assert_is(
        &finding,
        Warning,
        "certificate_expiring",
        "listener http",
        &["in 2d 0h"],
    );
    let finding = found(|document| {
        let listener = &mut document["listeners"][0];
        listener["acme"] = json!([{ "domain": "a.example", "state": "waiting", "failures": 2,
            "last_error": "no route", "next_try": "2026-01-02T07:09:05Z" }]);
        // One that is ordered may be short-lived.
        listener["certificates"][0]["expires"] = "2026-01-04T06:09:05Z".into();
    });
    let parts = ["a.example", "2 times: no route", "in 1h 0m"];
    assert_is(
        &finding,
        Warning,
        "certificate_order",
        "listener http",
        &parts,
    );
}

#[test]
fn a_full_disk_and_a_slow_log_are_found() {
    let process = |fields: Value| {
        found(|document| {
            for (name, value) in fields.as_object().unwrap() {
                document["process"][name] = value.clone();
            }
        })
    };
    let finding = process(json!({ "log_fault": "the access log, /a: No space left on device" }));
    assert_is(
        &finding,
        Error,
        "log_dropped",
        "",
        &["cannot write the access log, /a: No space"],
    );
    let slow = json!({ "recent_lines_dropped": 5, "access_lines_dropped": 9 });
    let finding = process(slow);
    assert_is(
        &finding,
        Warning,
        "log_dropped",
        "",
        &["5 lines", "9 since the start"],
    );
}

#[test]
fn too_few_descriptors_are_found() {
    let process = |open: usize, most: usize| {
        found(|document| {
            document["process"]["open_files"] = open.into();
            document["process"]["max_open_files"] = most.into();
        })
    };
    let finding = process(95, 1024);
    let parts = [
        "1024 file descriptors are too few: about 448 clients",
        "allow 1000",
    ];
    assert_is(&finding, Warning, "descriptors_low", "", &parts);
    let finding = process(950, 1024);
    assert_is(&finding, Error, "descriptors_low", "", &["950 of 1024"]);
}

#[test]
fn what_a_start_waits_for_and_an_end_are_told() {
    let finding = found(|document| document["waits"] = json!(["targets of todo"]));
    assert_is(&finding, Warning, "waiting", "", &["targets of todo"]);
    let finding = found(|document| document["phase"] = "lame_duck".into());
    assert_is(&finding, Warning, "stopping", "", &["lame duck"]);
}

#[test]
fn many_alike_are_folded_and_the_most_severe_come_first() {
    let found = find(|document| {
        let group = &mut document["target_groups"][0];
        let targets = (1..=31).map(|port| {
            let mut target = target(port);
            if port > 1 {
                failed(&mut target, None, "Target.Timeout", "no answer");
            }
            target
        });
        group["targets"] = targets.collect();
        group["waiting"] = 100.into();
    });
    assert_eq!(found.len(), 12, "{found:#?}");
    assert_eq!(found[0].kind, "queue_full");
    let last = found.last().unwrap();
    assert_is(
        last,
        Warning,
        "target_unhealthy",
        "todo",
        &["20 more like this"],
    );
}

#[test]
fn a_time_within_the_first_minute_is_named() {
    assert_eq!(super::words::window(60.0), "the last minute");
    assert_eq!(super::words::window(0.2), "the last 1s");
    assert_eq!(crate::admin::age(Duration::from_secs(61)), "1m 1s");
}
