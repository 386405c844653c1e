//! Targets that a file lists.

use std::fs;
use std::net::TcpListener;
use std::path::Path;

use crate::process::support::{Client, Target, Weir, eventually};

fn replace(file: &Path, text: &str) {
    let next = file.with_extension("next");
    fs::write(&next, text).unwrap();
    fs::rename(next, file).unwrap();
}

/// Waits until all of eight requests are answered by this target.
fn until_all_from(weir: &Weir, name: &str) {
    let mut client = Client::connect(weir.addr());
    eventually(&format!("answers of {name} alone"), || {
        let replies = (0..8).map(|_| client.get("/").unwrap());
        let bodies: Vec<_> = replies.map(|reply| reply.body).collect();
        let all = bodies.iter().all(|body| body == name);
        if all {
            Ok(())
        } else {
            Err(format!("{bodies:?}"))
        }
    });
}

#[test]
fn a_file_says_who_gets_the_requests_and_checks_say_who_can() {
    let (a, b) = (Target::named("a"), Target::named("b"));
    // Nobody answers there.
    let dead = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    // Until there is a list, Weir waits with its listeners as it does for a name.
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
    // Beside the configuration, wherever Weir was started.
    let file = weir.file().with_file_name("targets.txt");
    weir.line(&["cannot use the file of targets", "No such file"]);
    replace(&file, &format!("# the first\n{}\n{dead}\n", a.addr()));
    until_all_from(&weir, "a");
    assert_eq!(weir.targets("todo").len(), 2);
    assert!(a.checks() > 0);
    replace(&file, &format!("{} weight=5\n", b.addr()));
    until_all_from(&weir, "b");
    // Half of a list, and none: who is there stays.
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
