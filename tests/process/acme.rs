//! The daemon notices what was ordered by itself.

use std::net::SocketAddr;
use std::time::Duration;

use super::support::{Weir, eventually_within};
use crate::scenario::support::{Pebble, PebbleOptions};

const PLAIN: &str = r#"
    workers = 1
    admin = { bind = "127.0.0.1:0" }
    shutdown = { lame_duck = "0s", drain = "10s" }
    [[listener]]
    name = "plain"
    bind = "127.0.0.1:0"
    redirect = { protocol = "https" }
"#;

/// Longer than two orders take on a busy machine.
const TIMEOUT: Duration = Duration::from_secs(90);

fn until(what: &str, mut value: impl FnMut() -> Option<String>) -> String {
    eventually_within(TIMEOUT, what, || value().ok_or_else(String::new))
}

fn tls_addr(weir: &Weir) -> SocketAddr {
    let line = weir.line(&["listening on https://", "(tls)"]);
    let (_, addr) = line.split_once("https://").unwrap();
    addr.split_whitespace().next().unwrap().parse().unwrap()
}

#[test]
fn a_certificate_is_served_once_it_is_ordered_and_again_once_it_is_renewed() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let weir = Weir::start(PLAIN);
    let options = PebbleOptions {
        http: weir.addr_of("plain").port(),
        validity: 20,
        ..PebbleOptions::default()
    };
    let Some(pebble) = runtime.block_on(Pebble::start(&options)) else {
        return;
    };
    let folder = weir.file().parent().unwrap().to_owned();
    std::fs::write(folder.join("pebble.crt"), pebble.own_authority()).unwrap();
    let directory = pebble.directory();
    weir.replace(&format!(
        r#"{PLAIN}
        [[listener]]
        name = "tls"
        bind = "127.0.0.1:0"
        fixed_response = {{ status = 200, body = "secret" }}
        [listener.tls.acme]
        domains = ["site.example"]
        directory = "{directory}"
        ca = "pebble.crt"
        state_dir = "state/acme"
        "#
    ));
    let expires = || {
        let status = weir.status();
        let certificate = &status["listeners"][1]["certificates"][0];
        certificate["expires"].as_str().map(str::to_owned)
    };
    let first = until("a certificate is served", expires);
    weir.line(&["ordering a certificate", "site.example"]);
    weir.line(&["a certificate was ordered", "site.example"]);
    let client = runtime.block_on(pebble.client());
    let secret = || {
        runtime.block_on(async {
            let mut http = client.http(tls_addr(&weir), "site.example").await;
            http.get("/").await.text().to_owned()
        })
    };
    assert_eq!(secret(), "secret");
    until("another certificate is served", || {
        expires().filter(|expires| *expires != first)
    });
    assert_eq!(secret(), "secret");
}
