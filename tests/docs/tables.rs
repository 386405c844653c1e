//! Tables of the guide name everything that the code has, and nothing else.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::time::Duration;

use weir::autoscale::Reason;
use weir::model::{Algorithm, Failure, Stage};

use super::page::{Page, code_spans};

fn guide() -> Page {
    Page::read("config/README.md")
}

/// The code spans of a column of the table with this first heading.
fn column(heading: &str, column: usize) -> BTreeSet<String> {
    let page = guide();
    let rows = page.table(heading);
    assert!(rows.len() > 1, "no table with {heading}");
    rows.iter()
        .flat_map(|row| code_spans(row[column]))
        .map(str::to_owned)
        .collect()
}

fn set<'a>(names: impl IntoIterator<Item = &'a str>) -> BTreeSet<String> {
    names.into_iter().map(str::to_owned).collect()
}

#[test]
fn the_guide_has_every_algorithm() {
    let names = set(Algorithm::ALL.map(Algorithm::name));
    assert_eq!(column("`algorithm`", 0), names);
}

#[test]
fn the_guide_has_every_reason_of_a_scaling_decision() {
    assert_eq!(column("reason", 0), set(Reason::ALL.map(Reason::name)));
}

/// The failures which a client sees as an answer of Weir itself.
const ANSWERED: [Failure; 35] = [
    Failure::MalformedRequest,
    Failure::PlainHttp,
    Failure::BadHost,
    Failure::MethodNotForwarded,
    Failure::RequestHeadTimeout,
    Failure::RequestBodyTimeout,
    Failure::RequestBodyBroken,
    Failure::RequestBodyTooLarge,
    Failure::UriTooLong,
    Failure::RequestHeadTooLarge,
    Failure::NotImplemented,
    Failure::VersionNotSupported,
    Failure::NoTarget,
    Failure::AllTried,
    Failure::Maintenance(Duration::ZERO),
    Failure::Overloaded,
    Failure::QueueFull,
    Failure::QueueTimeout,
    Failure::RateLimited(Duration::ZERO),
    Failure::ListenerGone,
    Failure::ConnectError,
    Failure::TargetClosed,
    Failure::NotHttp2,
    Failure::StreamRefused,
    Failure::UpgradeNotForwarded,
    Failure::TargetBodyBroken,
    Failure::MalformedResponse,
    Failure::TargetTimeout(Stage::Connect),
    Failure::TargetTimeout(Stage::ResponseHead),
    Failure::TargetTimeout(Stage::ResponseBody),
    Failure::TargetTimeout(Stage::Request),
    Failure::ClientDeadline,
    Failure::OutOfResources,
    Failure::ShuttingDown,
    Failure::Internal,
];

#[test]
fn the_guide_has_the_status_and_the_reason_of_every_answer_of_weir_itself() {
    let page = guide();
    let rows = page.table("status");
    for failure in ANSWERED {
        let status = failure.status().as_str().to_owned();
        let row = rows.iter().find(|row| row[0].contains(&status));
        let row = row.unwrap_or_else(|| panic!("no row for {status}"));
        let is_listed = code_spans(row[1]).any(|code| code == failure.code());
        assert!(is_listed, "{status} has no {}", failure.code());
    }
    let mut codes = set(ANSWERED.map(Failure::code));
    // In brackets behind a reason: the methods which it is about.
    codes.extend(set(["CONNECT", "TRACE"]));
    assert_eq!(column("status", 1), codes);
}

/// The names of fields in a source file of the access log.
fn fields_of(file: &str) -> BTreeSet<String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("src/observe")
        .join(file);
    let text = fs::read_to_string(path).expect("a source file");
    let names = text.split("field_name!(\"").skip(1);
    let names = names.filter_map(|rest| rest.split('"').next());
    names.map(str::to_owned).collect()
}

#[test]
fn the_guide_has_every_field_of_the_access_log() {
    let mut fields = fields_of("access_log.rs");
    fields.extend(fields_of("route_fields.rs"));
    assert!(fields.len() > 20, "{fields:?}");
    assert_eq!(column("field", 0), fields);
}
