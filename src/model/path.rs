//! The one spelling of a path that rules are matched in.
//!
//! Clients may write one path in many ways, and targets take them all for the same one: a rule
//! for `/admin/*` that is matched as sent is passed by `/%61dmin/x`, `/./admin/x` and
//! `//admin/x`.

use std::borrow::Cow;

use memchr::memchr2_iter;

/// The path in its normal spelling. It is decided in this order:
///
/// 1. Percent-encoded unreserved characters are decoded, and the digits of other encodings are
///    upper-case (RFC 3986 sections 6.2.2.1 and 6.2.2.2). `%2F` stays, as it is no separator. A `%`
///    without two digits stands for itself: it becomes `%25`.
/// 2. Slashes in a row become one, as file systems, nginx and most routers read them.
/// 3. Dot segments are removed (RFC 3986 section 5.2.4). After the second step, so that
///    `/a//../b` is `/b`, as those read it.
///
/// A path without a leading slash (`*`, an authority) is returned as it is. Normalizing twice
/// changes nothing. Allocates only if something changes.
pub fn normalize_path(path: &str) -> Cow<'_, str> {
    if !path.starts_with('/') || !may_change(path.as_bytes()) {
        return Cow::Borrowed(path);
    }
    let normal = without_dot_segments(&decoded(path));
    if normal == path {
        return Cow::Borrowed(path);
    }
    Cow::Owned(normal)
}

/// Whether there is an encoding, an empty segment, or one that begins with a dot.
fn may_change(path: &[u8]) -> bool {
    memchr2_iter(b'/', b'%', path)
        .any(|at| path[at] == b'%' || matches!(path.get(at + 1), Some(b'/' | b'.')))
}

/// Unreserved characters as themselves, other encodings in upper case.
fn decoded(path: &str) -> String {
    let mut decoded = String::with_capacity(path.len());
    let mut rest = path;
    while let Some((before, after)) = rest.split_once('%') {
        decoded.push_str(before);
        match encoded_byte(after) {
            Some(byte) if is_unreserved(byte) => decoded.push(char::from(byte)),
            Some(_) => {
                decoded.push('%');
                decoded.push_str(&after[..2].to_ascii_uppercase());
            }
            None => {
                // Left alone it could make an encoding with what is decoded behind it.
                decoded.push_str("%25");
                rest = after;
                continue;
            }
        }
        rest = &after[2..];
    }
    decoded.push_str(rest);
    decoded
}

/// The byte of two hexadecimal digits at the start of a text.
fn encoded_byte(text: &str) -> Option<u8> {
    let digits = text.get(..2)?;
    // `from_str_radix` takes a sign too.
    let is_hex = digits.bytes().all(|byte| byte.is_ascii_hexdigit());
    u8::from_str_radix(digits, 16).ok().filter(|_| is_hex)
}

/// RFC 3986 section 2.3.
fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~')
}

/// A path that begins with a slash, without empty segments and dot segments. A path that ends in
/// one of them ends in a slash.
fn without_dot_segments(path: &str) -> String {
    let mut normal = String::with_capacity(path.len());
    let mut segments = path.split('/').skip(1).peekable();
    while let Some(segment) = segments.next() {
        let is_last = segments.peek().is_none();
        match segment {
            "" | "." => {}
            ".." => normal.truncate(normal.rfind('/').unwrap_or(0)),
            _ => {
                normal.push('/');
                normal.push_str(segment);
                continue;
            }
        }
        if is_last {
            normal.push('/');
        }
    }
    normal
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn every_spelling_of_a_path_becomes_one() {
        let cases = [
            ("/", "/"),
            ("/a", "/a"),
            ("/a/", "/a/"),
            ("/a.b/.c/..d/e..", "/a.b/.c/..d/e.."),
            // RFC 3986 section 6.2.2.2.
            ("/%61dmin/x", "/admin/x"),
            ("/%7Euser/%7euser", "/~user/~user"),
            ("/%2D%2e%5F%7e%30%39%41%5a", "/-._~09AZ"),
            // RFC 3986 section 6.2.2.1.
            ("/a%2fb", "/a%2Fb"),
            ("/caf%c3%a9", "/caf%C3%A9"),
            ("/%40%3a%25", "/%40%3A%25"),
            // Decoded once: what was encoded twice is other data.
            ("/%2561dmin", "/%2561dmin"),
            ("/%252e%252e/a", "/%252e%252e/a"),
            // No encodings.
            ("/100%", "/100%25"),
            ("/%", "/%25"),
            ("/%4", "/%254"),
            ("/%zz%61", "/%25zza"),
            ("/%+1", "/%25+1"),
            ("/%é", "/%25é"),
            ("/%%61", "/%25a"),
            ("/%%361", "/%2561"),
            // RFC 3986 section 5.2.4 and its examples.
            ("/a/b/c/./../../g", "/a/g"),
            ("/a/./b", "/a/b"),
            ("/a/.", "/a/"),
            ("/a/..", "/"),
            ("/a/../", "/"),
            ("/..", "/"),
            ("/.", "/"),
            ("/../../admin", "/admin"),
            ("/./admin/x", "/admin/x"),
            ("/x/../admin/x", "/admin/x"),
            ("/%2e%2E/admin", "/admin"),
            ("/x/%2e./admin", "/admin"),
            // An encoded slash separates nothing.
            ("/x/..%2fadmin", "/x/..%2Fadmin"),
            ("/x%2f../admin", "/x%2F../admin"),
            // Slashes in a row.
            ("//", "/"),
            ("//admin/x", "/admin/x"),
            ("/a///b//", "/a/b/"),
            ("/a//../b", "/b"),
            ("/a/..//b", "/b"),
            ("/.//..//", "/"),
            // No paths, and what is no separator.
            ("*", "*"),
            ("", ""),
            ("a/../b", "a/../b"),
            ("/a\\..\\b", "/a\\..\\b"),
            ("/a;x=../b", "/a;x=../b"),
        ];
        for (path, expected) in cases {
            assert_eq!(normalize_path(path), expected, "{path}");
        }
    }

    #[test]
    fn a_normal_path_is_not_copied() {
        for path in ["/", "/api/v1/todos", "/a%2Fb", "/.well-known/x", "*"] {
            assert!(matches!(normalize_path(path), Cow::Borrowed(_)), "{path}");
        }
    }

    proptest! {
        #[test]
        fn normalizing_twice_changes_nothing(path in "/([a.%/2eEfF~é]|%2e|%2f|%61){0,20}") {
            let once = normalize_path(&path).into_owned();
            prop_assert_eq!(&normalize_path(&once), &once);
        }

        #[test]
        fn a_normal_path_has_no_dot_segment_and_no_empty_one(path in "/([a./]|%2e){0,20}") {
            let normal = normalize_path(&path);
            prop_assert!(normal.starts_with('/'));
            let inner = normal.trim_start_matches('/').trim_end_matches('/');
            prop_assert!(!normal.contains("//"));
            prop_assert!(inner.split('/').all(|segment| segment != "." && segment != ".."));
        }
    }
}
