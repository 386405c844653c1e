//! Heads from and to the types of the `http` crate.

use http::{HeaderValue, Request, Response, Uri};
use weir::message::{FieldName, Form, RequestHead, ResponseHead};

#[test]
fn a_request_becomes_a_head() {
    let request = Request::post("https://todo.example/a/b?c=d")
        .header("cookie", "a=1")
        .header("cookie", "b=2")
        .body(())
        .unwrap();
    let head = RequestHead::from_http(&request.into_parts().0).unwrap();
    assert_eq!(
        (head.method_name(), head.target()),
        (&b"POST"[..], &b"/a/b?c=d"[..])
    );
    assert_eq!(head.fields.get(FieldName::Host), Some(&b"todo.example"[..]));
    assert_eq!(head.fields.get_all(FieldName::Cookie).count(), 2);
    assert_eq!(head.form(), Form::Origin);
}

#[test]
fn an_authority_replaces_a_host_field() {
    let request = Request::get("https://b/")
        .header("host", "a")
        .body(())
        .unwrap();
    let head = RequestHead::from_http(&request.into_parts().0).unwrap();
    let hosts: Vec<&[u8]> = head.fields.get_all(FieldName::Host).collect();
    assert_eq!(hosts, [b"b"]);
}

#[test]
fn what_the_grammar_refuses_is_not_converted() {
    for uri in ["/a\"b", "https://u@b/"] {
        let (mut parts, ()) = Request::new(()).into_parts();
        parts.uri = uri.parse().unwrap();
        RequestHead::from_http(&parts).unwrap_err();
    }
}

#[test]
fn a_head_becomes_a_request() {
    let mut head = RequestHead::new();
    head.set_method(b"M-SEARCH").unwrap();
    head.set_target(b"/x?y").unwrap();
    head.set_host(b"a.example").unwrap();
    head.fields.append("X-Bytes", b"\xff").unwrap();
    let parts = head.to_http().unwrap();
    assert_eq!(parts.method.as_str(), "M-SEARCH");
    assert_eq!(parts.uri, Uri::from_static("/x?y"));
    assert_eq!(
        parts.headers["x-bytes"],
        HeaderValue::from_bytes(b"\xff").unwrap()
    );
    let again = RequestHead::from_http(&parts).unwrap();
    assert_eq!(again.fields.get(FieldName::Host), Some(&b"a.example"[..]));
}

#[test]
fn responses_go_both_ways() {
    let response = Response::builder()
        .status(418)
        .header("set-cookie", "a")
        .header("set-cookie", "b")
        .body(())
        .unwrap();
    let head = ResponseHead::from_http(&response.into_parts().0).unwrap();
    assert_eq!(head.status(), 418);
    assert_eq!(head.fields.get_all(FieldName::SetCookie).count(), 2);
    let parts = head.to_http().unwrap();
    assert_eq!(parts.status.as_u16(), 418);
    assert_eq!(parts.headers.get_all("set-cookie").iter().count(), 2);
}
