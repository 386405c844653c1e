//! Authorities: what the Host field and some targets consist of.

use std::net::Ipv6Addr;

use super::chars::{HEX, HOST, is_in, prefix};

/// `uri-host [ ":" port ]` of RFC 9110 section 7.2, without userinfo.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Authority<'a> {
    /// A name, an IPv4 address, or an IP literal with its brackets; may be empty.
    pub host: &'a [u8],
    /// The port, if there is a colon with digits after it.
    pub port: Option<u16>,
}

impl<'a> Authority<'a> {
    /// Reads an authority; `None` if it is against the grammar of RFC 3986 section 3.2, if it has
    /// userinfo, or if its port is above 65535.
    pub fn parse(text: &'a [u8]) -> Option<Self> {
        let host_length = match text.first() {
            Some(b'[') => literal(text)?,
            _ => name(text)?,
        };
        let (host, rest) = text.split_at(host_length);
        let port = match rest {
            [] | [b':'] => None,
            [b':', digits @ ..] => Some(number(digits)?),
            _ => return None,
        };
        Some(Self { host, port })
    }
}

/// The length of an IP literal with its brackets. Zones are not part of the grammar.
fn literal(text: &[u8]) -> Option<usize> {
    let end = text.iter().position(|byte| *byte == b']')?;
    let inside = &text[1..end];
    let is_ipv6 = || str::from_utf8(inside).is_ok_and(|text| text.parse::<Ipv6Addr>().is_ok());
    (is_ipv6() || is_future(inside)).then_some(end + 1)
}

/// `"v" 1*HEXDIG "." 1*( unreserved / sub-delims / ":" )`
fn is_future(inside: &[u8]) -> bool {
    let [b'v' | b'V', rest @ ..] = inside else {
        return false;
    };
    let digits = prefix(rest, HEX);
    let Some((b'.', address)) = rest[digits..].split_first() else {
        return false;
    };
    let is_address_byte = |byte: &u8| *byte == b':' || is_in(*byte, HOST);
    digits > 0 && !address.is_empty() && address.iter().all(is_address_byte)
}

/// The length of a registered name, which ends at a colon or at the end of the text.
fn name(text: &[u8]) -> Option<usize> {
    let mut at = 0;
    loop {
        let rest = &text[at..];
        let end = rest.iter().position(|byte| !is_in(*byte, HOST));
        at += end.unwrap_or(rest.len());
        match text[at..] {
            [] | [b':', ..] => return Some(at),
            [b'%', high, low, ..] if is_in(high, HEX) && is_in(low, HEX) => at += 3,
            _ => return None,
        }
    }
}

/// A port in decimal digits.
fn number(digits: &[u8]) -> Option<u16> {
    let mut number: u32 = 0;
    for digit in digits {
        if !digit.is_ascii_digit() {
            return None;
        }
        number = number * 10 + u32::from(digit - b'0');
        if number > u32::from(u16::MAX) {
            return None;
        }
    }
    Some(number as u16)
}
