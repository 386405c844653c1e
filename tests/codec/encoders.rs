//! What the encoders write besides what a head has.

use weir::http1::{
    Framing, Hop, Persistence, encode_chunk_header, encode_last_chunk, encode_request,
    encode_response,
};
use weir::message::{FieldName, Fields, RequestHead, ResponseHead};

fn response(status: u16, framing: Framing, hop: &Hop<'_>) -> String {
    let mut head = ResponseHead::with_status(status);
    head.fields.append("Content-Length", b"7").unwrap();
    head.fields.append("Transfer-Encoding", b"gzip").unwrap();
    head.fields.append("Trailer", b"X").unwrap();
    let mut out = Vec::new();
    encode_response(&head, framing, hop, &mut out);
    String::from_utf8(out).unwrap()
}

#[test]
fn framing_is_what_the_caller_says_whatever_the_head_has() {
    let hop = Hop::default();
    let cases = [
        (
            200,
            Framing::Length(0),
            "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
        ),
        (
            200,
            Framing::Chunked,
            "HTTP/1.1 200 OK\r\nTrailer: X\r\nTransfer-Encoding: chunked\r\n\r\n",
        ),
        (
            200,
            Framing::UntilClose,
            "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n",
        ),
        (
            304,
            Framing::None,
            "HTTP/1.1 304 Not Modified\r\nContent-Length: 7\r\n\r\n",
        ),
        (204, Framing::None, "HTTP/1.1 204 No Content\r\n\r\n"),
        (103, Framing::None, "HTTP/1.1 103 Early Hints\r\n\r\n"),
    ];
    for (status, framing, text) in cases {
        assert_eq!(response(status, framing, &hop), text);
    }
}

#[test]
fn a_connection_field_says_all_that_concerns_the_hop() {
    let hop = |persistence, upgrade, te_trailers| Hop {
        persistence,
        upgrade,
        te_trailers,
    };
    let cases = [
        (hop(Persistence::Implied, None, false), ""),
        (
            hop(Persistence::Close, None, false),
            "Connection: close\r\n",
        ),
        (
            hop(Persistence::KeepAlive, None, false),
            "Connection: keep-alive\r\n",
        ),
        (
            hop(Persistence::Implied, Some(b"h2c"), false),
            "Connection: upgrade\r\nUpgrade: h2c\r\n",
        ),
        (
            hop(Persistence::Implied, None, true),
            "Connection: TE\r\nTE: trailers\r\n",
        ),
        (
            hop(Persistence::Close, Some(b"x"), true),
            "Connection: close, upgrade, TE\r\nUpgrade: x\r\nTE: trailers\r\n",
        ),
    ];
    for (hop, lines) in cases {
        let mut head = RequestHead::new();
        head.set_host(b"a").unwrap();
        let mut out = Vec::new();
        encode_request(&head, Framing::None, &hop, &mut out);
        assert_eq!(
            String::from_utf8(out).unwrap(),
            format!("GET / HTTP/1.1\r\nHost: a\r\n{lines}\r\n")
        );
    }
}

#[test]
fn a_response_never_asks_for_trailers() {
    let hop = Hop {
        te_trailers: true,
        ..Hop::default()
    };
    assert!(!response(200, Framing::Length(1), &hop).contains("TE"));
}

#[test]
fn a_request_cannot_end_with_its_connection() {
    let mut out = Vec::new();
    encode_request(
        &RequestHead::new(),
        Framing::UntilClose,
        &Hop::default(),
        &mut out,
    );
    assert_eq!(
        out,
        b"GET / HTTP/1.1\r\nHost: \r\nTransfer-Encoding: chunked\r\n\r\n"
    );
}

#[test]
fn edits_go_on_in_their_place() {
    let mut head = RequestHead::new();
    for (name, value) in [("a", "1"), ("Via", "2"), ("b", "3"), ("c", "4")] {
        head.fields.append(name, value.as_bytes()).unwrap();
    }
    head.fields.set(FieldName::Via, b"changed").unwrap();
    head.fields.remove_by_name("b");
    head.fields.append("d", b"5").unwrap();
    head.set_target(b"/new").unwrap();
    let mut out = Vec::new();
    encode_request(&head, Framing::Length(u64::MAX), &Hop::default(), &mut out);
    let text = "GET /new HTTP/1.1\r\nHost: \r\na: 1\r\nVia: changed\r\nc: 4\r\nd: 5\r\nContent-Length: 18446744073709551615\r\n\r\n";
    assert_eq!(String::from_utf8(out).unwrap(), text);
}

#[test]
fn output_is_appended() {
    let mut out = b"before".to_vec();
    encode_response(
        &ResponseHead::new(),
        Framing::Length(1),
        &Hop::default(),
        &mut out,
    );
    assert!(out.starts_with(b"beforeHTTP/1.1 200 OK\r\n"));
}

#[test]
fn chunk_headers_are_hexadecimal() {
    for length in [
        1,
        9,
        10,
        15,
        16,
        255,
        256,
        65_535,
        u64::from(u32::MAX),
        u64::MAX,
    ] {
        let mut out = Vec::new();
        encode_chunk_header(length, &mut out);
        assert_eq!(String::from_utf8(out).unwrap(), format!("{length:x}\r\n"));
    }
}

#[test]
fn forbidden_trailers_are_not_written() {
    let mut trailers = Fields::new();
    for name in [
        "Content-Length",
        "X",
        "Transfer-Encoding",
        "Host",
        "Trailer",
        "Set-Cookie",
    ] {
        trailers.append(name, b"1").unwrap();
    }
    let mut out = Vec::new();
    encode_last_chunk(Some(&trailers), &mut out);
    assert_eq!(out, b"0\r\nX: 1\r\n\r\n");
    out.clear();
    encode_last_chunk(None, &mut out);
    assert_eq!(out, b"0\r\n\r\n");
}
