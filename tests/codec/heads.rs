//! Heads as they are read, changed and shown.

use weir::http1::{Limits, Scan, parse_request, parse_response};
use weir::message::{FieldName, Fields, Form, Method, NameSet, RequestHead, ResponseHead, Version};

fn fields(lines: &[(&str, &str)]) -> Fields {
    let mut fields = Fields::new();
    for (name, value) in lines {
        fields.append(name, value.as_bytes()).unwrap();
    }
    fields
}

fn shown(fields: &Fields) -> String {
    let line = |name: &[u8], value: &[u8]| {
        format!(
            "{}={}",
            String::from_utf8_lossy(name),
            String::from_utf8_lossy(value)
        )
    };
    let lines: Vec<String> = fields
        .iter()
        .map(|field| line(field.name, field.value))
        .collect();
    lines.join(" ")
}

fn request(bytes: &[u8]) -> RequestHead {
    let mut head = RequestHead::new();
    let parsed = parse_request(bytes, &mut Scan::new(), &Limits::REQUEST, &mut head);
    assert!(parsed.unwrap().is_some());
    head
}

#[test]
fn fields_keep_order_case_and_duplicates() {
    let fields = fields(&[("b", "1"), ("Host", "a"), ("B", "2")]);
    assert_eq!(shown(&fields), "b=1 Host=a B=2");
    assert_eq!(fields.len(), 3);
    assert_eq!(fields.get(FieldName::Host), Some(&b"a"[..]));
    assert_eq!(fields.get_by_name("HOST"), Some(&b"a"[..]));
    assert_eq!(
        fields.get_all_by_name("b").collect::<Vec<_>>(),
        [b"1", b"2"]
    );
    assert_eq!(fields.get(FieldName::Cookie), None);
}

#[test]
fn set_replaces_the_first_and_removes_the_others() {
    let mut fields = fields(&[("Via", "1"), ("X", "y"), ("vIA", "2")]);
    fields.set(FieldName::Via, b"3").unwrap();
    assert_eq!(shown(&fields), "Via=3 X=y");
    fields.set_by_name("x", b"z").unwrap();
    fields.set_by_name("new", b"n").unwrap();
    assert_eq!(shown(&fields), "Via=3 X=z new=n");
    fields.set(FieldName::Date, b"now").unwrap();
    assert_eq!(fields.get(FieldName::Date), Some(&b"now"[..]));
}

#[test]
fn what_is_removed_is_gone_and_can_come_again() {
    let mut fields = fields(&[("Cookie", "1"), ("X", "y"), ("cookie", "2")]);
    assert_eq!(fields.remove(FieldName::Cookie), 2);
    assert_eq!(fields.remove(FieldName::Cookie), 0);
    assert!(!fields.contains(FieldName::Cookie));
    assert_eq!(fields.remove_by_name("x"), 1);
    assert!(fields.is_empty());
    fields.append("Cookie", b"3").unwrap();
    assert_eq!(shown(&fields), "Cookie=3");
    fields.set(FieldName::Cookie, b"4").unwrap();
    assert_eq!(shown(&fields), "Cookie=4");
}

#[test]
fn sets_of_names_are_removed_at_once() {
    let mut fields = fields(&[
        ("Via", "1"),
        ("traceparent", "2"),
        ("X", "3"),
        ("Sec-WebSocket-Extensions", "4"),
    ]);
    let names = NameSet::of(&[FieldName::Via, FieldName::SecWebSocketExtensions]);
    assert_eq!(fields.remove_all(names), 2);
    fields.retain(|field| field.id != FieldName::Traceparent);
    assert_eq!(shown(&fields), "X=3");
}

#[test]
fn lists_are_read_over_all_lines() {
    let fields = fields(&[
        ("Connection", "a ,, B"),
        ("connection", ","),
        ("Connection", "\tc"),
    ]);
    let members: Vec<&[u8]> = fields.members(FieldName::Connection).collect();
    assert_eq!(members, [b"a", b"B", b"c"]);
    assert!(fields.has_token(FieldName::Connection, "b"));
    assert!(!fields.has_token(FieldName::Connection, "d"));
}

#[test]
fn nothing_that_could_end_a_line_is_appended() {
    let mut fields = Fields::new();
    for value in [
        &b"a\r\nX: y"[..],
        b"a\nb",
        b"\r",
        b"a\0",
        b"\x1b[2J",
        b"\x7f",
    ] {
        fields.append("X", value).unwrap_err();
        fields.set(FieldName::Via, value).unwrap_err();
        fields.set(FieldName::Host, value).unwrap_err();
    }
    for name in ["", "a b", "a:", "a\r\n", "é"] {
        fields.append(name, b"x").unwrap_err();
        fields.set_by_name(name, b"x").unwrap_err();
    }
    assert!(fields.is_empty());
    fields.append("X", b" \ta\tb\xff ").unwrap();
    assert_eq!(fields.get_by_name("x"), Some(&b"a\tb\xff"[..]));
}

#[test]
fn an_invalid_change_changes_nothing() {
    let mut head = request(b"GET /a?b HTTP/1.1\r\nHost: a\r\n\r\n");
    head.set_target(b"/x y").unwrap_err();
    head.set_target(b"x").unwrap_err();
    head.set_target(b"*").unwrap_err();
    head.set_target(b"/#").unwrap_err();
    head.set_target(b"http://b/").unwrap_err();
    head.set_target(b"").unwrap_err();
    head.set_method(b"").unwrap_err();
    head.set_method(b"G T").unwrap_err();
    head.set_host(b"a b").unwrap_err();
    assert_eq!(head.target(), b"/a?b");
    assert_eq!(head.method_name(), b"GET");
    assert_eq!(head.fields.get(FieldName::Host), Some(&b"a"[..]));
}

#[test]
fn a_target_is_path_and_query() {
    let mut head = request(b"GET /a?b?c HTTP/1.1\r\nHost: h:81\r\n\r\n");
    assert_eq!((head.path(), head.query()), (&b"/a"[..], Some(&b"b?c"[..])));
    let authority = head.authority().unwrap();
    assert_eq!((authority.host, authority.port), (&b"h"[..], Some(81)));
    head.set_target(b"/other").unwrap();
    assert_eq!((head.path(), head.query()), (&b"/other"[..], None));
    head.set_method(b"OPTIONS").unwrap();
    head.set_target(b"*").unwrap();
    assert_eq!(head.form(), Form::Asterisk);
    assert_eq!(head.method(), Method::Options);
}

#[test]
fn an_absolute_form_is_remembered_and_its_authority_is_host() {
    let head = request(b"GET http://b:8/x HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(head.form(), Form::Absolute);
    assert_eq!(head.authority().unwrap().port, Some(8));
    assert_eq!(head.target(), b"/x");
}

#[test]
fn a_head_is_used_again_without_the_old_one() {
    let mut head = RequestHead::new();
    let mut scan = Scan::new();
    let first = b"POST /1?q HTTP/1.0\r\nCookie: secret\r\nHost: a\r\n\r\n";
    let second = b"GET /2 HTTP/1.1\r\nHost: b\r\n\r\n";
    for bytes in [&first[..], second] {
        parse_request(bytes, &mut scan, &Limits::REQUEST, &mut head)
            .unwrap()
            .unwrap();
    }
    assert_eq!(shown(&head.fields), "Host=b");
    assert_eq!(
        (head.method(), head.version()),
        (Method::Get, Version::Http11)
    );
    assert_eq!((head.path(), head.query()), (&b"/2"[..], None));
    head.clear();
    assert_eq!((head.target(), head.fields.len()), (&b"/"[..], 0));
    head.shrink(0);
}

#[test]
fn of_framing_fields_one_stays_in_its_canonical_form() {
    let head = request(
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
    );
    assert!(!head.fields.contains(FieldName::ContentLength));
    let head = request(
        b"POST / HTTP/1.1\r\nContent-Length: 05\r\nHost: a\r\nContent-Length: 5, 5\r\n\r\n",
    );
    let lengths: Vec<&[u8]> = head.fields.get_all(FieldName::ContentLength).collect();
    assert_eq!(lengths, [b"5"]);
}

#[test]
fn a_shorter_buffer_is_a_new_message() {
    let (mut scan, mut head) = (Scan::new(), RequestHead::new());
    let limits = Limits::REQUEST;
    let first = b"GET /1 HTTP/1.1\r\nHost: a\r\nX: y";
    assert_eq!(
        parse_request(first, &mut scan, &limits, &mut head),
        Ok(None)
    );
    let second = b"GET /2 HTTP/1.0\r\n\r\n";
    assert!(
        parse_request(second, &mut scan, &limits, &mut head)
            .unwrap()
            .is_some()
    );
    assert_eq!((head.target(), head.fields.len()), (&b"/2"[..], 0));
}

#[test]
fn a_refused_head_leaves_nothing_behind() {
    let mut head = RequestHead::new();
    let bytes = b"GET /secret HTTP/1.1\r\nCookie: a\r\nX : y\r\n\r\n";
    parse_request(bytes, &mut Scan::new(), &Limits::REQUEST, &mut head).unwrap_err();
    assert_eq!((head.target(), head.fields.len()), (&b"/"[..], 0));
}

#[test]
fn an_incomplete_head_has_what_was_complete() {
    let mut head = RequestHead::new();
    let bytes = b"GET /x HTTP/1.1\r\nHost: a\r\nCookie: unfin";
    let parsed = parse_request(bytes, &mut Scan::new(), &Limits::REQUEST, &mut head);
    assert_eq!(parsed, Ok(None));
    assert_eq!(head.target(), b"/x");
    assert_eq!(shown(&head.fields), "Host=a");
}

#[test]
fn credentials_are_never_shown() {
    let bytes = b"GET /x HTTP/1.1\r\nHost: a\r\nAuthorization: Basic c2VjcmV0\r\nCookie: s3cret\r\nProxy-Authorization: x-s3cret\r\n\r\n";
    let text = format!("{:?}", request(bytes));
    assert!(text.contains("/x") && text.contains("Host"), "{text}");
    assert!(
        !text.contains("c2VjcmV0") && !text.contains("s3cret"),
        "{text}"
    );
    let mut head = ResponseHead::new();
    head.fields.append("Set-Cookie", b"s3cret").unwrap();
    assert!(!format!("{head:?}").contains("s3cret"));
}

#[test]
fn a_status_brings_its_phrase() {
    let mut head = ResponseHead::with_status(503);
    assert_eq!(
        (head.status(), head.reason()),
        (503, &b"Service Unavailable"[..])
    );
    head.set_status(99).unwrap_err();
    head.set_status(1000).unwrap_err();
    head.set_status(799).unwrap();
    assert_eq!((head.status(), head.reason()), (799, &b""[..]));
    assert_eq!(ResponseHead::with_status(7).status(), 500);
}

#[test]
fn interim_responses_are_those_that_another_follows() {
    for (line, is_interim) in [
        ("100 C", true),
        ("103 E", true),
        ("101 S", false),
        ("200 OK", false),
    ] {
        let bytes = format!("HTTP/1.1 {line}\r\n\r\n");
        let mut head = ResponseHead::new();
        let limits = Limits::RESPONSE;
        parse_response(
            bytes.as_bytes(),
            &mut Scan::new(),
            &limits,
            Method::Get,
            &mut head,
        )
        .unwrap()
        .unwrap();
        assert_eq!(head.is_interim(), is_interim, "{line}");
    }
}
