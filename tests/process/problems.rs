//! Faults of an incident, staged: each is found by `weir status` alone.

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use super::support::{Client, Target, Weir, command, eventually, until};
use crate::scenario::support::Issued;

/// A server that answers everything with this status, after this time.
fn answering(status: &'static str, delay: Duration) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap();
    thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            // Fails if the client closes early.
            thread::spawn(move || answer_all(stream, status, delay));
        }
    });
    addr
}

fn answer_all(stream: TcpStream, status: &str, delay: Duration) -> std::io::Result<()> {
    let mut stream = BufReader::new(stream);
    let mut line = String::new();
    while stream.read_line(&mut line)? > 0 {
        if line.ends_with("\r\n\r\n") {
            thread::sleep(delay);
            let answer = format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n");
            stream.get_mut().write_all(answer.as_bytes())?;
            line.clear();
        }
    }
    Ok(())
}

/// Exit code, standard output and standard error of `weir status`.
fn status(weir: &Weir, arguments: &[&str]) -> (i32, String, String) {
    let mut command = command();
    command.arg("status").args(arguments);
    command.env("WEIR_ADMIN", weir.admin_addr().to_string());
    let output = command.output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    let code = output.status.code().unwrap();
    (code, text(output.stdout), text(output.stderr))
}

/// Waits until `weir status` has a line with all of these parts.
fn finds(weir: &Weir, parts: &[&str]) -> String {
    eventually(&format!("a problem with {parts:?}"), || {
        let (_, text, _) = status(weir, &[]);
        let mut lines = text.lines();
        let found = lines.find(|line| parts.iter().all(|part| line.contains(part)));
        found.map(str::to_owned).ok_or(text)
    })
}

const HEAD: &str = r#"
    workers = 1
    admin = { bind = "127.0.0.1:0" }
    shutdown = { lame_duck = "0s", drain = "1s" }
"#;

const CHECK: &str =
    r#"path = "/health", interval = "100ms", timeout = "90ms", healthy = 1, unhealthy = 1"#;

/// Groups of which each has another fault.
fn faulty([good, broken, slow, dead, lost]: [SocketAddr; 5]) -> String {
    format!(
        r#"{HEAD}
        [[listener]]
        bind = "127.0.0.1:0"
        forward = "slow"
        [[listener.rule]]
        priority = 1
        when = {{ path = "/broken" }}
        then = {{ forward = "broken" }}
        [target_group.dead]
        targets = ["{good}", "{dead}"]
        health = {{ {CHECK} }}
        [target_group.lost]
        targets = ["{lost}"]
        health = {{ {CHECK} }}
        [target_group.broken]
        targets = ["{broken}", "{good}"]
        min_healthy = 2
        health = false
        retry = false
        outlier = {{ consecutive_errors = 3 }}
        [target_group.slow]
        targets = ["{slow}", "{good}"]
        health = false
        "#,
    )
}

#[test]
fn targets_that_are_dead_broken_or_slow_are_found_and_so_is_a_wrong_check() {
    let good = Target::named("good");
    let broken = answering("500 Broken", Duration::ZERO);
    let slow = answering("200 OK", Duration::from_millis(200));
    let dead = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let lost = answering("404 Not Found", Duration::ZERO);
    let addresses = [good.addr(), broken, slow, dead, lost];
    let weir = Weir::start(&faulty(addresses));
    finds(
        &weir,
        &[
            "warning",
            "dead",
            &dead.to_string(),
            "fails its checks",
            "refused",
        ],
    );
    let line = finds(&weir, &["error", "lost", "404", "is to answer 200"]);
    assert!(line.contains(&format!("http://{lost}/health")), "{line}");
    let mut client = Client::connect(weir.addr());
    // An ejection is for what a target does while its peer does better.
    let withheld = ["warning", "broken", "is to be ejected and is not"];
    let attempt = || {
        for _ in 0..4 {
            client.get("/broken").unwrap();
        }
        status(&weir, &[]).1
    };
    until("a withheld ejection", attempt, |text| {
        let has_all = |line: &str| withheld.iter().all(|part| line.contains(part));
        text.lines().any(has_all)
    });
    finds(&weir, &["error", "broken", "answers 5xx to"]);
    for _ in 0..24 {
        client.get("/").unwrap();
    }
    finds(&weir, &["warning", "slow", &slow.to_string(), "p95"]);
    let (code, text, _) = status(&weir, &["dead"]);
    assert_eq!(code, 0, "one of two is no error: {text}");
    assert!(!text.contains("broken") && text.contains("dead"), "{text}");
    let (code, text, _) = status(&weir, &["lost", "--json"]);
    let document: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(code, 1, "{text}");
    assert_eq!(document["problems"][0]["kind"], "wrong_health_check");
    assert_eq!(document["target_groups"].as_array().unwrap().len(), 1);
    let (code, _, errors) = status(&weir, &["none"]);
    assert_eq!(code, 2);
    assert!(
        errors.contains("no target group `none`; there is dead, lost"),
        "{errors}"
    );
}

#[test]
fn limits_that_are_reached_are_found() {
    let target = Target::named("a");
    let weir = Weir::start(&format!(
        r#"{HEAD}
        [[listener]]
        name = "narrow"
        bind = "127.0.0.1:0"
        max_connections = 1
        fixed_response = {{ status = 200 }}
        [[listener]]
        name = "open"
        bind = "127.0.0.1:0"
        forward = "full"
        [target_group.full]
        targets = ["{}"]
        health = false
        max_concurrency = 1
        queue = {{ length = 1, timeout = "60s" }}
        "#,
        target.addr()
    ));
    let (code, text, _) = status(&weir, &[]);
    assert_eq!(code, 0);
    assert!(text.contains("nothing is wrong"), "{text}");
    let open = weir.addr_of("open");
    let mut held: Vec<Client> = (0..2).map(|_| Client::connect(open)).collect();
    for client in &mut held {
        client.send("/held").unwrap();
    }
    finds(
        &weir,
        &["error", "full", "1 of 1 requests wait in the queue"],
    );
    assert_eq!(Client::connect(open).get("/held").unwrap().status, 503);
    finds(
        &weir,
        &[
            "error",
            "full",
            "1 requests of the last",
            "and the queue full",
        ],
    );
    let narrow = weir.addr_of("narrow");
    let mut first = TcpStream::connect(narrow).unwrap();
    // A request that is not whole: an idle connection would be closed for the next client.
    first.write_all(b"GET / HTTP/1.1\r\nhost: a\r\n").unwrap();
    let _second = Client::connect(narrow);
    finds(
        &weir,
        &[
            "error",
            "listener narrow",
            "all of its 1 connections are open; 1 client wait",
        ],
    );
    assert_eq!(status(&weir, &[]).0, 1);
    target.open();
}

#[test]
fn a_refused_reload_an_expired_certificate_and_a_full_disk_are_found() {
    let folder = tempfile::tempdir().unwrap();
    let issued = Issued::by_itself("old.example", 2020);
    let (cert, key) = (folder.path().join("old.crt"), folder.path().join("old.key"));
    std::fs::write(&cert, &issued.cert).unwrap();
    std::fs::write(&key, &issued.key).unwrap();
    let config = format!(
        r#"{HEAD}
        access_log = "all"
        log = {{ to = "/dev/full" }}
        [[listener]]
        name = "plain"
        bind = "127.0.0.1:0"
        fixed_response = {{ status = 200 }}
        [[listener]]
        name = "secure"
        bind = "127.0.0.1:0"
        fixed_response = {{ status = 200 }}
        tls = {{ certificates = [{{ cert = {cert:?}, key = {key:?} }}] }}
        "#
    );
    let weir = Weir::start(&config);
    finds(
        &weir,
        &["error", "listener secure", "old.example", "has expired"],
    );
    Client::connect(weir.addr_of("plain")).get("/").unwrap();
    finds(
        &weir,
        &[
            "error",
            "cannot write the access log",
            "/dev/full",
            "No space left",
        ],
    );
    weir.replace(&config.replace("access_log", "acess_log"));
    finds(&weir, &["error", "was refused", "acess_log"]);
    weir.replace(&config.replace("log = { to", "# log = { to"));
    until(
        "no refused reload",
        || status(&weir, &[]).1,
        |text| !text.contains("was refused"),
    );
}

#[test]
fn replicas_that_exit_again_and_again_and_too_few_descriptors_are_found() {
    let config = format!(
        r#"{HEAD}
        [[listener]]
        bind = "127.0.0.1:0"
        forward = "todo"
        [target_group.todo]
        replicas = {{ command = ["sh", "-c", "exit 7", "sh", "{{port}}"], count = 1 }}
        "#
    );
    let weir = Weir::starting_limited(&config, "", 64);
    finds(
        &weir,
        &[
            "warning",
            "64 file descriptors are too few",
            "max_connections",
        ],
    );
    finds(
        &weir,
        &["error", "todo", "exits again and again", "exit status: 7"],
    );
    let (code, text, _) = status(&weir, &["--rules"]);
    assert_eq!(code, 1);
    assert!(
        text.contains("CONDITIONS") && text.contains("default"),
        "{text}"
    );
}

#[test]
fn a_status_is_watched_until_its_reader_is_gone() {
    let weir = Weir::start(&format!(
        "{HEAD}\n[[listener]]\nbind = \"127.0.0.1:0\"\nfixed_response = {{ status = 200 }}\n"
    ));
    let mut watching = command();
    watching.args([
        "status",
        "--watch",
        "--admin",
        &weir.admin_addr().to_string(),
    ]);
    let mut child = watching.stdout(Stdio::piped()).spawn().unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut headings = lines
        .map_while(Result::ok)
        .filter(|line| line.starts_with("weir "));
    let (first, second) = (headings.next().unwrap(), headings.next().unwrap());
    assert!(first.contains("serving"), "{first}");
    drop(weir);
    let lost = headings.find(|line| line.contains("cannot connect to"));
    assert!(lost.unwrap().ends_with("trying again"), "{second}");
    drop(headings);
    let ended = eventually("the end of weir status", || {
        child
            .try_wait()
            .unwrap()
            .ok_or_else(|| "it runs".to_owned())
    });
    assert!(ended.success(), "{ended}");
}

/// A running `weir events`, and what it prints.
fn events(weir: &Weir, arguments: &[&str]) -> Command {
    let mut events = command();
    events.arg("events").args(arguments);
    events.env("WEIR_ADMIN", weir.admin_addr().to_string());
    events
}

/// What `weir events` prints.
fn listed(weir: &Weir, arguments: &[&str]) -> String {
    let output = events(weir, arguments).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// A group with a dead target, which is checked at this interval.
fn failing(dead: SocketAddr, interval: &str) -> String {
    format!(
        r#"{HEAD}
        [[listener]]
        bind = "127.0.0.1:0"
        forward = "app"
        [target_group.app]
        targets = ["{dead}"]
        health = {{ {} }}
        "#,
        CHECK.replace("100ms", interval)
    )
}

#[test]
fn events_are_listed_and_followed() {
    let dead = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let weir = Weir::start(&failing(dead, "100ms"));
    let list = |arguments: &[&str]| listed(&weir, arguments);
    let unhealthy = until(
        "a target is unhealthy",
        || list(&["--kind", "health", "--kind", "drain", "--group", "app"]),
        |text| !text.is_empty(),
    );
    assert!(
        unhealthy.contains("  warning  health       app "),
        "{unhealthy}"
    );
    assert!(unhealthy.contains("target is unhealthy"), "{unhealthy}");
    assert_eq!(list(&["--kind", "scaling"]), "");
    assert_eq!(list(&["--limit", "1"]).lines().count(), 1);
    let json = list(&["--json", "--since", "10m"]);
    let events_of = |line: &str| serde_json::from_str::<serde_json::Value>(line).unwrap();
    let first = events_of(json.lines().next().unwrap());
    assert_eq!(first["sequence"], 1);
    let all = list(&["--since", "2000-01-01T00:00:00Z", "--json"]);
    assert_eq!(all.lines().next(), json.lines().next());
    let mut following = events(&weir, &["--follow", "--kind", "reload"]);
    let mut child = following
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // Whether the reload comes before the list or after it, it is printed.
    weir.replace(&failing(dead, "200ms"));
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut lines = lines.map_while(Result::ok);
    assert!(lines.any(|line| line.contains("configuration loaded")));
    drop(weir);
    let mut errors = BufReader::new(child.stderr.take().unwrap()).lines();
    let said = errors.next().unwrap().unwrap();
    assert!(said.ends_with("trying again"), "{said}");
    child.kill().unwrap();
    child.wait().unwrap();
    let unknown = command()
        .args(["events", "--kind", "nope"])
        .output()
        .unwrap();
    assert_eq!(unknown.status.code(), Some(2));
}
