//! Another configuration while Weir runs: by signal, and by a change of the file.

use rustix::process::Signal;

use crate::support::{Client, Target, Users, Weir, eventually};

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

/// The body of the answer, once the new configuration is in force.
fn answers(weir: &Weir, wanted: &str) {
    eventually(&format!("answers from {wanted}"), || {
        let body = weir.get("/").body;
        if body == wanted { Ok(()) } else { Err(body) }
    });
}

#[test]
fn sighup_loads_the_file_again() {
    let (a, b) = (Target::named("a"), Target::named("b"));
    let weir = Weir::start(&config(&a, ""));
    assert_eq!(weir.get("/").body, "a");
    weir.overwrite(&config(&b, ""));
    weir.signal(Signal::HUP);
    answers(&weir, "b");
    weir.line(&["configuration loaded: changed target group app"]);
}

#[test]
fn a_file_that_is_replaced_is_loaded() {
    let (a, b) = (Target::named("a"), Target::named("b"));
    let weir = Weir::start(&config(&a, ""));
    weir.replace(&config(&b, ""));
    answers(&weir, "b");
    weir.replace(&config(&a, ""));
    answers(&weir, "a");
    weir.nth_line(2, &["configuration loaded: changed target group app"]);
}

#[test]
fn a_file_that_is_written_to_is_loaded() {
    let (a, b) = (Target::named("a"), Target::named("b"));
    let weir = Weir::start(&config(&a, ""));
    weir.overwrite(&config(&b, ""));
    answers(&weir, "b");
}

#[test]
fn a_file_that_changes_while_weir_starts_is_loaded() {
    let (a, b) = (Target::named("a"), Target::named("b"));
    // Starting takes as long as this check: nobody ever answers it.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let slow = format!(
        "[target_group.slow]\ntargets = [\"{}\"]\nhealth = {{ timeout = \"2s\" }}",
        silent.local_addr().unwrap()
    );
    let weir = Weir::starting(&config(&a, &slow));
    // Its first check arrives: the file has been read.
    let _check = silent.accept().unwrap();
    assert_eq!(weir.lines(&["listening"]), Vec::<String>::new());
    weir.replace(&config(&b, ""));
    answers(&weir, "b");
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
        *run = crate::support::command();
        run.args(["run", "--config"]).arg(path("weir.toml"));
        run.stdout(std::process::Stdio::piped());
        run.stderr(std::process::Stdio::piped());
    });
    answers(&weir, "a");
    symlink("..2", path("..next")).unwrap();
    std::fs::rename(path("..next"), path("..data")).unwrap();
    answers(&weir, "b");
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
    // A file that is gone is as wrong as one that cannot be understood.
    std::fs::remove_file(weir.file()).unwrap();
    weir.line(&["ERROR", "cannot read", "weir.toml"]);
    assert_eq!(weir.get("/").body, "a");
    weir.replace(&config(&b, ""));
    answers(&weir, "b");
    assert!(weir.is_running());
}

#[test]
fn an_address_in_use_changes_nothing_and_is_named() {
    let (a, b) = (Target::named("a"), Target::named("b"));
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
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

/// Done when, 5.
#[test]
fn a_hundred_reloads_under_load_fail_no_request_and_keep_health() {
    let (a, b, sick) = (
        Target::named("a"),
        Target::named("b"),
        Target::named("sick"),
    );
    sick.fail_health(true);
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
            sick.addr(),
            ["round_robin", "least_connections", "random"][n % 3],
        )
    };
    let weir = Weir::start(&config(0));
    weir.line(&["target is unhealthy", &sick.addr().to_string()]);
    // From here on it would pass, if a reload made Weir ask again.
    sick.fail_health(false);
    let (addr, before) = (weir.addr(), weir.targets("app"));
    let users = Users::start(addr, 4, "/", |reply| {
        assert_eq!(reply.status, 200, "{}", reply.body);
        assert_ne!(reply.body, "sick");
    });
    for n in 1..=100 {
        weir.overwrite(&config(n));
        weir.signal(Signal::HUP);
        weir.nth_line(n, &["configuration loaded: changed listener web"]);
    }
    let answers = users.stop();
    assert!(answers > 100, "{answers}");
    assert_eq!(a.requests() + b.requests(), answers);
    assert_eq!(sick.requests(), 0);
    assert_eq!((a.checks(), b.checks(), sick.checks()), (1, 1, 1));
    // Neither health nor counters have started anew.
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
