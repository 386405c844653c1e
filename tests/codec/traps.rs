//! Traps that others fell into, each by its name. What a table shows stands in the tables as well.

use weir::http1::{Class, Limits, Reason, Scan, TargetBytes, Violation, parse_request};
use weir::message::{FieldName, Method, RequestHead};

use super::reader::{LIMITS, RESPONSE_LIMITS, Reader};

/// What is decided about bytes from a client, and what goes on.
fn requests(bytes: &[u8]) -> (String, String) {
    let mut reader = Reader::of_requests(LIMITS);
    reader.push(bytes);
    (
        reader.end(),
        String::from_utf8_lossy(&reader.output).into_owned(),
    )
}

fn responses(method: Method, bytes: &[u8]) -> (String, String) {
    let mut reader = Reader::of_responses(method, RESPONSE_LIMITS);
    reader.push(bytes);
    (
        reader.end(),
        String::from_utf8_lossy(&reader.output).into_owned(),
    )
}

fn post(rest: &str) -> (String, String) {
    requests(format!("POST / HTTP/1.1\r\nHost: a\r\n{rest}").as_bytes())
}

/// Trap 1: `0\r\n\n` is the end of a body for one half of a parser and not for the other, and the
/// next request vanishes into the trailers.
#[test]
fn a_bare_lf_after_the_last_chunk_hides_no_request() {
    let (decided, output) = post(
        "Transfer-Encoding: chunked\r\n\r\n0\r\n\nGET /2 HTTP/1.1\r\nHost: a\r\n\r\nGET /3 HTTP/1.1\r\nHost: a\r\n\r\n",
    );
    assert_eq!(decided, "chunked; refused bare_lf 400");
    assert_eq!(output, "");
}

/// Trap 1, towards targets.
#[test]
fn a_bare_lf_in_chunks_of_a_target_is_a_fault() {
    for body in [
        "0\n\r\n",
        "0\r\n\n",
        "1\r\nx\n0\r\n\r\n",
        "1\nx\r\n0\r\n\r\n",
        "0\r\nX: y\n\r\n",
    ] {
        let head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
        let (decided, _) = responses(Method::Get, format!("{head}{body}").as_bytes());
        assert_eq!(decided, "chunked; refused bare_lf 400", "{body:?}");
    }
}

/// Trap 2.
#[test]
fn extensions_of_chunks_are_checked_bounded_and_never_forwarded() {
    let chunked = "Transfer-Encoding: chunked\r\n\r\n";
    let (decided, output) = post(&format!("{chunked}1;a=\"b\"\r\nx\r\n0;c\r\n\r\n"));
    assert_eq!(decided, "chunked");
    assert!(output.ends_with("\r\n\r\n1\r\nx\r\n0\r\n\r\n"), "{output}");
    let (decided, _) = post(&format!("{chunked}1;{}", "a".repeat(1000)));
    assert_eq!(decided, "chunked; refused chunk_extensions_too_long 400");
}

/// Trap 3: what is forwarded is one canonical number or nothing.
#[test]
fn lengths_are_one_canonical_number_or_nothing() {
    for length in ["2, 2", "02", "2\r\nContent-Length: 2", "0002,2"] {
        let (_, output) = post(&format!("Content-Length: {length}\r\n\r\nhi"));
        assert!(
            output.ends_with("\r\nContent-Length: 2\r\n\r\nhi"),
            "{output}"
        );
        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\nhi");
        let (_, output) = responses(Method::Get, head.as_bytes());
        assert!(
            output.ends_with("\r\nContent-Length: 2\r\n\r\nhi"),
            "{output}"
        );
    }
    for length in [
        "+2",
        "2 2",
        "0x2",
        "2,3",
        "2;",
        "",
        "184467440737095516160",
        "-2",
        "2.0",
    ] {
        let (decided, output) = post(&format!("Content-Length: {length}\r\n\r\nhi"));
        assert!(decided.starts_with("refused"), "{length}: {decided}");
        assert_eq!(output, "");
    }
}

/// Trap 4.
#[test]
fn responses_without_a_body_have_none_whatever_they_say() {
    let framings = [
        "Content-Length: 5\r\n",
        "Transfer-Encoding: chunked\r\n",
        "",
    ];
    let cases = [
        (Method::Head, 200),
        (Method::Get, 204),
        (Method::Get, 304),
        (Method::Get, 101),
        (Method::Connect, 200),
    ];
    for (method, status) in cases {
        for framing in framings {
            let text = format!("HTTP/1.1 {status} X\r\n{framing}\r\nhello");
            let (decided, output) = responses(method, text.as_bytes());
            assert_eq!(
                decided, "none / 5 unsolicited",
                "{method:?} {status} {framing}"
            );
            let keeps_length = method == Method::Head || status == 304;
            let has_length = framing.starts_with('C');
            assert_eq!(
                output.contains("Content-Length: 5"),
                keeps_length && has_length
            );
            assert!(!output.contains("Transfer-Encoding"), "{output}");
        }
    }
}

/// Trap 12: interim responses in any number are heads of their own, 101 is final.
#[test]
fn interim_responses_are_heads_of_their_own() {
    let text = "HTTP/1.1 103 E\r\nLink: a\r\n\r\n".repeat(50)
        + "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
    let (decided, output) = responses(Method::Get, text.as_bytes());
    assert_eq!(decided.split(" / ").count(), 51);
    assert_eq!(output, text);
}

/// Trap 18.
#[test]
fn http10_closes_has_no_chunks_and_goes_on_as_http11() {
    let (decided, output) = requests(b"GET / HTTP/1.0\r\nHost: a\r\n\r\n");
    assert_eq!(
        (decided.as_str(), output.as_str()),
        ("none, close", "GET / HTTP/1.1\r\nHost: a\r\n\r\n")
    );
    let (decided, _) = requests(b"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n");
    assert_eq!(decided, "refused transfer_encoding_in_http10 400");
    let (decided, _) = responses(
        Method::Get,
        b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\n\r\nhi",
    );
    assert_eq!(decided, "until close, close");
}

/// Trap 19: a CGI folds these into the fields that Weir writes.
#[test]
fn names_that_fold_into_others_are_dropped_or_passed_as_is_said() {
    let bytes = b"GET / HTTP/1.1\r\nHost: a\r\nX_Forwarded_For: b\r\nTransfer_Encoding: chunked\r\nx_y: c\r\n\r\n";
    let (decided, output) = requests(bytes);
    assert_eq!(decided, "none, ambiguous suspicious_header, dropped 3");
    assert_eq!(output, "GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    let mut reader = Reader::of_requests(Limits {
        field_names: Limits::RESPONSE.field_names,
        ..LIMITS
    });
    reader.push(bytes);
    assert_eq!(reader.end(), "none, ambiguous suspicious_header");
    assert_eq!(reader.output, bytes);
}

/// Trap 20.
#[test]
fn long_methods_and_targets_have_statuses_of_their_own() {
    let (decided, _) = requests(format!("{} / HTTP/1.1\r\n", "M".repeat(33)).as_bytes());
    assert_eq!(decided, "refused method_too_long 501");
    let target = "/".repeat(2000);
    for ending in [" HTTP/1.1\r\nHost: a\r\n\r\n", ""] {
        let (decided, _) = requests(format!("GET {target}{ending}").as_bytes());
        assert_eq!(decided, "refused target_too_long 414");
    }
    let limits = Limits {
        max_target: 10_000,
        ..LIMITS
    };
    let mut reader = Reader::of_requests(limits);
    reader.push(format!("GET {target}").as_bytes());
    assert_eq!(
        reader.end(),
        "refused target_too_long 414",
        "the head's limit is hit first"
    );
    let (decided, _) = requests("GET /é HTTP/1.1\r\nHost: a\r\n\r\n".as_bytes());
    assert_eq!(decided, "refused bad_target 400");
    let (decided, _) = requests(b"GET / HTTP/2.0\r\nHost: a\r\n\r\n");
    assert_eq!(decided, "refused unsupported_version 505");
}

/// Trap 22.
#[test]
fn fields_keep_their_case_and_order() {
    let bytes = "GET / HTTP/1.1\r\nhOST: a\r\nb: 1\r\nA: 2\r\nB: 3\r\na: 4\r\n\r\n";
    assert_eq!(requests(bytes.as_bytes()).1, bytes);
}

#[test]
fn browsers_may_send_what_they_send_if_that_is_said() {
    let limits = Limits {
        target_bytes: TargetBytes::Browser,
        ..Limits::REQUEST
    };
    let parse = |target: &str| {
        let bytes = format!("GET {target} HTTP/1.1\r\nHost: a\r\n\r\n");
        let mut head = RequestHead::new();
        let parsed =
            parse_request(bytes.as_bytes(), &mut Scan::new(), &limits, &mut head)?.unwrap();
        assert_eq!(head.target(), target.as_bytes());
        Ok::<_, Violation>(parsed)
    };
    for target in ["/?a[]=b", "/{a}", "/a|b", "/100%", "/%zz", "/%a", "/a^`b"] {
        let parsed = parse(target).unwrap();
        assert_eq!(
            (parsed.reason, parsed.class()),
            (Some(Reason::LooseTarget), Class::Acceptable)
        );
    }
    assert_eq!(parse("/%41").unwrap().reason, None);
    for target in ["/a\\b", "/\"", "/<", "/é", "/#", "/\x7f", "/%\x01"] {
        parse(target).unwrap_err();
    }
}

/// Thousands of options in Connection, against all fields that a head may have.
#[test]
fn a_long_connection_field_removes_what_it_names() {
    let options: Vec<String> = (0..9000).map(|n| format!("x{n}")).collect();
    let fields: Vec<String> = (0..90).map(|n| format!("x{n}: {n}\r\n")).collect();
    let fields = fields.concat();
    let bytes = format!(
        "GET / HTTP/1.1\r\nHost: a\r\nConnection: {}\r\n{fields}\r\n",
        options.join(",")
    );
    let mut reader = Reader::of_requests(Limits::REQUEST);
    reader.push(bytes.as_bytes());
    assert_eq!(reader.output, b"GET / HTTP/1.1\r\nHost: a\r\n\r\n");
}

/// Quadratic work would be 1 250 000 000 steps for each of them.
#[test]
fn a_long_head_is_read_byte_by_byte() {
    let limits = Limits {
        max_target: 60_000,
        ..Limits::REQUEST
    };
    let long = "x".repeat(50_000);
    for bytes in [
        format!("GET /{long} HTTP/1.1\r\nHost: a\r\n\r\n"),
        format!("GET / HTTP/1.1\r\nHost: a\r\n{long}: x\r\n\r\n"),
        format!("GET / HTTP/1.1\r\nHost: a\r\nX: {long}\r\n\r\n"),
    ] {
        let (mut scan, mut head) = (Scan::new(), RequestHead::new());
        for length in 1..bytes.len() {
            let parsed = parse_request(&bytes.as_bytes()[..length], &mut scan, &limits, &mut head);
            assert_eq!(parsed, Ok(None));
        }
        let parsed = parse_request(bytes.as_bytes(), &mut scan, &limits, &mut head);
        assert!(parsed.unwrap().is_some());
        assert!(head.fields.contains(FieldName::Host));
    }
}
