//! Headers of the PROXY protocol: a decision stands however many bytes follow, and what a header
//! says can be said again.

use weir::model::{ProxyFacts, ProxyVersion};
use weir::net::proxy_protocol::{MAX_HEADER, ProxyHeader, encode, parse};

pub(super) fn run(data: &[u8]) {
    let mut decided = None;
    for length in 0..=data.len().min(2 * MAX_HEADER) {
        let parsed = parse(&data[..length]);
        if decided.is_some() {
            assert_eq!(parsed, decided, "after {length} bytes");
        }
        decided = parsed;
    }
    match decided {
        Some(Ok(Some(header))) => check(&header, data.len()),
        Some(Ok(None) | Err(_)) => {}
        None => assert!(data.len() < MAX_HEADER, "it waits for ever"),
    }
}

fn check(header: &ProxyHeader, received: usize) {
    assert!((1..=received.min(MAX_HEADER)).contains(&header.length));
    check_texts(&header.facts);
    for version in [ProxyVersion::V1, ProxyVersion::V2] {
        let again = encode(version, header.addresses, None);
        let again = parse(&again).expect("it is whole").expect("it is valid");
        let again = again.expect("it is a header").addresses;
        let canonical = |addresses: Option<(std::net::SocketAddr, std::net::SocketAddr)>| {
            addresses.map(|(source, destination)| {
                [source, destination].map(|one| (one.ip().to_canonical(), one.port()))
            })
        };
        assert_eq!(canonical(again), canonical(header.addresses));
    }
}

fn check_texts(facts: &ProxyFacts) {
    let tls = facts.tls.iter();
    let of_tls = tls.flat_map(|tls| [&tls.version, &tls.cipher, &tls.common_name]);
    let texts = [&facts.unique_id, &facts.authority]
        .into_iter()
        .chain(of_tls);
    for text in texts.flatten() {
        assert!(!text.contains(char::is_control), "{text:?}");
    }
}
