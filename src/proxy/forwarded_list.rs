//! The elements of `Forwarded` (RFC 7239): read from what trusted proxies sent, and written.

use std::net::IpAddr;

use crate::message::{FieldName, Fields};

/// The values of a parameter in the elements of all `Forwarded` fields, first to last, without
/// quotes; empty for an element that does not have it.
pub(super) fn values<'f>(
    fields: &'f Fields,
    parameter: &'static str,
) -> impl Iterator<Item = &'f [u8]> {
    fields
        .get_all(FieldName::Forwarded)
        .flat_map(|field| split(field, b','))
        .filter(|element| !element.is_empty())
        .map(move |element| value(element, parameter).unwrap_or_default())
}

fn value<'e>(element: &'e [u8], parameter: &str) -> Option<&'e [u8]> {
    split(element, b';').find_map(|pair| {
        let end = pair.iter().position(|byte| *byte == b'=')?;
        let (name, value) = (&pair[..end], &pair[end + 1..]);
        if !name.eq_ignore_ascii_case(parameter.as_bytes()) {
            return None;
        }
        Some(match value {
            [b'"', inside @ .., b'"'] => inside,
            token => token,
        })
    })
}

/// The parts between separators outside of quotes, without the whitespace around them.
fn split(text: &[u8], separator: u8) -> impl Iterator<Item = &[u8]> {
    let (mut is_quoted, mut is_escaped) = (false, false);
    text.split(move |byte| {
        match byte {
            _ if is_escaped => is_escaped = false,
            b'\\' if is_quoted => is_escaped = true,
            b'"' => is_quoted = !is_quoted,
            byte => return *byte == separator && !is_quoted,
        }
        false
    })
    .map(<[u8]>::trim_ascii)
}

/// Appends an element for one hop.
pub(super) fn push_element(
    list: &mut Vec<u8>,
    client: &[u8],
    host: Option<&[u8]>,
    proto: Option<&[u8]>,
) {
    if !list.is_empty() {
        list.extend_from_slice(b", ");
    }
    list.extend_from_slice(b"for=");
    push_value(list, client);
    for (name, value) in [(&b";host="[..], host), (b";proto=", proto)] {
        if let Some(value) = value {
            list.extend_from_slice(name);
            push_value(list, value);
        }
    }
}

/// An address as a node: one of IPv6 has brackets (section 6.1), and what is none is unknown
/// (section 6.2).
pub(super) fn node(address: Option<IpAddr>) -> String {
    match address {
        Some(IpAddr::V4(address)) => address.to_string(),
        Some(IpAddr::V6(address)) => format!("[{address}]"),
        None => "unknown".to_owned(),
    }
}

/// A token as it is, anything else as a quoted string (section 4).
fn push_value(list: &mut Vec<u8>, value: &[u8]) {
    let is_token_byte = |byte: &u8| crate::message::is_in(*byte, crate::message::TOKEN);
    if !value.is_empty() && value.iter().all(is_token_byte) {
        list.extend_from_slice(value);
        return;
    }
    list.push(b'"');
    for byte in value {
        if matches!(byte, b'"' | b'\\') {
            list.push(b'\\');
        }
        list.push(*byte);
    }
    list.push(b'"');
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parameters(sent: &[&str], parameter: &'static str) -> Vec<String> {
        let mut fields = Fields::new();
        for value in sent {
            fields.append("Forwarded", value.as_bytes()).unwrap();
        }
        let values = values(&fields, parameter).map(<[u8]>::to_vec);
        values
            .map(|value| String::from_utf8(value).unwrap())
            .collect()
    }

    /// RFC 7239 sections 4 and 7.1.
    #[test]
    fn elements_are_read_in_their_order() {
        let sent = [
            "For=\"[2001:db8:cafe::17]:4711\"",
            "for=192.0.2.60;proto=http;by=203.0.113.43",
            "for=192.0.2.43, for=198.51.100.17;by=203.0.113.60;Proto=https",
        ];
        let expected = [
            "[2001:db8:cafe::17]:4711",
            "192.0.2.60",
            "192.0.2.43",
            "198.51.100.17",
        ];
        assert_eq!(parameters(&sent, "for"), expected);
        assert_eq!(parameters(&sent, "proto"), ["", "http", "", "https"]);
    }

    #[test]
    fn separators_in_quotes_separate_nothing() {
        assert_eq!(
            parameters(&["for=\"a,b;c\";host=x, for=d"], "for"),
            ["a,b;c", "d"]
        );
        assert_eq!(
            parameters(&["host=\"a\\\", for=b\", for=c"], "for"),
            ["", "c"]
        );
        assert_eq!(
            parameters(&["for=\"a, for=b"], "for"),
            ["\"a, for=b"],
            "never closed"
        );
        assert_eq!(parameters(&["", " , ", "for"], "for"), [""]);
    }

    #[test]
    fn elements_are_quoted_where_they_must() {
        let mut list = Vec::new();
        push_element(&mut list, b"192.0.2.1", Some(b"a.example"), Some(b"http"));
        let client = node("2001:db8::1".parse().ok());
        push_element(&mut list, client.as_bytes(), Some(b"a.example:80"), None);
        push_element(&mut list, b"", None, None);
        push_element(&mut list, b"a\"\\", None, None);
        let expected = "for=192.0.2.1;host=a.example;proto=http, \
                        for=\"[2001:db8::1]\";host=\"a.example:80\", for=\"\", for=\"a\\\"\\\\\"";
        assert_eq!(String::from_utf8(list).unwrap(), expected);
    }
}
