//! Another configuration while Weir runs: by a signal, and by a change of the file.

use std::net::{SocketAddr, TcpListener};
use std::path::Path;

use rustix::process::Signal;

use crate::process::support::{Client, Target, Users, Weir, eventually, until};

fn config(target: &Target, more: &str) -> String {
    format!(
        r#"
        workers = 2
        admin = {{ bind = "127.0.0.1:0" }}
        shutdown = {{ lame_duck = "0s", drain = "10s" }}
        [[listener]]
        name = "web"
        bind = "127.0.0.1:0"
        forward = "app"
        [target_group.app]
        targets = ["{}"]
        health = {{ path = "/health", interval = "1h" }}
        {more}
        "#,
        target.addr()
    )
}

/// Waits until this target answers.
fn until_answered_by(weir: &Weir, target: &str) {
    let what = format!("an answer from {target}");
    until(&what, || weir.get("/").body, |body| body == target);
}

#[test]
fn sighup_loads_the_file_again() {
    let (a, b) = (Target::named("a"), Target::named("b"));
    let weir = Weir::start(&config(&a, ""));
    assert_eq!(weir.get("/").body, "a");
    weir.overwrite(&config(&b, ""));
    weir.signal(Signal::HUP);
    until_answered_by(&weir, "b");
    weir.line(&["configuration loaded: changed target group app"]);
}

#[test]
fn a_file_that_is_replaced_is_loaded() {
    let (a, b) = (Target::named("a"), Target::named("b"));
    let weir = Weir::start(&config(&a, ""));
    weir.replace(&config(&b, ""));
    until_answered_by(&weir, "b");
    weir.replace(&config(&a, ""));
    until_answered_by(&weir, "a");
    weir.nth_line(2, &["configuration loaded: changed target group app"]);
}

#[test]
fn a_file_that_is_written_to_is_loaded() {
    let (a, b) = (Target::named("a"), Target::named("b"));
    let weir = Weir::start(&config(&a, ""));
    weir.overwrite(&config(&b, ""));
    until_answered_by(&weir, "b");
}

#[cfg(unix)]
#[test]
fn a_link_that_is_pointed_elsewhere_is_followed() {
    use std::os::unix::fs::symlink;
    let (a, b) = (Target::named("a"), Target::named("b"));
    // As Kubernetes mounts a ConfigMap: weir.toml -> ..data/weir.toml, ..data -> ..1
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    for (version, target) in [("..1", &a), ("..2", &b)] {
        std::fs::create_dir(path(version)).unwrap();
        let file = path(version).join("weir.toml");
        std::fs::write(file, config(target, "")).unwrap();
    }
    symlink("..1", path("..data")).unwrap();
    symlink("..data/weir.toml", path("weir.toml")).unwrap();
    let weir = Weir::starting_with("this file is not read", |run| {
        *run = crate::process::support::command();
        run.args(["run", "--config"]).arg(path("weir.toml"));
        run.stdout(std::process::Stdio::piped());
        run.stderr(std::process::Stdio::piped());
    });
    until_answered_by(&weir, "a");
    symlink("..2", path("..next")).unwrap();
    std::fs::rename(path("..next"), path("..data")).unwrap();
    until_answered_by(&weir, "b");
}

#[test]
fn a_wrong_file_is_explained_and_changes_nothing() {
    let (a, b) = (Target::named("a"), Target::named("b"));
    let mut weir = Weir::start(&config(&a, ""));
    weir.replace(&config(&b, "algoritm = \"random\""));
    let problems = weir.error("1 error");
    assert!(problems.contains("error[unknown-key]"), "{problems}");
    assert!(problems.contains("did you mean `algorithm`?"), "{problems}");
    weir.line(&[
        "ERROR",
        "configuration not applied; the previous one stays active",
    ]);
    for _ in 0..10 {
        assert_eq!(weir.get("/").body, "a");
    }
    assert_eq!(b.requests(), 0);
    // A missing file is an error like a wrong one.
    std::fs::remove_file(weir.file()).unwrap();
    weir.line(&["ERROR", "cannot read", "weir.toml"]);
    assert_eq!(weir.get("/").body, "a");
    weir.replace(&config(&b, ""));
    until_answered_by(&weir, "b");
    assert!(weir.is_running());
}

#[test]
fn an_address_in_use_changes_nothing_and_is_named() {
    let (a, b) = (Target::named("a"), Target::named("b"));
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = taken.local_addr().unwrap();
    let weir = Weir::start(&config(&a, ""));
    let more = format!("[[listener]]\nbind = \"{addr}\"\nforward = \"app\"\n[target_group.app]");
    weir.replace(&config(&b, "").replace("[target_group.app]", &more));
    weir.line(&[
        "configuration not applied",
        &format!("cannot listen on {addr}"),
    ]);
    assert_eq!(weir.get("/").body, "a");
    assert_eq!(b.checks(), 0);
}

#[test]
fn another_number_of_workers_is_refused() {
    let a = Target::named("a");
    let weir = Weir::start(&config(&a, ""));
    weir.replace(&config(&a, "").replace("workers = 2", "workers = 3"));
    weir.line(&[
        "configuration not applied",
        "workers cannot change from 2 to 3 without a restart",
    ]);
    assert_eq!(weir.get("/").body, "a");
}

#[test]
fn a_hundred_reloads_under_load_fail_no_request_and_keep_health() {
    let (a, b, unhealthy) = (
        Target::named("a"),
        Target::named("b"),
        Target::named("unhealthy"),
    );
    unhealthy.fail_health(true);
    let config = |n: usize| {
        format!(
            r#"
            workers = 2
            admin = {{ bind = "127.0.0.1:0" }}
            [[listener]]
            name = "web"
            bind = "127.0.0.1:0"
            max_connections = {}
            forward = "app"
            [target_group.app]
            targets = ["{}", "{}", "{}"]
            algorithm = "{}"
            health = {{ path = "/health", interval = "1h", timeout = "10s", unhealthy = 1 }}
            "#,
            1000 + n,
            a.addr(),
            b.addr(),
            unhealthy.addr(),
            ["round_robin", "least_connections", "random"][n % 3],
        )
    };
    let weir = Weir::start(&config(0));
    weir.line(&["target is unhealthy", &unhealthy.addr().to_string()]);
    // From here on a check would pass, if a reload caused one.
    unhealthy.fail_health(false);
    let (addr, before) = (weir.addr(), weir.targets("app"));
    let users = Users::start(addr, 4, "/", |reply| {
        assert_eq!(reply.status, 200, "{}", reply.body);
        assert_ne!(reply.body, "unhealthy");
    });
    for n in 1..=100 {
        weir.overwrite(&config(n));
        weir.signal(Signal::HUP);
        weir.nth_line(n, &["configuration loaded: changed listener web"]);
    }
    let answers = users.stop();
    assert!(answers > 100, "{answers}");
    assert_eq!(a.requests() + b.requests(), answers);
    assert_eq!(unhealthy.requests(), 0);
    assert_eq!((a.checks(), b.checks(), unhealthy.checks()), (1, 1, 1));
    // Neither health nor counters were reset.
    let after = weir.targets("app");
    for (before, after) in before.iter().zip(&after) {
        for field in ["address", "state", "reason", "since", "last_checks"] {
            assert_eq!(before[field], after[field], "{field}");
        }
        assert_eq!(after["in_flight"], 0);
    }
    let counted: u64 = after.iter().map(|t| t["requests"].as_u64().unwrap()).sum();
    assert_eq!(counted, answers as u64);
    assert_eq!(requests_in_metrics(&weir), answers as u64);
}

fn requests_in_metrics(weir: &Weir) -> u64 {
    let page = Client::connect(weir.admin_addr()).get("/metrics").unwrap();
    let lines = page.body.lines();
    let series = lines.filter(|line| line.starts_with("weir_requests_total{"));
    series
        .map(|line| line.rsplit_once(' ').unwrap().1.parse::<u64>().unwrap())
        .sum()
}

/// A listener that forwards to one group, with a target that is checked often.
fn forwarding(group: &str, target: SocketAddr) -> String {
    format!(
        r#"
        workers = 2
        admin = {{ bind = "127.0.0.1:0" }}
        shutdown = {{ lame_duck = "0s", drain = "10s" }}
        [[listener]]
        name = "web"
        bind = "127.0.0.1:0"
        forward = "{group}"
        [target_group.{group}]
        targets = ["{target}"]
        health = {{ path = "/health", interval = "100ms", timeout = "90ms", unhealthy = 2 }}
        fail_open = false
        "#
    )
}

/// A socket that is bound and does not listen yet, and its address.
fn reserved() -> (TcpListener, SocketAddr) {
    let socket = rustix::net::socket(
        rustix::net::AddressFamily::INET,
        rustix::net::SocketType::STREAM,
        None,
    )
    .unwrap();
    let any: SocketAddr = "127.0.0.1:0".parse().unwrap();
    rustix::net::bind(&socket, &any).unwrap();
    let socket = TcpListener::from(socket);
    let addr = socket.local_addr().unwrap();
    (socket, addr)
}

/// Switches from blue to a target that starts late, under load.
fn blue_green(next: &str) {
    let blue = Target::named("blue");
    let (cold, addr) = reserved();
    let weir = Weir::start(&forwarding("blue", blue.addr()));
    let users = Users::start(weir.addr(), 4, "/", |reply| {
        assert_eq!(reply.status, 200, "{}", reply.body);
    });
    weir.replace(&forwarding(next, addr));
    weir.line(&[
        "reload waits for a target group",
        &format!("group={next}"),
        "healthy",
    ]);
    let ready = Client::connect(weir.admin_addr()).get("/readyz").unwrap();
    assert_eq!(ready.status, 200, "it serves");
    assert!(
        ready.body.contains(&format!("reload waits for {next}: ")),
        "{}",
        ready.body
    );
    assert_eq!(weir.get("/").body, "blue");
    let _green = Target::listening("green", cold);
    until_answered_by(&weir, "green");
    weir.line(&["configuration loaded"]);
    assert!(users.stop() > 0);
}

#[test]
fn a_group_takes_over_when_its_targets_are_ready() {
    blue_green("green");
}

#[test]
fn the_targets_of_a_group_serve_until_those_in_their_place_are_ready() {
    blue_green("blue");
}

#[test]
fn a_group_that_is_never_healthy_does_not_replace_one_that_serves() {
    let (blue, green) = (Target::named("blue"), Target::named("green"));
    let (_cold, addr) = reserved();
    let mut weir = Weir::start(&forwarding("blue", blue.addr()));
    weir.replace(&forwarding("broken", addr));
    weir.line(&[
        "WARN",
        "reload goes on waiting",
        "group=broken",
        "no healthy target",
    ]);
    assert_eq!(weir.get("/").body, "blue");
    // The newest configuration wins, and one that waits does not delay the end.
    weir.replace(&forwarding("green", green.addr()));
    until_answered_by(&weir, "green");
    weir.replace(&forwarding("broken", addr));
    weir.line(&["reload waits", "group=broken"]);
    weir.signal(Signal::TERM);
    assert_eq!(weir.end(), 0);
    assert_eq!(weir.lines(&["reload switches"]), Vec::<String>::new());
}

#[test]
fn a_rule_for_a_group_that_is_not_ready_is_in_force_after_a_while() {
    let (blue, (_cold, addr)) = (Target::named("blue"), reserved());
    let weir = Weir::start(&forwarding("blue", blue.addr()));
    let rule = format!(
        "rule = [{{ priority = 1, when = {{ path = \"/beta\" }}, then = {{ forward = \"beta\" }} }}]\n\
         [target_group.beta]\ntargets = [\"{addr}\"]\nhealth = {{ path = \"/health\" }}\n\
         fail_open = false\n[target_group.blue]"
    );
    let config = forwarding("blue", blue.addr()).replace("[target_group.blue]", &rule);
    weir.replace(&config);
    weir.line(&[
        "WARN",
        "reload switches to a target group that is not ready",
        "group=beta",
    ]);
    eventually("the rule", || match weir.get("/beta").status {
        503 => Ok(()),
        other => Err(format!("{other}")),
    });
    assert_eq!(weir.get("/").body, "blue");
}

#[test]
fn a_reload_that_changes_nothing_is_logged() {
    let a = Target::named("a");
    let weir = Weir::start(&config(&a, ""));
    weir.signal(Signal::HUP);
    weir.line(&["configuration loaded: nothing changed"]);
    assert_eq!(a.checks(), 1);
}

#[test]
fn a_certificate_is_replaced_when_its_file_changes_and_stays_if_the_new_one_is_wrong() {
    let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/config/tls");
    let folder = tempfile::tempdir().unwrap();
    let copy = |from: &str, to: &str| {
        let next = folder.path().join("next");
        std::fs::copy(shipped.join(from), &next).unwrap();
        std::fs::rename(next, folder.path().join(to)).unwrap();
    };
    copy("site.crt", "web.crt");
    copy("site.key", "web.key");
    let file = |name: &str| folder.path().join(name).display().to_string();
    let target = Target::named("a");
    let tls = format!(
        "tls = {{ certificates = [{{ cert = {:?}, key = {:?} }}] }}\n[target_group.app]",
        file("web.crt"),
        file("web.key")
    );
    let weir = Weir::start(&config(&target, "").replace("[target_group.app]", &tls));
    let certificate = || {
        let status = weir.status();
        let expires = status["listeners"][0]["certificates"][0]["expires"].clone();
        (status["reload_refused"] == true, expires.to_string())
    };
    let (is_refused, first) = certificate();
    assert!(!is_refused && first.starts_with("\"2045"), "{first}");
    copy("other.key", "web.key");
    until("the reload is refused", certificate, |(refused, _)| {
        *refused
    });
    assert_eq!(certificate().1, first);
    weir.error("it is not the key of this certificate");
    copy("site.key", "web.key");
    copy("expired.crt", "web.crt");
    until("another certificate", certificate, |(refused, expires)| {
        !refused && expires.starts_with("\"2021")
    });
}
