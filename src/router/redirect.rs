//! The location of a redirect (ALB user guide, "Redirect actions").

use super::request::RequestView;
use crate::model::{Redirect, RedirectPart};

/// The `Location` of a redirect, in visible ASCII.
///
/// `scheme` (`http` or `https`) and `port` are those the client used to come in. A default port is left
/// out (`https://#{host}:#{port}` on port 443 gives no port), and so is the `?` or
/// `&` before an empty `#{query}`. Path and query go out as they came in. Anything that
/// is not visible ASCII leaves percent-encoded, so no request can add a line to the
/// response; and a path of `//host` cannot turn a location that stays on this host
/// into one that leaves it.
pub fn location(redirect: &Redirect, request: &RequestView<'_>, scheme: &str, port: u16) -> String {
    let mut text = String::new();
    for part in &redirect.location {
        match part {
            RedirectPart::Literal(literal) => push(&mut text, literal),
            RedirectPart::Protocol => push(&mut text, scheme),
            RedirectPart::Host => push(&mut text, request.host()),
            RedirectPart::Port => push_port(&mut text, scheme, port),
            RedirectPart::Path => push_path(&mut text, request.sent_path()),
            RedirectPart::Query => push_query(&mut text, request.query().unwrap_or_default()),
        }
    }
    text
}

/// Appends `part` with everything but visible ASCII encoded.
fn push(text: &mut String, part: &str) {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    for byte in part.bytes() {
        if byte.is_ascii_graphic() {
            text.push(char::from(byte));
        } else {
            text.push('%');
            text.push(char::from(DIGITS[usize::from(byte >> 4)]));
            text.push(char::from(DIGITS[usize::from(byte & 15)]));
        }
    }
}

fn push_port(text: &mut String, scheme: &str, port: u16) {
    // The scheme of the location counts; without one it is the client's.
    let is_https = match text.split_once("://") {
        Some((scheme, _)) => scheme.eq_ignore_ascii_case("https"),
        None => scheme == "https",
    };
    let default = if is_https { 443 } else { 80 };
    if port == default && text.ends_with(':') {
        text.pop();
    } else {
        push(text, &port.to_string());
    }
}

/// Without the leading slash: templates bring it, as in ALB's `/#{path}`.
fn push_path(text: &mut String, path: &str) {
    let path = path.strip_prefix('/').unwrap_or(path);
    // `//host` and, to browsers, `/\host` name another host (RFC 3986 section 4.2).
    let may_leave = text.is_empty() || text == "/";
    push(
        text,
        if may_leave {
            path.trim_start_matches(['/', '\\'])
        } else {
            path
        },
    );
}

fn push_query(text: &mut String, query: &str) {
    if query.is_empty() && text.ends_with(['?', '&']) {
        text.pop();
    } else {
        push(text, query);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::RequestHead;
    use crate::model::ClientAddress;
    use crate::model::NormalizePath;
    use crate::model::RedirectPart::{Host, Literal, Path, Port, Protocol, Query};

    fn literal(text: &str) -> RedirectPart {
        Literal(text.to_owned())
    }

    fn everything() -> Vec<RedirectPart> {
        let colon = literal(":");
        let parts = [
            Protocol,
            literal("://"),
            Host,
            colon,
            Port,
            literal("/"),
            Path,
        ];
        parts.into_iter().chain([literal("?"), Query]).collect()
    }

    fn render(parts: Vec<RedirectPart>, target: &str, scheme: &str, port: u16) -> String {
        let mut head = RequestHead::new();
        head.set_target(target.as_bytes()).unwrap();
        head.set_host(b"Example.com:81").unwrap();
        let redirect = Redirect {
            status: http::StatusCode::FOUND,
            location: parts,
        };
        let request = RequestView::new(&head, ClientAddress::Unix, NormalizePath::Match);
        location(&redirect, &request, scheme, port)
    }

    #[test]
    fn the_whole_request_can_be_repeated() {
        let cases = [
            (
                "/a/b?c=%0d%0ad",
                "http",
                8080,
                "http://example.com:8080/a/b?c=%0d%0ad",
            ),
            ("/a/b", "http", 80, "http://example.com/a/b"),
            ("/", "https", 443, "https://example.com/"),
            ("/?x", "https", 80, "https://example.com:80/?x"),
        ];
        for (uri, scheme, port, expected) in cases {
            assert_eq!(render(everything(), uri, scheme, port), expected, "{uri}");
        }
    }

    #[test]
    fn the_scheme_of_the_location_decides_its_default_port() {
        let to_https = vec![
            literal("https://"),
            Host,
            literal(":"),
            Port,
            literal("/"),
            Path,
        ];
        assert_eq!(
            render(to_https.clone(), "/a", "http", 443),
            "https://example.com/a"
        );
        assert_eq!(
            render(to_https, "/a", "http", 80),
            "https://example.com:80/a"
        );
    }

    #[test]
    fn a_literal_port_stays() {
        let parts = vec![
            literal("https://"),
            Host,
            literal(":443/"),
            Path,
            literal("?a=b&"),
            Query,
        ];
        let location = render(parts.clone(), "/a?c", "http", 80);
        assert_eq!(location, "https://example.com:443/a?a=b&c");
        let location = render(parts, "/a", "http", 80);
        assert_eq!(location, "https://example.com:443/a?a=b");
    }

    #[test]
    fn no_line_can_be_added_to_the_response() {
        let parts = vec![literal("/x\r\nset-cookie: a=b/ä"), Query];
        let location = render(parts, "/", "http", 80);
        assert_eq!(location, "/x%0D%0Aset-cookie:%20a=b/%C3%A4");
    }

    #[test]
    fn a_location_on_this_host_stays_on_it() {
        for target in ["//evil.example/x", "///evil.example/x"] {
            let location = render(vec![literal("/"), Path], target, "http", 80);
            assert_eq!(location, "/evil.example/x");
        }
    }

    #[test]
    fn the_path_goes_out_as_it_came_in() {
        let location = render(vec![literal("/new/"), Path], "/a/%61/../b", "http", 80);
        assert_eq!(location, "/new/a/%61/../b");
    }
}
