//! What Weir sends is read by a second parser as what Weir took it for: as many messages, with the
//! same meaning. And what Weir takes without a word against it, the second parser takes as well.

use proptest::prelude::*;
use proptest::sample::{Index, select};
use weir::http1::{Class, Limits};
use weir::message::Method;

use super::reader::{Reader, meanings};
use super::{reference, tables};

/// Bytes that end, hide or join something in one parser or another.
const NASTY: &[&[u8]] = &[
    b"\r",
    b"\n",
    b"\r\n",
    b"\r\n\r\n",
    b"\0",
    b" ",
    b"\t",
    b"\x0b",
    b"\x0c",
    b"\x7f",
    b"\x85",
    b"\xa0",
    b"\xff",
    b":",
    b";",
    b",",
    b"=",
    b"\"",
    b"\\",
    b"_",
    b"-",
    b"+",
    b"0",
    b"1",
    b"5",
    b"0x",
    b"a",
    b"f",
    b"#",
    b"?",
    b"/",
    b"*",
    b"@",
    b"%",
    b"%41",
    b"[",
    b"0\r\n\r\n",
    b"chunked",
    b"identity",
    b"http://b/",
    b"Content-Length: 3\r\n",
    b"Content-Length: 0\r\n",
    b"Transfer-Encoding: chunked\r\n",
    b"Transfer-Encoding: x\r\n",
    b"Host: b\r\n",
    b"Connection: close\r\n",
    b" folded\r\n",
    b"GET /smuggled HTTP/1.1\r\nHost: b\r\n\r\n",
    b" HTTP/1.1",
    b" HTTP/1.0",
    b"HTTP/1.1 200 OK\r\n\r\n",
];

/// A change of bytes: what is put where, and how many bytes make way for it.
#[derive(Clone, Debug)]
struct Mutation {
    at: Index,
    removed: usize,
    added: &'static [u8],
}

fn mutation() -> impl Strategy<Value = Mutation> {
    let added = prop_oneof![1 => Just(&b""[..]), 4 => select(NASTY)];
    (any::<Index>(), 0..4_usize, added).prop_map(|(at, removed, added)| Mutation {
        at,
        removed,
        added,
    })
}

fn mutate(mut bytes: Vec<u8>, mutations: &[Mutation]) -> Vec<u8> {
    for mutation in mutations {
        let at = mutation.at.index(bytes.len() + 1);
        let end = bytes.len().min(at + mutation.removed);
        bytes.splice(at..end, mutation.added.iter().copied());
    }
    bytes
}

fn field() -> impl Strategy<Value = String> {
    let name = select(vec![
        "X-A",
        "x-b",
        "Accept",
        "Cookie",
        "Via",
        "Content-Type",
        "Expect",
        "Keep-Alive",
        "Te",
        "Trailer",
        "Upgrade",
        "X-Forwarded-For",
        "Range",
    ]);
    (name, "[!-~]([ -~]{0,12}[!-~])?").prop_map(|(name, value)| format!("{name}: {value}\r\n"))
}

fn chunk_of(data: &str) -> String {
    format!("{:x}\r\n{data}\r\n", data.len())
}

/// A body with the field that frames it.
fn body() -> impl Strategy<Value = (String, String)> {
    let text = "[ -~\r\n]{0,20}";
    prop_oneof![
        Just((String::new(), String::new())),
        text.prop_map(|text| (format!("Content-Length: {}\r\n", text.len()), text)),
        (
            proptest::collection::vec("[ -~\r\n]{1,9}", 0..3),
            proptest::collection::vec(field(), 0..2)
        )
            .prop_map(|(chunks, trailers)| {
                let mut body = String::new();
                for chunk in chunks {
                    body.push_str(&chunk_of(&chunk));
                }
                body.push_str("0\r\n");
                body.extend(trailers);
                body.push_str("\r\n");
                ("Transfer-Encoding: chunked\r\n".to_owned(), body)
            }),
    ]
}

fn head_and_body(line: String) -> impl Strategy<Value = String> {
    let before = proptest::collection::vec(field(), 0..3);
    let after = proptest::collection::vec(field(), 0..3);
    (Just(line), before, body(), after).prop_map(|(line, before, (framing, body), after)| {
        format!(
            "{line}{}{framing}{}\r\n{body}",
            before.concat(),
            after.concat()
        )
    })
}

fn request() -> impl Strategy<Value = String> {
    let method = select(vec!["POST", "PUT", "GET", "HEAD", "DELETE", "OPTIONS", "X"]);
    let target = "/[a-z./]{0,8}(\\?[a-z&=]{0,5})?";
    (method, target)
        .prop_map(|(method, target)| format!("{method} {target} HTTP/1.1\r\nHost: a.example\r\n"))
        .prop_flat_map(head_and_body)
}

fn response() -> impl Strategy<Value = String> {
    select(vec![200, 201, 204, 301, 304, 404, 500, 100, 103, 101])
        .prop_map(|status| format!("HTTP/1.1 {status} Reason\r\n"))
        .prop_flat_map(head_and_body)
}

/// What was complete went on, and nothing else.
fn check_forwarded(reader: &Reader, method: Option<Method>) -> Result<(), TestCaseError> {
    if reader.messages.is_empty() {
        prop_assert!(reader.output.is_empty());
        return Ok(());
    }
    let read = match method {
        None => reference::requests(&reader.output),
        Some(method) => reference::responses(&reader.output, method),
    };
    let read = read.map_err(|fault| {
        TestCaseError::fail(format!("{fault}: {}", reader.output.escape_ascii()))
    })?;
    prop_assert_eq!(meanings(&read), meanings(&reader.messages));
    Ok(())
}

/// If Weir has nothing against the bytes, the reference reads the same in them.
fn check_taken(reader: &Reader, decided: &str, bytes: &[u8]) -> Result<(), TestCaseError> {
    let is_compliant = reader
        .parsed
        .iter()
        .all(|parsed| parsed.class() == Class::Compliant);
    let is_whole = !decided.contains("incomplete") && !decided.contains("refused");
    let is_plain = !bytes.windows(8).any(|part| part == b"HTTP/1.0") // closes, and may lack Host
        && !bytes.windows(7).any(|part| part == b"http://")
        && !decided.contains("close");
    if is_compliant && is_whole && is_plain && !reader.messages.is_empty() {
        let read = match reference::requests(bytes) {
            Ok(read) => read,
            // The reference knows no extensions of chunks.
            Err(_) if bytes.contains(&b';') => return Ok(()),
            Err(fault) => {
                return Err(TestCaseError::fail(format!(
                    "{fault}: {}",
                    bytes.escape_ascii()
                )));
            }
        };
        let count = read.len();
        prop_assert_eq!(count, reader.messages.len(), "{}", bytes.escape_ascii());
        for (theirs, ours) in read.iter().zip(&reader.messages) {
            prop_assert_eq!(&theirs.start, &ours.start);
            prop_assert_eq!(&theirs.body, &ours.body);
        }
    }
    Ok(())
}

fn reader(method: Option<Method>) -> Reader {
    match method {
        None => Reader::of_requests(Limits::REQUEST),
        Some(method) => Reader::of_responses(method, Limits::RESPONSE),
    }
}

fn config() -> ProptestConfig {
    ProptestConfig {
        cases: ProptestConfig::default().cases.max(2000),
        failure_persistence: None,
        ..ProptestConfig::default()
    }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn valid_requests_are_taken_and_mean_the_same(requests in proptest::collection::vec(request(), 1..4)) {
        let bytes = requests.concat().into_bytes();
        let mut reader = reader(None);
        reader.push(&bytes);
        let decided = reader.end();
        prop_assert!(!decided.contains("refused"), "{}", decided);
        prop_assert_eq!(reader.messages.len(), requests.len(), "{}", decided);
        let read = reference::requests(&bytes).map_err(TestCaseError::fail)?;
        for (theirs, ours) in read.iter().zip(&reader.messages) {
            prop_assert_eq!(&theirs.start, &ours.start);
            prop_assert_eq!(&theirs.body, &ours.body);
        }
        check_forwarded(&reader, None)?;
    }

    #[test]
    fn mutated_requests_are_never_two(
        requests in proptest::collection::vec(request(), 1..3),
        mutations in proptest::collection::vec(mutation(), 1..4),
        cut in any::<Index>(),
    ) {
        let bytes = mutate(requests.concat().into_bytes(), &mutations);
        let mut whole = reader(None);
        whole.push(&bytes);
        let decided = whole.end();
        check_forwarded(&whole, None)?;
        check_taken(&whole, &decided, &bytes)?;
        let mut parts = reader(None);
        let (first, second) = bytes.split_at(cut.index(bytes.len() + 1));
        parts.push(first);
        parts.push(second);
        prop_assert_eq!(parts.end(), decided);
        prop_assert_eq!(parts.output, whole.output);
    }

    #[test]
    fn mutated_responses_are_never_two(
        response in response(),
        mutations in proptest::collection::vec(mutation(), 0..4),
        method in select(vec![Method::Get, Method::Head, Method::Connect]),
        cut in any::<Index>(),
    ) {
        let bytes = mutate(response.into_bytes(), &mutations);
        let mut whole = reader(Some(method));
        whole.push(&bytes);
        let decided = whole.end();
        let is_final = whole.messages.last().is_some_and(|message| {
            !message.start.0.starts_with(b"1") || message.start.0 == b"101"
        });
        if is_final {
            check_forwarded(&whole, Some(method))?;
        }
        let mut parts = reader(Some(method));
        let (first, second) = bytes.split_at(cut.index(bytes.len() + 1));
        parts.push(first);
        parts.push(second);
        prop_assert_eq!(parts.end(), decided);
        prop_assert_eq!(parts.output, whole.output);
    }
}

#[test]
fn every_case_of_the_tables_goes_on_as_what_it_was_taken_for() {
    for (case, reader) in tables::all() {
        let mut whole = reader(&case);
        whole.push(&case.input);
        let decided = whole.end();
        let is_response = case.output.starts_with(b"HTTP/");
        let is_request = !case.output.is_empty() && !is_response;
        let result = if is_response && !decided.ends_with("incomplete") {
            check_forwarded(&whole, Some(case.method))
        } else if is_request {
            check_forwarded(&whole, None)
        } else {
            Ok(())
        };
        result.unwrap_or_else(|fault| panic!("{}: {fault}", case.name));
    }
}

#[test]
fn what_goes_on_goes_on_unchanged_a_second_time() {
    let mut count = 0;
    for (case, reader) in tables::all() {
        let mut again = reader(&case);
        again.push(&case.output);
        let decided = again.end();
        assert!(!decided.contains("refused"), "{}: {decided}", case.name);
        if !case.output.is_empty() && !case.output.windows(8).any(|part| part == b"upgrade\r") {
            count += 1;
            assert_eq!(again.output, case.output, "{}", case.name);
        }
    }
    assert!(count > 100);
}
