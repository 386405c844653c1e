//! The tables, read whole.

use super::reader::{LIMITS, RESPONSE_LIMITS, Reader};
use super::table::{Case, cases};

/// Tables of what clients send.
const REQUESTS: [&str; 6] = [
    include_str!("requests/lines.txt"),
    include_str!("requests/targets.txt"),
    include_str!("requests/fields.txt"),
    include_str!("requests/framing.txt"),
    include_str!("requests/chunked.txt"),
    include_str!("requests/connection.txt"),
];

/// Tables of what targets send.
const RESPONSES: [&str; 2] = [
    include_str!("responses/heads.txt"),
    include_str!("responses/framing.txt"),
];

/// All cases, each with a reader for it.
pub(super) fn all() -> impl Iterator<Item = (Case, fn(&Case) -> Reader)> {
    requests()
        .map(|case| (case, request_reader as fn(&Case) -> Reader))
        .chain(responses().map(|case| (case, response_reader as fn(&Case) -> Reader)))
}

/// The cases of what clients send.
pub(super) fn requests() -> impl Iterator<Item = Case> {
    REQUESTS.into_iter().flat_map(cases)
}

/// The cases of what targets send.
pub(super) fn responses() -> impl Iterator<Item = Case> {
    RESPONSES.into_iter().flat_map(cases)
}

fn request_reader(_: &Case) -> Reader {
    Reader::of_requests(LIMITS)
}

fn response_reader(case: &Case) -> Reader {
    Reader::of_responses(case.method, RESPONSE_LIMITS)
}

#[test]
fn every_case_is_decided_and_forwarded_as_its_table_says() {
    let mut count = 0;
    let mut wrong = Vec::new();
    for (case, reader) in all() {
        count += 1;
        let mut reader = reader(&case);
        reader.push(&case.input);
        let decided = reader.end();
        if decided != case.decided || reader.output != case.output {
            wrong.push(format!(
                "{} ({})\n  = {}\n  = {decided}\n  < {}\n  < {}",
                case.name,
                case.section,
                case.decided,
                shown(&case.output),
                shown(&reader.output),
            ));
        }
    }
    assert!(count >= 250, "only {count} cases");
    assert!(
        wrong.is_empty(),
        "{} of {count} wrong:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
}

#[test]
fn every_case_has_a_name_of_its_own() {
    let mut names: Vec<&str> = all().map(|(case, _)| case.name).collect();
    let count = names.len();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), count);
}

fn shown(bytes: &[u8]) -> String {
    bytes.escape_ascii().to_string().replace("\\r\\n", "¶")
}
