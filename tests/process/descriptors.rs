//! Weir at the limit of its open files.

use rustix::process::Signal;

use crate::process::support::{Client, Target, Weir, eventually, until};

fn config(target: &Target) -> String {
    format!(
        r#"
        workers = 1
        shutdown = {{ lame_duck = "0s", drain = "10s" }}
        admin = {{ bind = "127.0.0.1:0" }}
        [[listener]]
        bind = "127.0.0.1:0"
        forward = "app"
        [target_group.app]
        targets = ["{}"]
        health = {{ path = "/health", interval = "500ms", timeout = "490ms" }}
        "#,
        target.addr()
    )
}

fn metric(weir: &Weir, name: &str) -> Option<f64> {
    let page = Client::connect(weir.admin_addr()).get("/metrics").unwrap();
    let value = page.body.lines().find_map(|line| line.strip_prefix(name))?;
    value.trim().parse().ok()
}

#[test]
fn connections_beyond_the_limit_wait_and_checks_and_admin_go_on() {
    let target = Target::named("a");
    let mut weir = Weir::starting_limited(&config(&target), "", 64);
    let addr = weir.addr();
    weir.line(&["WARN", "too few open files are allowed", "limit=64"]);
    let mut first = Client::connect(addr);
    assert_eq!(first.get("/").unwrap().body, "a");
    // The kernel completes all handshakes; Weir does not accept all connections.
    let mut waiting: Vec<Client> = (0..100).map(|_| Client::connect(addr)).collect();
    for client in &mut waiting {
        client.send("/").unwrap();
    }
    let checks = target.checks();
    until(
        "checks go on",
        || {
            assert_eq!(first.get("/").unwrap().body, "a");
            assert_eq!(metric(&weir, "process_max_fds"), Some(64.0));
            target.checks() - checks
        },
        |more| *more >= 5,
    );
    assert_eq!(weir.targets("app")[0]["state"], "healthy");
    assert_eq!(weir.targets("app")[0]["failed_checks"], 0);
    // Each connection that closes lets another one in.
    for mut client in waiting {
        assert_eq!(client.receive().unwrap().body, "a");
    }
    for _ in 0..20 {
        assert_eq!(weir.get("/").body, "a");
    }
    assert_eq!(weir.lines(&["cannot accept connections"]), [""; 0]);
    assert_eq!(weir.lines(&["Too many open files"]), [""; 0]);
    weir.signal(Signal::TERM);
    assert_eq!(weir.end(), 0);
}

#[test]
fn the_limit_is_raised_for_weir_and_not_for_its_children() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("limit");
    let config = format!(
        r#"
        workers = 1
        admin = {{ bind = "127.0.0.1:0" }}
        [[listener]]
        bind = "127.0.0.1:0"
        forward = "app"
        [target_group.app]
        replicas = {{ command = ["sh", "-c", "ulimit -Sn > {0}.next; mv {0}.next {0}; exec sleep 1000", "sh", "{{port}}"] }}
        "#,
        file.display()
    );
    let weir = Weir::starting_limited(&config, "-S", 200);
    let limit = eventually("a replica", || {
        std::fs::read_to_string(&file).map_err(|error| error.to_string())
    });
    assert_eq!(limit.trim(), "200");
    weir.line(&["admin on http://"]);
    assert!(metric(&weir, "process_max_fds").unwrap() > 200.0);
}
