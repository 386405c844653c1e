//! Which hosts a request may name without the token.
//!
//! A page in a browser can make a name of its own resolve to this listener (DNS rebinding) and
//! read the responses. It cannot choose the value of `Host`: that is the page's own name. So
//! requests that name a host by anything but an address or `localhost` need the token. Probes do
//! not: `/livez` and `/readyz` reveal nothing.

use std::net::IpAddr;

use http::header::{HOST, HeaderMap};
use http::uri::Authority;

/// Whether a request names this listener in a way which no foreign page can use.
pub(super) fn is_own(headers: &HeaderMap, authority: Option<&Authority>) -> bool {
    let mut hosts = headers.get_all(HOST).iter();
    match (authority, hosts.next(), hosts.next()) {
        // HTTP/1.0 has no `Host`, and no browser sends it.
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
        let is_own_host = |host: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(HOST, host.parse().unwrap());
            is_own(&headers, None)
        };
        for host in own {
            assert!(is_own_host(host), "{host}");
        }
        for host in foreign {
            assert!(!is_own_host(host), "{host}");
        }
        assert!(is_own(&HeaderMap::new(), None));
        let mut two = HeaderMap::new();
        two.append(HOST, "localhost".parse().unwrap());
        two.append(HOST, "evil.example".parse().unwrap());
        assert!(!is_own(&two, None));
    }
}
