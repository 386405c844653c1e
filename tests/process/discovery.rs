//! Targets that a file lists.

use std::fs;
use std::net::TcpListener;
use std::path::Path;

use serde_json::Value;

use crate::process::support::{Client, Target, Weir, command, until};

fn replace(file: &Path, text: &str) {
    let next = file.with_extension("next");
    fs::write(&next, text).unwrap();
    fs::rename(next, file).unwrap();
}

/// Waits until this target answers eight requests in a row.
fn until_all_from(weir: &Weir, name: &str) {
    let mut client = Client::connect(weir.addr());
    until(
        &format!("answers of {name} alone"),
        || {
            (0..8)
                .map(|_| client.get("/").unwrap().body)
                .collect::<Vec<_>>()
        },
        |bodies| bodies.iter().all(|body| body == name),
    );
}

#[test]
fn a_file_lists_the_targets_and_checks_decide_which_are_healthy() {
    let (a, b) = (Target::named("a"), Target::named("b"));
    // An address on which no process listens.
    let closed = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    // Until there is a list, the listeners wait as they do for a name.
    let weir = Weir::starting(
        r#"
        workers = 1
        admin = { bind = "127.0.0.1:0" }
        shutdown = { lame_duck = "0s", drain = "10s" }
        [[listener]]
        bind = "127.0.0.1:0"
        forward = "todo"
        [target_group.todo]
        targets = [{ file = "targets.txt" }]
        health = { path = "/health", interval = "100ms", timeout = "90ms", healthy = 1, unhealthy = 1 }
        retry = false
        outlier = false
        "#,
    );
    // Beside the configuration, whatever the working directory is.
    let file = weir.file().with_file_name("targets.txt");
    weir.line(&["cannot use the file of targets", "No such file"]);
    replace(&file, &format!("# the first\n{}\n{closed}\n", a.addr()));
    until_all_from(&weir, "a");
    assert_eq!(weir.targets("todo").len(), 2);
    assert!(a.checks() > 0);
    replace(&file, &format!("{} weight=5\n", b.addr()));
    until_all_from(&weir, "b");
    // Half of a list, and none: the targets stay.
    fs::write(&file, "127.0.0.1:1\n127.0.0").unwrap();
    weir.line(&[
        "cannot use the file of targets",
        "line 2: `127.0.0` is not an address",
    ]);
    fs::remove_file(&file).unwrap();
    weir.nth_line(2, &["cannot use the file of targets", "No such file"]);
    until_all_from(&weir, "b");
    let targets = weir.targets("todo");
    let present: Vec<_> = targets.iter().filter(|t| t["state"] == "healthy").collect();
    assert_eq!(present.len(), 1, "{targets:?}");
}

const TOKEN: &str = "0123456789abcdef0123456789abcdef";

/// A group with a static target, a file that lists another one, and a name that does not resolve.
fn mixed(a: &Target, b: &Target) -> Weir {
    let weir = Weir::starting(&format!(
        r#"
        admin = {{ bind = "127.0.0.1:0", token = "{TOKEN}" }}
        shutdown = {{ lame_duck = "0s", drain = "10s" }}
        [[listener]]
        bind = "127.0.0.1:0"
        forward = "todo"
        [target_group.todo]
        targets = ["{}", {{ file = "targets.txt" }}, "nothing.invalid:80"]
        health = false
        "#,
        a.addr()
    ));
    let file = weir.file().with_file_name("targets.txt");
    replace(&file, &format!("{}\n", b.addr()));
    weir
}

/// What is known of the file and of the name, once the file is read and the name has failed.
fn known(weir: &Weir, b: &Target) -> (Value, Value) {
    let known = || {
        let group = weir.status()["target_groups"][0].take();
        let of = |kind: &str| {
            let mut all = group["discovery"].as_array().unwrap().iter();
            let found = all.find(|one| one["kind"] == kind);
            found.cloned().unwrap_or_default()
        };
        (of("file"), of("dns"))
    };
    until("a list and a name that fails", known, |(list, name)| {
        list["targets"][0] == b.addr().to_string() && name["last_error"].is_string()
    })
}

#[test]
fn names_and_files_say_what_they_know() {
    let (a, b) = (Target::named("a"), Target::named("b"));
    let weir = mixed(&a, &b);
    let (list, name) = known(&weir, &b);
    let file = list["name"].as_str().unwrap();
    assert!(file.ends_with("targets.txt"), "{list}");
    assert!(list["last_success"].is_string(), "{list}");
    assert!(list["last_error"].is_null(), "{list}");
    assert_eq!(name["name"], "nothing.invalid:80");
    assert!(name["last_success"].is_null(), "{name}");
    assert!(name["failures_total"].as_u64().unwrap() > 0, "{name}");
    let reply = Client::connect(weir.admin_addr()).get("/metrics");
    let page = reply.unwrap().body;
    let labels = "{target_group=\"todo\",source=\"dns nothing.invalid:80\"}";
    let failures = format!("weir_discovery_failures_total{labels}");
    assert!(page.contains(&failures), "{page}");
    let targets = format!("weir_discovery_targets{labels} 0");
    assert!(page.contains(&targets), "{page}");
}

#[test]
fn each_target_says_where_it_comes_from() {
    let (a, b) = (Target::named("a"), Target::named("b"));
    let weir = mixed(&a, &b);
    known(&weir, &b);
    let admin = weir.admin_addr().to_string();
    let mut register = command();
    register.args(["target", "register", "todo", "127.0.0.1:9"]);
    register.args(["--admin", &admin]);
    register.env("WEIR_ADMIN_TOKEN", TOKEN);
    assert!(register.output().unwrap().status.success());
    let targets = weir.targets("todo");
    let sources: Vec<_> = targets
        .iter()
        .map(|one| one["source"].as_str().unwrap())
        .collect();
    let [fixed, listed, registered] = sources.as_slice() else {
        panic!("{targets:?}");
    };
    assert_eq!((*fixed, *registered), ("static", "registered"));
    let is_file = listed.starts_with("file ") && listed.ends_with("targets.txt");
    assert!(is_file, "{listed}");
}
