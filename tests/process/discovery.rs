//! Targets that a file lists.

use std::fs;
use std::net::TcpListener;
use std::path::Path;

use crate::process::support::{Client, Target, Weir, until};

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
