//! Weir at the limit of its open files.

use rustix::process::Signal;

use crate::support::{Client, Target, Weir, eventually};

#[test]
fn running_out_of_descriptors_is_survived_and_said_once() {
    let target = Target::named("a");
    // One health check, at the start: it must not need a descriptor later.
    let config = format!(
        r#"
        workers = 1
        shutdown = {{ lame_duck = "0s", drain = "10s" }}
        [[listener]]
        bind = "127.0.0.1:0"
        forward = "app"
        [target_group.app]
        targets = ["{}"]
        health = {{ path = "/health", interval = "1h" }}
        "#,
        target.addr()
    );
    let mut weir = Weir::starting_limited(&config, 64);
    let addr = weir.addr();
    let mut first = Client::connect(addr);
    assert_eq!(first.get("/").unwrap().body, "a");
    // The kernel completes them all; Weir cannot take them all up.
    let mut crowd: Vec<Client> = (0..100).map(|_| Client::connect(addr)).collect();
    weir.line(&["WARN", "cannot accept connections", "Too many open files"]);
    // Who is in is served, over the connection to the target that is there.
    for _ in 0..20 {
        assert_eq!(first.get("/").unwrap().body, "a");
    }
    // One by one they leave: each lets another one in, and the limit is met again.
    for client in crowd.drain(..50) {
        drop(client);
        assert_eq!(first.get("/").unwrap().body, "a");
    }
    drop(crowd);
    eventually("new clients are served, and it is said", || {
        let reply = Client::connect(addr).get("/");
        if !reply.is_ok_and(|reply| reply.status == 200) {
            return Err("not served".to_owned());
        }
        match weir.lines(&["INFO", "accepting connections again"]).len() {
            1 => Ok(()),
            n => Err(format!("said {n} times")),
        }
    });
    for _ in 0..20 {
        assert_eq!(Client::connect(addr).get("/").unwrap().body, "a");
    }
    assert_eq!(weir.lines(&["cannot accept connections"]).len(), 1);
    assert_eq!(weir.lines(&["accepting connections again"]).len(), 1);
    weir.signal(Signal::TERM);
    assert_eq!(weir.end(), 0);
}
