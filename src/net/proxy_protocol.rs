//! The PROXY protocol, by which a proxy tells before the first byte of a connection which client it
//! has, in version 1 (a line of text) and 2 (binary).
//!
//! Source: HAProxy's `doc/proxy-protocol.txt`, of 2025.

use std::net::SocketAddr;

use ppp::{PartialResult, v1, v2};

use crate::model::{ProxyFacts, ProxyTls, ProxyVersion};

/// Longest header that is read. Version 2 allows 64 KiB more than its first 16 bytes, and what
/// proxies send fits in the first segment (section 2.2: 536 bytes).
pub const MAX_HEADER: usize = 4096;

/// Longest line of version 1, with its end (section 2.1).
const MAX_LINE: usize = 107;

/// The first byte of a TLV of type `PP2_TYPE_SSL` says whether the client speaks TLS.
const CLIENT_SSL: u8 = 1;

/// Bytes before the TLVs inside of one of type `PP2_TYPE_SSL`.
const SSL_HEAD: usize = 5;

/// A header, as it was received.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProxyHeader {
    /// Its bytes, before those of the connection.
    pub length: usize,
    /// The client's address, and the one that it has connected to. `None` if the proxy has connected
    /// for itself, for example to check that Weir is there, or does not know them.
    pub addresses: Option<(SocketAddr, SocketAddr)>,
    /// What it says beside them.
    pub facts: ProxyFacts,
}

/// Bytes that begin as a header and are none.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct MalformedHeader(String);

/// Reads the header at the beginning of `bytes`. `Ok(None)` says that there is none: the connection
/// begins at once. `None` says that more bytes are needed to tell.
pub fn parse(bytes: &[u8]) -> Option<Result<Option<ProxyHeader>, MalformedHeader>> {
    if begins(v2::PROTOCOL_PREFIX, bytes)? {
        return parse_v2(bytes);
    }
    if begins(b"PROXY ", bytes)? {
        return parse_v1(bytes);
    }
    Some(Ok(None))
}

/// Whether `bytes` begin with `prefix`; `None` if there are too few to tell.
fn begins(prefix: &[u8], bytes: &[u8]) -> Option<bool> {
    if bytes.len() < prefix.len() && prefix.starts_with(bytes) {
        return None;
    }
    Some(bytes.starts_with(prefix))
}

fn parse_v1(bytes: &[u8]) -> Option<Result<Option<ProxyHeader>, MalformedHeader>> {
    let line = &bytes[..bytes.len().min(MAX_LINE)];
    let Some(end) = line.windows(2).position(|end| end == b"\r\n") else {
        let too_long = || malformed("the line of version 1 does not end within 107 bytes");
        return (bytes.len() >= MAX_LINE).then(|| Err(too_long()));
    };
    let length = end + 2;
    let header = v1::Header::try_from(&line[..length]);
    Some(header.map_err(malformed).map(|header| {
        let addresses = match header.addresses {
            v1::Addresses::Unknown => None,
            v1::Addresses::Tcp4(v4) => Some((
                (v4.source_address, v4.source_port).into(),
                (v4.destination_address, v4.destination_port).into(),
            )),
            v1::Addresses::Tcp6(v6) => Some((
                (v6.source_address, v6.source_port).into(),
                (v6.destination_address, v6.destination_port).into(),
            )),
        };
        Some(ProxyHeader {
            length,
            addresses,
            facts: ProxyFacts::default(),
        })
    }))
}

fn parse_v2(bytes: &[u8]) -> Option<Result<Option<ProxyHeader>, MalformedHeader>> {
    if let Some(&[high, low]) = bytes.get(14..16)
        && 16 + usize::from(u16::from_be_bytes([high, low])) > MAX_HEADER
    {
        return Some(Err(malformed(
            "the header of version 2 is longer than 4096 bytes",
        )));
    }
    let header = v2::Header::try_from(bytes);
    if header.is_incomplete() {
        return None;
    }
    Some(
        header
            .map_err(malformed)
            .and_then(|header| of_v2(&header))
            .map(Some),
    )
}

fn of_v2(header: &v2::Header<'_>) -> Result<ProxyHeader, MalformedHeader> {
    let mut facts = ProxyFacts::default();
    for tlv in header.tlvs() {
        let tlv = tlv.map_err(malformed)?;
        let value = &*tlv.value;
        if tlv.kind == v2::Type::CRC32C as u8 {
            check_sum(header.as_bytes(), value)?;
        } else if tlv.kind == v2::Type::UniqueId as u8 {
            facts.unique_id = Some(id(value));
        } else if tlv.kind == v2::Type::Authority as u8 {
            facts.authority = text(value);
        } else if tlv.kind == v2::Type::SSL as u8 {
            facts.tls = tls(value)?;
        }
    }
    let is_stream = matches!(header.protocol, v2::Protocol::Stream);
    let addresses = match header.addresses {
        v2::Addresses::IPv4(v4) if is_stream => Some((
            (v4.source_address, v4.source_port).into(),
            (v4.destination_address, v4.destination_port).into(),
        )),
        v2::Addresses::IPv6(v6) if is_stream => Some((
            (v6.source_address, v6.source_port).into(),
            (v6.destination_address, v6.destination_port).into(),
        )),
        _ => None,
    };
    Ok(ProxyHeader {
        length: header.as_bytes().len(),
        addresses: addresses.filter(|_| header.command == v2::Command::Proxy),
        facts,
    })
}

fn tls(value: &[u8]) -> Result<Option<ProxyTls>, MalformedHeader> {
    let Some((head, inner)) = value.split_at_checked(SSL_HEAD) else {
        return Err(malformed("the TLV about TLS is too short"));
    };
    if head[0] & CLIENT_SSL == 0 {
        return Ok(None);
    }
    let mut tls = ProxyTls::default();
    for tlv in v2::TypeLengthValues::from(inner) {
        let tlv = tlv.map_err(malformed)?;
        if tlv.kind == v2::Type::SSLVersion as u8 {
            tls.version = text(&tlv.value);
        } else if tlv.kind == v2::Type::SSLCipher as u8 {
            tls.cipher = text(&tlv.value);
        } else if tlv.kind == v2::Type::SSLCommonName as u8 {
            tls.common_name = text(&tlv.value);
        }
    }
    Ok(Some(tls))
}

/// A text that can be shown; `None` if it is not UTF-8 or has control characters.
fn text(value: &[u8]) -> Option<Box<str>> {
    let text = std::str::from_utf8(value).ok()?;
    (!text.contains(char::is_control)).then(|| text.into())
}

/// Opaque bytes (section 2.2.5), as a text.
fn id(value: &[u8]) -> Box<str> {
    match std::str::from_utf8(value) {
        Ok(text) if text.bytes().all(|byte| byte.is_ascii_graphic()) => text.into(),
        _ => value.iter().map(|byte| format!("{byte:02x}")).collect(),
    }
}

/// Compares the checksum of the whole header, in which it counts as zero, with the one that it has
/// (section 2.2.3).
fn check_sum(header: &[u8], value: &[u8]) -> Result<(), MalformedHeader> {
    let sum = value.try_into().map(u32::from_be_bytes);
    let sum = sum.map_err(|_| malformed("the checksum has not four bytes"))?;
    // Where it stands: `value` is a part of `header`.
    let at = value.as_ptr().addr() - header.as_ptr().addr();
    let mut blank = header.to_vec();
    blank[at..at + 4].fill(0);
    if crc32c(&blank) == sum {
        Ok(())
    } else {
        Err(malformed("the checksum is wrong"))
    }
}

/// CRC-32C (RFC 3720 section 12.1), bit by bit: headers are short.
fn crc32c(bytes: &[u8]) -> u32 {
    const REVERSED_POLYNOMIAL: u32 = 0x82f6_3b78;
    let sum = bytes.iter().fold(u32::MAX, |sum, byte| {
        (0..8).fold(sum ^ u32::from(*byte), |sum, _| {
            (sum >> 1) ^ (REVERSED_POLYNOMIAL & (sum & 1).wrapping_neg())
        })
    });
    !sum
}

/// The header that tells a target about a client, which has come from `source` to `destination`.
/// Without an address it says that there is none.
pub fn encode(
    version: ProxyVersion,
    addresses: Option<(SocketAddr, SocketAddr)>,
    unique_id: Option<&[u8]>,
) -> Vec<u8> {
    let addresses = addresses.map(|(source, destination)| same_family(source, destination));
    match version {
        ProxyVersion::V1 => encode_v1(addresses),
        // Writing to memory does not fail, and an id is short.
        ProxyVersion::V2 => encode_v2(addresses, unique_id).unwrap_or_default(),
    }
}

/// The header of a connection that Weir opens for itself, as for a health check.
pub fn encode_local(version: ProxyVersion) -> Vec<u8> {
    match version {
        ProxyVersion::V1 => encode_v1(None),
        ProxyVersion::V2 => {
            let command = v2::Version::Two | v2::Command::Local;
            let family = v2::AddressFamily::Unspecified | v2::Protocol::Unspecified;
            v2::Builder::new(command, family)
                .build()
                .unwrap_or_default()
        }
    }
}

/// Both as IPv6 if one of them is: a header has one family.
fn same_family(source: SocketAddr, destination: SocketAddr) -> (SocketAddr, SocketAddr) {
    let canonical =
        |address: SocketAddr| SocketAddr::new(address.ip().to_canonical(), address.port());
    let mapped = |address: SocketAddr| match address {
        SocketAddr::V4(v4) => SocketAddr::from((v4.ip().to_ipv6_mapped(), v4.port())),
        SocketAddr::V6(_) => address,
    };
    let (source, destination) = (canonical(source), canonical(destination));
    if source.is_ipv4() && destination.is_ipv4() {
        (source, destination)
    } else {
        (mapped(source), mapped(destination))
    }
}

fn encode_v1(addresses: Option<(SocketAddr, SocketAddr)>) -> Vec<u8> {
    let Some((source, destination)) = addresses else {
        return b"PROXY UNKNOWN\r\n".to_vec();
    };
    let family = if source.is_ipv4() { "TCP4" } else { "TCP6" };
    let (from, to) = (source.ip(), destination.ip());
    let (from_port, to_port) = (source.port(), destination.port());
    format!("PROXY {family} {from} {to} {from_port} {to_port}\r\n").into_bytes()
}

fn encode_v2(
    addresses: Option<(SocketAddr, SocketAddr)>,
    unique_id: Option<&[u8]>,
) -> std::io::Result<Vec<u8>> {
    let mut builder = match addresses {
        Some(pair) => v2::Builder::with_addresses(
            v2::Version::Two | v2::Command::Proxy,
            v2::Protocol::Stream,
            pair,
        ),
        None => v2::Builder::new(
            v2::Version::Two | v2::Command::Proxy,
            v2::AddressFamily::Unspecified | v2::Protocol::Unspecified,
        ),
    };
    if let Some(id) = unique_id {
        builder = builder.write_tlv(v2::Type::UniqueId, id)?;
    }
    builder.build()
}

#[allow(clippy::needless_pass_by_value)] // as `map_err` gives it
fn malformed(error: impl ToString) -> MalformedHeader {
    MalformedHeader(error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    /// What every beginning of `bytes` says, and that it says so from the right length on.
    fn parsed(bytes: &[u8], header: usize) -> Result<Option<ProxyHeader>, MalformedHeader> {
        for length in 0..header {
            let early = parse(&bytes[..length]);
            assert!(early.is_none(), "{length} of {header} bytes: {early:?}");
        }
        let whole = parse(&bytes[..header]).expect("the header is whole");
        assert_eq!(
            parse(bytes),
            Some(whole.clone()),
            "bytes behind it do not count"
        );
        whole
    }

    #[test]
    fn what_is_encoded_is_read_again() {
        let pairs = [
            ("192.0.2.1:4711", "198.51.100.1:443"),
            ("[2001:db8::1]:4711", "[2001:db8::2]:443"),
            ("[::ffff:192.0.2.1]:1", "192.0.2.2:65535"),
            ("192.0.2.1:4711", "[2001:db8::2]:443"),
        ];
        for version in [ProxyVersion::V1, ProxyVersion::V2] {
            for (source, destination) in pairs {
                let pair = (address(source), address(destination));
                let mut bytes = encode(version, Some(pair), None);
                let length = bytes.len();
                bytes.extend_from_slice(b"GET / HTTP/1.1\r\n\r\n");
                let header = parsed(&bytes, length).unwrap().unwrap();
                assert_eq!(header.length, length);
                assert_eq!(header.addresses, Some(same_family(pair.0, pair.1)));
            }
            let mut bytes = encode(version, None, None);
            let length = bytes.len();
            bytes.extend_from_slice(b"x");
            let header = parsed(&bytes, length).unwrap().unwrap();
            assert_eq!((header.addresses, header.length), (None, length));
        }
    }

    #[test]
    fn bytes_of_other_protocols_are_no_header() {
        for bytes in [
            &b"GET / HTTP/1.1\r\n"[..],
            b"PRI * HTTP/2.0\r\n",
            b"\x16\x03\x01",
            b"POST",
        ] {
            assert_eq!(parse(bytes), Some(Ok(None)), "{bytes:?}");
        }
        for bytes in [&b""[..], b"P", b"PROXY", b"\r\n\r\n\0\r\nQUIT"] {
            assert_eq!(parse(bytes), None, "{bytes:?}");
        }
    }

    #[test]
    fn malformed_headers_are_refused_as_soon_as_they_are_seen() {
        let long = [b"PROXY TCP4 ".as_slice(), &[b'1'; 200]].concat();
        let cases: [&[u8]; 12] = [
            b"PROXY TCP4 192.0.2.1 192.0.2.2 1\r\n",
            b"PROXY TCP4 192.0.2.1 192.0.2.2 1 65536\r\n",
            b"PROXY TCP4 192.0.2.1 192.0.2.2 01 2\r\n",
            b"PROXY TCP4 2001:db8::1 192.0.2.2 1 2\r\n",
            b"PROXY TCP4  192.0.2.1 192.0.2.2 1 2\r\n",
            b"PROXY UDP4 192.0.2.1 192.0.2.2 1 2\r\n",
            b"PROXY UNKNOWN\rx\r\n",
            b"PROXY \r\n",
            &long,
            b"\r\n\r\n\0\r\nQUIT\n\x31\x11\0\x0c\xc0\0\x02\x01\xc0\0\x02\x02\0\x01\0\x02",
            b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x04\xc0\0\x02\x01",
            b"\r\n\r\n\0\r\nQUIT\n\x21\x11\xff\xff",
        ];
        for bytes in cases {
            let parsed = parse(bytes);
            assert!(matches!(parsed, Some(Err(_))), "{bytes:?}: {parsed:?}");
        }
    }

    /// A header of version 2 with these TLVs.
    fn with_tlvs(tlvs: &[(u8, &[u8])]) -> Vec<u8> {
        let mut bytes = encode(
            ProxyVersion::V2,
            Some((address("192.0.2.1:1"), address("192.0.2.2:2"))),
            None,
        );
        for (kind, value) in tlvs {
            bytes.push(*kind);
            bytes.extend((value.len() as u16).to_be_bytes());
            bytes.extend_from_slice(value);
        }
        let length = (bytes.len() - 16) as u16;
        bytes[14..16].copy_from_slice(&length.to_be_bytes());
        bytes
    }

    #[test]
    fn facts_beside_the_addresses_are_read() {
        let ssl = [
            &[1, 0, 0, 0, 0, 0x21, 0, 7][..],
            b"TLSv1.3",
            &[0x23, 0, 3],
            b"AES",
            &[0x22, 0, 2],
            b"me",
        ]
        .concat();
        let bytes = with_tlvs(&[
            (0x02, b"a.example"),
            (0x05, b"\x01\xff"),
            (0x20, &ssl),
            (0xe0, b"x"),
        ]);
        let facts = parsed(&bytes, bytes.len()).unwrap().unwrap().facts;
        assert_eq!(facts.authority.as_deref(), Some("a.example"));
        assert_eq!(facts.unique_id.as_deref(), Some("01ff"));
        let tls = facts.tls.unwrap();
        assert_eq!(tls.version.as_deref(), Some("TLSv1.3"));
        assert_eq!(tls.cipher.as_deref(), Some("AES"));
        assert_eq!(tls.common_name.as_deref(), Some("me"));
        let plain = with_tlvs(&[(0x20, &[0, 0, 0, 0, 0]), (0x05, b"id-7"), (0x02, b"a\nb")]);
        let facts = parsed(&plain, plain.len()).unwrap().unwrap().facts;
        assert_eq!((facts.tls, facts.authority), (None, None));
        assert_eq!(facts.unique_id.as_deref(), Some("id-7"));
        for tlvs in [
            &[(0x20, &[1, 0][..])][..],
            &[(0x03, b"123")],
            &[(0x03, b"1234")],
        ] {
            assert!(matches!(parse(&with_tlvs(tlvs)), Some(Err(_))), "{tlvs:?}");
        }
        let mut cut = with_tlvs(&[(0x05, b"id")]);
        cut[15] -= 1;
        assert!(matches!(parse(&cut), Some(Err(_))));
    }

    #[test]
    fn a_checksum_is_verified() {
        // RFC 3720 appendix B.4.
        assert_eq!(crc32c(&[0; 32]), 0x8a91_36aa);
        assert_eq!(crc32c(b"123456789"), 0xe306_9283);
        let mut bytes = with_tlvs(&[(0x03, &[0; 4]), (0x05, b"id")]);
        let sum = crc32c(&bytes);
        let at = bytes.len() - 9;
        bytes[at..at + 4].copy_from_slice(&sum.to_be_bytes());
        assert!(matches!(parse(&bytes), Some(Ok(Some(_)))));
        bytes[20] ^= 1;
        assert!(matches!(parse(&bytes), Some(Err(_))));
    }

    #[test]
    fn a_proxy_that_connects_for_itself_has_no_client() {
        let mut bytes = with_tlvs(&[]);
        bytes[12] = 0x20;
        let local = [ProxyVersion::V1, ProxyVersion::V2].map(encode_local);
        for bytes in [bytes].into_iter().chain(local) {
            let header = parsed(&bytes, bytes.len()).unwrap().unwrap();
            assert_eq!((header.addresses, header.length), (None, bytes.len()));
        }
    }
}
