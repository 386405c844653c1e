//! The first message of a client that speaks TLS, as it passes by: which host it asks for.
//!
//! The connection is not Weir's to judge: what a target would not take is the target's to refuse, so
//! all that is found here is the name (RFC 6066 section 3). What is no TLS, or no hello as RFC 8446
//! section 4.1.2 and RFC 5246 section 7.4.1.2 write it, has no name. The versions and suites in it do
//! not matter.

/// Longest hello that is waited for. Browsers send less than 2 KiB, with post-quantum keys; rustls
/// and OpenSSL take no more than some 64 KiB.
const MAX_HELLO: usize = 32 * 1024;

/// Most bytes in which it may come, with the heads of its records.
pub const MAX_CLIENT_HELLO: usize = 2 * MAX_HELLO;

/// Longest fragment in a record (RFC 8446 section 5.1).
const MAX_FRAGMENT: usize = 1 << 14;

/// Longest name of a host (RFC 1035 section 2.3.4).
const MAX_NAME: usize = 255;

const HANDSHAKE: u8 = 22;
const CLIENT_HELLO: u8 = 1;
const SERVER_NAME: usize = 0;
const HOST_NAME: u8 = 0;

/// What a client has begun with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClientHello {
    /// A hello for this host, in lower case.
    For(Box<str>),
    /// A hello without the name of a host, or something that is no hello.
    Nameless,
    /// A longer hello than is waited for.
    TooLarge,
}

impl ClientHello {
    /// What the first bytes of a connection say; `None` if that cannot be told yet. Once it is told, no
    /// further byte changes it.
    pub fn parse(received: &[u8]) -> Option<Self> {
        let message = match message(received) {
            Ok(Some(message)) => message,
            Ok(None) => return None,
            Err(hello) => return Some(hello),
        };
        Some(match server_name(&message) {
            Some(name) => Self::For(name),
            None => Self::Nameless,
        })
    }
}

/// The body of the first message of the handshake, once all of it is there. It may come in several
/// records.
fn message(received: &[u8]) -> Result<Option<Vec<u8>>, ClientHello> {
    let mut rest = received;
    let mut message = Vec::new();
    loop {
        check_record(rest)?;
        let Some((head, after)) = rest.split_first_chunk::<5>() else {
            return Ok(None);
        };
        let length = usize::from(u16::from_be_bytes([head[3], head[4]]));
        let part = &after[..length.min(after.len())];
        message.extend_from_slice(part);
        if message.first().is_some_and(|kind| *kind != CLIENT_HELLO) {
            return Err(ClientHello::Nameless);
        }
        if let Some(length) = message.get(1..4) {
            let length = usize::from(length[0]) << 16 | integer(&length[1..]);
            if length > MAX_HELLO {
                return Err(ClientHello::TooLarge);
            }
            if message.len() >= 4 + length {
                return Ok(Some(message[4..4 + length].to_vec()));
            }
        }
        if part.len() < length {
            return Ok(None);
        }
        rest = &after[length..];
    }
}

/// Whether what is there of a record may be one with a part of a handshake. Its version says nothing
/// but the first byte (RFC 8446 section 5.1).
fn check_record(record: &[u8]) -> Result<(), ClientHello> {
    let is_handshake = record.first().is_none_or(|kind| *kind == HANDSHAKE);
    let is_tls = record.get(1).is_none_or(|major| *major == 3);
    let length = record.get(3..5).map_or(1, integer);
    if is_handshake && is_tls && (1..=MAX_FRAGMENT).contains(&length) {
        Ok(())
    } else {
        Err(ClientHello::Nameless)
    }
}

/// The name in the body of a hello, if that is well-formed.
fn server_name(body: &[u8]) -> Option<Box<str>> {
    // The version and the random.
    let body = body.get(2 + 32..)?;
    let (_session, body) = vector::<1>(body)?;
    let (_suites, body) = vector::<2>(body)?;
    let (_compression, body) = vector::<1>(body)?;
    // Without extensions nothing follows.
    let (mut extensions, body) = vector::<2>(body)?;
    let mut found = None;
    while !extensions.is_empty() {
        let (kind, rest) = extensions.split_at_checked(2)?;
        let (extension, rest) = vector::<2>(rest)?;
        if integer(kind) == SERVER_NAME && found.replace(host(extension)?).is_some() {
            return None;
        }
        extensions = rest;
    }
    found.filter(|_| body.is_empty())
}

/// The host in the extension of names. There is one name, of one kind (RFC 6066 section 3).
fn host(extension: &[u8]) -> Option<Box<str>> {
    let (list, rest) = vector::<2>(extension)?;
    let (kind, list) = list.split_first()?;
    let (name, after) = vector::<2>(list)?;
    let is_one = rest.is_empty() && after.is_empty() && *kind == HOST_NAME;
    let is_name = (1..=MAX_NAME).contains(&name.len()) && name.iter().all(|byte| is_of_name(*byte));
    let name = std::str::from_utf8(name).ok()?;
    (is_one && is_name).then(|| name.to_ascii_lowercase().into())
}

/// Names beyond ASCII come in Punycode.
fn is_of_name(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._".contains(&byte)
}

/// A vector behind its length, which has `WIDTH` bytes, and what follows.
fn vector<const WIDTH: usize>(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = bytes.split_at_checked(WIDTH)?;
    rest.split_at_checked(integer(length))
}

/// A number, the highest byte first.
fn integer(bytes: &[u8]) -> usize {
    let add = |number: usize, byte: &u8| number << 8 | usize::from(*byte);
    bytes.iter().fold(0, add)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use rustls::pki_types::ServerName;
    use rustls::{ClientConfig, ClientConnection, RootCertStore};

    use super::*;
    use crate::tls::provider::provider;

    /// What rustls sends for a host, with a list of protocols that makes it long.
    fn hello(host: &str, protocols: usize) -> Vec<u8> {
        let mut config = ClientConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(RootCertStore::empty())
            .with_no_client_auth();
        config.alpn_protocols = (0..protocols).map(|n| vec![n as u8 | 1; 200]).collect();
        let name = ServerName::try_from(host.to_owned()).unwrap();
        let mut client = ClientConnection::new(Arc::new(config), name).unwrap();
        let mut bytes = Vec::new();
        while client.wants_write() {
            client.write_tls(&mut bytes).unwrap();
        }
        bytes
    }

    fn named(host: &str) -> ClientHello {
        ClientHello::For(host.into())
    }

    /// The same message in records of this many bytes each.
    fn in_records_of(size: usize, hello: &[u8]) -> Vec<u8> {
        let mut message = Vec::new();
        let mut rest = hello;
        while let Some((head, after)) = rest.split_first_chunk::<5>() {
            let length = integer(&head[3..]);
            message.extend_from_slice(&after[..length]);
            rest = &after[length..];
        }
        let record = |part: &[u8]| {
            let length = (part.len() as u16).to_be_bytes();
            [&[HANDSHAKE, 3, 1], &length[..], part].concat()
        };
        message.chunks(size).flat_map(record).collect()
    }

    #[test]
    fn the_host_is_found_however_the_hello_is_cut() {
        for (protocols, step) in [(0, 1), (30, 331)] {
            let whole = hello("A.Example", protocols);
            for size in [1, 2, 3, 5, 63, 64, 1000, MAX_FRAGMENT] {
                let bytes = in_records_of(size, &whole);
                for length in (0..bytes.len()).step_by(step) {
                    assert_eq!(ClientHello::parse(&bytes[..length]), None, "{length} bytes");
                }
                assert_eq!(ClientHello::parse(&bytes), Some(named("a.example")));
                let more = [&bytes[..], b"\x17and what follows"].concat();
                assert_eq!(ClientHello::parse(&more), Some(named("a.example")));
            }
        }
    }

    #[test]
    fn a_hello_of_many_records_is_read_up_to_the_limit() {
        let large = hello("a.example", 150);
        assert!(large.len() > 30_000, "{} bytes", large.len());
        assert_eq!(ClientHello::parse(&large), Some(named("a.example")));
        let huge = hello("a.example", 170);
        assert_eq!(ClientHello::parse(&huge[..9]), Some(ClientHello::TooLarge));
    }

    #[test]
    fn an_address_is_no_name() {
        let bytes = hello("127.0.0.1", 0);
        assert_eq!(ClientHello::parse(&bytes), Some(ClientHello::Nameless));
    }

    #[test]
    fn what_is_no_hello_is_known_by_its_first_bytes() {
        for bytes in [
            &b"G"[..],
            b"\x80\x2e\x01\x03\x01",
            b"\x16\x02",
            b"\x16\x03\x01\x40\x01",
            b"\x16\x03\x01\x00\x00",
            b"\x16\x03\x01\x00\x05\x02",
            b"\x15\x03\x01\x00\x02",
        ] {
            assert_eq!(
                ClientHello::parse(bytes),
                Some(ClientHello::Nameless),
                "{bytes:?}"
            );
        }
        assert_eq!(ClientHello::parse(b""), None);
    }

    #[test]
    fn one_wrong_byte_gives_another_name_or_none_and_is_never_waited_for_in_vain() {
        let whole = hello("a.example", 2);
        for at in 9..whole.len() {
            for wrong in [0, 1, 0x7f, 0xff] {
                let mut bytes = whole.clone();
                bytes[at] = wrong;
                assert!(ClientHello::parse(&bytes).is_some(), "{wrong} at {at}");
            }
        }
    }

    #[test]
    fn a_name_is_one_host_and_nothing_else() {
        let extension = |list: &[u8]| [&(list.len() as u16).to_be_bytes(), list].concat();
        let name = |kind: u8, name: &str| {
            let length = (name.len() as u16).to_be_bytes();
            [&[kind], &length[..], name.as_bytes()].concat()
        };
        let found = |list: &[u8]| host(&extension(list));
        assert_eq!(
            found(&name(0, "xn--a_b.Example")).as_deref(),
            Some("xn--a_b.example")
        );
        assert_eq!(found(&name(1, "a.example")), None);
        assert_eq!(found(&[name(0, "a"), name(0, "b")].concat()), None);
        for wrong in ["", "a b", "a\0b", "a:1", "[::1]", "ä", &"a".repeat(256)] {
            assert_eq!(found(&name(0, wrong)), None, "{wrong}");
        }
        assert_eq!(host(&[0, 0]), None);
        assert_eq!(host(&[]), None);
    }
}
