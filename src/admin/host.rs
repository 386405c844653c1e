//! Who is let in by name.
//!
//! A page in a browser may make a name of its own lead to this listener (DNS rebinding) and
//! read what it answers. It cannot choose what stands in `Host`: its own name. So requests
//! that name a host by anything but an address or `localhost` need the token. Probes do not:
//! `/livez` and `/readyz` say nothing that a stranger could use.

use std::net::IpAddr;

use http::header::{HOST, HeaderMap};
use http::uri::Authority;

/// Whether a request names this listener in a way that no foreign page can.
pub(super) fn is_own(headers: &HeaderMap, authority: Option<&Authority>) -> bool {
    let mut named = headers.get_all(HOST).iter();
    match (authority, named.next(), named.next()) {
        // HTTP/1.0 has no `Host`, and no browser speaks it.
        (None, None, _) => true,
        (Some(authority), ..) => is_address_or_localhost(authority.as_str()),
        (None, Some(host), None) => host.to_str().is_ok_and(is_address_or_localhost),
        (None, Some(_), Some(_)) => false,
    }
}

fn is_address_or_localhost(authority: &str) -> bool {
    let Ok(authority) = authority.parse::<Authority>() else {
        return false;
    };
    let host = authority.host();
    let address = host.trim_start_matches('[').trim_end_matches(']');
    let name = host.trim_end_matches('.').to_ascii_lowercase();
    address.parse::<IpAddr>().is_ok() || name == "localhost" || name.ends_with(".localhost")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_addresses_and_localhost_are_own_names() {
        let own = [
            "127.0.0.1",
            "127.0.0.1:9090",
            "[::1]:9090",
            "10.1.2.3:80",
            "localhost",
            "LocalHost.:9090",
            "weir.localhost",
        ];
        let foreign = [
            "evil.example",
            "evil.example:9090",
            "127.0.0.1.evil.example",
            "localhost.evil.example",
            "notlocalhost",
            "",
            "a b",
            "127.0.0.1/",
        ];
        let verdict = |host: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(HOST, host.parse().unwrap());
            is_own(&headers, None)
        };
        for host in own {
            assert!(verdict(host), "{host}");
        }
        for host in foreign {
            assert!(!verdict(host), "{host}");
        }
        assert!(is_own(&HeaderMap::new(), None));
        let mut two = HeaderMap::new();
        two.append(HOST, "localhost".parse().unwrap());
        two.append(HOST, "evil.example".parse().unwrap());
        assert!(!is_own(&two, None));
    }
}
