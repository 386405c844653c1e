//! The hello of TLS with which a connection begins: what is said of it stands however many bytes
//! follow, is said in time, and is what rustls finds in it as well.

use rustls::server::Acceptor;
use weir::tls::{ClientHello, MAX_CLIENT_HELLO};

/// Beyond this length not every one is tried.
const TRIED: usize = 4096;

pub(super) fn run(data: &[u8]) {
    let mut decided = None;
    let all = data.len().min(2 * MAX_CLIENT_HELLO);
    let lengths = (0..all.min(TRIED)).chain((TRIED..all).step_by(997));
    for length in lengths.chain([all]) {
        let parsed = ClientHello::parse(&data[..length]);
        if decided.is_some() {
            assert_eq!(parsed, decided, "after {length} bytes");
        }
        decided = parsed;
    }
    if let Some(ClientHello::For(host)) = &decided {
        let is_host = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
        assert!(host.bytes().all(is_host) && !host.is_empty(), "{host}");
        assert_eq!(host.to_ascii_lowercase(), **host);
    }
    if let Some(host) = host_by_rustls(data) {
        match decided {
            Some(ClientHello::For(found)) => assert_eq!(*found, host),
            Some(ClientHello::TooLarge) => {}
            Some(ClientHello::Nameless) | None => panic!("no host, and rustls finds {host}"),
        }
    }
}

/// The host in a hello that rustls would answer.
fn host_by_rustls(mut data: &[u8]) -> Option<String> {
    let mut acceptor = Acceptor::default();
    loop {
        if let Some(accepted) = acceptor.accept().ok()? {
            let host = accepted.client_hello().server_name().map(str::to_owned);
            return host.map(|host| host.to_ascii_lowercase());
        }
        if acceptor.read_tls(&mut data).ok()? == 0 {
            return None;
        }
    }
}
