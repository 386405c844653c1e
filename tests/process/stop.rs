//! How `weir run` ends on a signal.

use rustix::process::Signal;

use crate::process::support::{Client, Target, Weir, eventually, until};

fn config(target: &Target, lame_duck: &str, drain: &str) -> String {
    format!(
        r#"
        workers = 2
        admin = {{ bind = "127.0.0.1:0" }}
        shutdown = {{ lame_duck = "{lame_duck}", drain = "{drain}" }}
        [[listener]]
        name = "web"
        bind = "127.0.0.1:0"
        forward = "app"
        [target_group.app]
        targets = ["{}"]
        health = false
        "#,
        target.addr()
    )
}

/// A client with a request that waits at the target.
fn held(weir: &Weir, target: &Target) -> Client {
    let before = target.requests();
    let mut client = Client::connect(weir.addr());
    client.send("/held").unwrap();
    until(
        "the request is at the target",
        || target.requests(),
        |now| *now > before,
    );
    client
}

#[test]
fn an_idle_weir_ends_at_once_and_gracefully() {
    let target = Target::named("a");
    for signal in [Signal::TERM, Signal::INT] {
        let mut weir = Weir::start(&config(&target, "0s", "1h"));
        let mut idle = Client::connect(weir.addr());
        assert_eq!(idle.get("/").unwrap().body, "a");
        weir.signal(signal);
        assert_eq!(weir.end(), 0);
        assert!(idle.closes());
        weir.line(&["stopped: every request was finished"]);
    }
}

#[test]
fn sigterm_lets_requests_finish() {
    let target = Target::named("a");
    let mut weir = Weir::start(&config(&target, "0s", "1h"));
    let mut client = held(&weir, &target);
    weir.signal(Signal::TERM);
    weir.line(&["draining for at most", "connections=1"]);
    assert!(weir.is_running());
    let addr = weir.addr();
    eventually("new connections are refused", || {
        let connected = Client::try_connect(addr).map(drop);
        connected.err().ok_or("accepted".to_owned())
    });
    target.open();
    let reply = client.receive().unwrap();
    assert_eq!((reply.status, reply.body.as_str()), (200, "a"));
    assert_eq!(reply.header("connection"), Some("close"));
    assert!(client.closes());
    assert_eq!(weir.end(), 0);
}

#[test]
fn what_does_not_finish_in_time_is_cut_and_the_exit_code_is_1() {
    let target = Target::named("a");
    let mut weir = Weir::start(&config(&target, "0s", "200ms"));
    let mut client = held(&weir, &target);
    weir.signal(Signal::TERM);
    assert_eq!(weir.end(), 1);
    assert!(client.receive().is_err());
    weir.line(&["WARN", "closing now", "connections=1"]);
    weir.line(&["WARN", "stopped with requests unfinished"]);
}

#[test]
fn a_lame_duck_serves_until_a_second_signal_closes_at_once() {
    let target = Target::named("a");
    let mut weir = Weir::start(&config(&target, "1h", "1h"));
    let admin = weir.admin_addr();
    let ready = || Client::connect(admin).get("/readyz").unwrap().status;
    assert_eq!(ready(), 200);
    weir.signal(Signal::TERM);
    weir.line(&["lame duck for 3600s: not ready, still accepting"]);
    assert_eq!(ready(), 503);
    let reply = weir.get("/");
    assert_eq!((reply.status, reply.body.as_str()), (200, "a"));
    assert_eq!(reply.header("connection"), Some("close"));
    let mut client = held(&weir, &target);
    weir.signal(Signal::TERM);
    assert_eq!(weir.end(), 1);
    assert!(client.receive().is_err());
}

#[test]
fn a_signal_while_weir_starts_ends_it() {
    // The first check gets no answer.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let mut weir = Weir::starting(&format!(
        "[[listener]]\nbind = \"127.0.0.1:0\"\nforward = \"app\"\n\
         [target_group.app]\ntargets = [\"{}\"]\n",
        silent.local_addr().unwrap()
    ));
    let _check = silent.accept().unwrap();
    weir.signal(Signal::TERM);
    assert_eq!(weir.end(), 0);
    assert_eq!(weir.lines(&["lame duck"]), Vec::<String>::new());
    assert_eq!(weir.lines(&["listening"]), Vec::<String>::new());
}
