//! The log never blocks or stops Weir: not if it is not read, not if its reader has ended, not if
//! the disk is full. Lines that were lost or left out are counted.

use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::thread;

use rustix::process::{Pid, Signal};
use tempfile::TempDir;

use crate::process::support::{Client, Target, Weir, command, eventually, taskoverflow};

/// A Weir with a standard output that the test handles. Killed when dropped.
struct Unread {
    child: Child,
    _folder: TempDir,
}

impl Unread {
    fn start(config: &str, adapt: impl FnOnce(&mut Command)) -> Self {
        Self::spawn(command(), config, adapt)
    }

    /// Starts it by a shell command, which ends with `exec "$0" "$@"`.
    fn start_after(shell: &str, config: &str, adapt: impl FnOnce(&mut Command)) -> Self {
        let mut run = Command::new("sh");
        run.env_remove("RUST_LOG").stdin(Stdio::null());
        run.arg("-c").arg(shell).arg(env!("CARGO_BIN_EXE_weir"));
        Self::spawn(run, config, adapt)
    }

    fn spawn(mut run: Command, config: &str, adapt: impl FnOnce(&mut Command)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("weir.toml");
        std::fs::write(&file, config).unwrap();
        run.arg("run").arg("--config").arg(file);
        run.stderr(Stdio::null());
        adapt(&mut run);
        Self {
            child: run.spawn().unwrap(),
            _folder: folder,
        }
    }

    /// Starts it with both outputs in a pipe, and reads only the lines of the start.
    fn piped(config: &str) -> (Self, BufReader<ChildStdout>, Addresses) {
        let mut weir = Self::start_after("exec \"$0\" \"$@\" 2>&1", config, |run| {
            run.stdout(Stdio::piped());
        });
        let mut pipe = BufReader::with_capacity(1, weir.child.stdout.take().unwrap());
        let mut log = String::new();
        let addresses = loop {
            assert_ne!(pipe.read_line(&mut log).unwrap(), 0, "weir ended: {log}");
            if let Some(addresses) = Addresses::find(&log) {
                break addresses;
            }
        };
        (weir, pipe, addresses)
    }

    fn file(&self, name: &str) -> PathBuf {
        format!("/proc/{}/{name}", self.child.id()).into()
    }

    /// Finds its addresses without the log: of its two sockets the admin listener's answers
    /// `/livez`.
    fn listening(&self) -> Addresses {
        eventually("two sockets that listen", || {
            let mut sockets = self.sockets().into_iter();
            let (Some(first), Some(second)) = (sockets.next(), sockets.next()) else {
                return Err(format!("{:?}", self.sockets()));
            };
            let is_admin = |addr| {
                let reply = Client::try_connect(addr).and_then(|mut admin| admin.get("/livez"));
                reply.is_ok_and(|reply| reply.body == "ok\n")
            };
            Ok(if is_admin(first) {
                Addresses {
                    http: second,
                    admin: first,
                }
            } else {
                Addresses {
                    http: first,
                    admin: second,
                }
            })
        })
    }

    fn sockets(&self) -> Vec<SocketAddr> {
        let own: Vec<String> = std::fs::read_dir(self.file("fd"))
            .into_iter()
            .flatten()
            .filter_map(|entry| std::fs::read_link(entry.ok()?.path()).ok())
            .map(|link| link.display().to_string())
            .collect();
        let table = std::fs::read_to_string(self.file("net/tcp")).unwrap_or_default();
        let listening = |line: &str| {
            let fields: Vec<&str> = line.split_whitespace().collect();
            let is_own = own.contains(&format!("socket:[{}]", fields.get(9)?));
            let port = u16::from_str_radix(fields[1].split_once(':')?.1, 16).ok()?;
            (fields[3] == "0A" && is_own).then(|| ([127, 0, 0, 1], port).into())
        };
        table.lines().filter_map(listening).collect()
    }

    /// Ends it with SIGTERM, and returns its exit code.
    fn stop(&mut self) -> Option<i32> {
        let pid = Pid::from_raw(self.child.id().cast_signed()).unwrap();
        rustix::process::kill_process(pid, Signal::TERM).unwrap();
        let status = eventually("the end of weir", || {
            let ended = self.child.try_wait().unwrap();
            ended.ok_or_else(|| "it runs".to_owned())
        });
        status.code()
    }
}

impl Drop for Unread {
    fn drop(&mut self) {
        // Both fail only if it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

struct Addresses {
    http: SocketAddr,
    admin: SocketAddr,
}

impl Addresses {
    fn find(log: &str) -> Option<Self> {
        let address = |part| {
            let line = log.lines().find(|line| line.contains(part))?;
            let (_, rest) = line.split_once("http://")?;
            rest.split([' ', '"']).next()?.parse().ok()
        };
        Some(Self {
            http: address("listening on http://")?,
            admin: address("admin on http://")?,
        })
    }

    /// The number of lines of this kind that were dropped.
    fn dropped(&self, kind: &str) -> u64 {
        let page = Client::connect(self.admin).get("/metrics").unwrap().body;
        let series = format!("weir_log_lines_dropped_total{{kind=\"{kind}\"}} ");
        let value = page.lines().find_map(|line| line.strip_prefix(&series));
        value
            .unwrap_or_else(|| panic!("no {series} in {page}"))
            .parse()
            .unwrap()
    }
}

/// A configuration that answers without a target, and logs a line about each request.
fn logs_every_request() -> String {
    r#"
    workers = 1
    admin = { bind = "127.0.0.1:0" }
    shutdown = { lame_duck = "0s" }
    access_log = "all"
    [[listener]]
    bind = "127.0.0.1:0"
    fixed_response = { status = 200, body = "hello" }
    "#
    .to_owned()
}

/// Sends requests with a path that makes a line of some 2 KiB.
fn request(addr: SocketAddr, times: usize) {
    let path = format!("/{}", "x".repeat(2000));
    let mut client = Client::connect(addr);
    for _ in 0..times {
        assert_eq!(client.get(&path).unwrap().body, "hello");
    }
}

/// The number in `name=number`.
fn number(line: &str, name: &str) -> u64 {
    let (_, rest) = line.split_once(&format!("{name}=")).unwrap();
    let end = rest
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(rest.len());
    rest[..end].parse().unwrap()
}

const DROPPED: &str = "log lines were dropped";

#[test]
fn a_log_that_is_not_read_loses_lines_and_nothing_else() {
    const REQUESTS: usize = 3000;
    let (mut weir, pipe, addresses) = Unread::piped(&logs_every_request());
    request(addresses.http, REQUESTS);
    assert!(addresses.dropped("access") > 0, "the log is bounded");
    assert_eq!(
        addresses.dropped("event"),
        0,
        "events have a queue of their own"
    );
    // The reader reads again: it gets the lines that were kept, and the number of the others.
    let mut lines = pipe.lines().map(Result::unwrap);
    let mut written = 0;
    let summary = lines.find(|line| {
        written += u64::from(line.contains("/xxx"));
        line.contains(DROPPED)
    });
    let summary = summary.unwrap();
    assert!(summary.contains("WARN"), "{summary}");
    // Only now: a line is written, or lost, after the client has its response.
    let dropped = addresses.dropped("access");
    assert_eq!(number(&summary, "access"), dropped, "{summary}");
    assert_eq!(written + dropped, REQUESTS as u64);
    request(addresses.http, 1);
    assert!(
        lines.any(|line| line.contains("/xxx")),
        "lines are written again"
    );
    assert_eq!(weir.stop(), Some(0));
    assert!(lines.any(|line| line.contains("stopped: every request was finished")));
}

#[test]
fn a_log_that_is_not_read_does_not_delay_the_end() {
    let (mut weir, _pipe, addresses) = Unread::piped(&logs_every_request());
    request(addresses.http, 1000);
    assert_eq!(weir.stop(), Some(0));
}

#[test]
fn weir_goes_on_without_a_reader_of_its_log() {
    let target = Target::named("a");
    let config = format!(
        "{}
        [[listener]]
        name = \"checked\"
        bind = \"127.0.0.1:0\"
        forward = \"todo\"
        [target_group.todo]
        targets = [\"{}\"]
        health = {{ path = \"/health\", interval = \"100ms\", timeout = \"90ms\" }}
        ",
        logs_every_request(),
        target.addr()
    );
    let (mut weir, pipe, addresses) = Unread::piped(&config);
    drop(pipe);
    request(addresses.http, 1000);
    let checks = target.checks();
    eventually("more checks", || {
        let now = target.checks();
        if now > checks + 2 {
            Ok(())
        } else {
            Err(now.to_string())
        }
    });
    request(addresses.http, 10);
    assert_eq!(weir.stop(), Some(0));
}

#[test]
fn a_full_disk_stops_only_the_log() {
    let full = OpenOptions::new().write(true).open("/dev/full").unwrap();
    let mut weir = Unread::start(&logs_every_request(), |run| {
        run.stdout(full.try_clone().unwrap()).stderr(full);
    });
    let addresses = weir.listening();
    request(addresses.http, 1000);
    assert_eq!(weir.stop(), Some(0));
}

#[test]
fn the_log_goes_on_when_the_disk_has_room_again() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("log");
    let log = File::options()
        .create(true)
        .append(true)
        .open(&path)
        .unwrap();
    // 64 KiB, or half of it with the blocks of some shells.
    let shell = "ulimit -S -f 64; exec \"$0\" \"$@\"";
    let mut weir = Unread::start_after(shell, &logs_every_request(), |run| {
        run.stdout(log.try_clone().unwrap());
    });
    let read = || String::from_utf8_lossy(&std::fs::read(&path).unwrap()).into_owned();
    let addresses = eventually("the addresses", || {
        Addresses::find(&read()).ok_or_else(read)
    });
    request(addresses.http, 3000);
    assert!(addresses.dropped("access") > 0 && log.metadata().unwrap().len() > 0);
    let mut room = Command::new("prlimit");
    room.args(["--pid", &weir.child.id().to_string(), "--fsize=unlimited:"]);
    assert!(room.status().unwrap().success());
    let summary = eventually("the loss is logged", || {
        let text = read();
        let line = text.lines().find(|line| line.contains(DROPPED));
        line.map(str::to_owned).ok_or(text)
    });
    assert_eq!(number(&summary, "access"), addresses.dropped("access"));
    assert_eq!(weir.stop(), Some(0));
}

#[test]
fn a_record_on_a_disk_that_hangs_does_not_delay_the_end() {
    let folder = tempfile::tempdir().unwrap();
    // A file that opens at once and blocks its readers.
    let record = folder.path().join("record.csv");
    let made = Command::new("mkfifo").arg(&record).status();
    assert!(made.unwrap().success());
    let database = folder.path().join("todos.db");
    let command = [
        taskoverflow().to_str().unwrap(),
        "--port",
        "{port}",
        "--database",
        database.to_str().unwrap(),
    ];
    let config = format!(
        r#"
        admin = {{ bind = "127.0.0.1:0" }}
        shutdown = {{ lame_duck = "0s" }}
        [[listener]]
        bind = "127.0.0.1:0"
        forward = "todo"
        [target_group.todo]
        health = {{ path = "/api/v1/health", interval = "500ms", timeout = "490ms" }}
        replicas = {{ command = {command:?} }}
        [target_group.todo.autoscaling]
        min = 1
        max = 2
        record = {record:?}
        target_tracking = [{{ metric = "in_flight_per_target", target = 3 }}]
        "#
    );
    let mut weir = Weir::start(&config);
    eventually("an evaluation", || {
        let group = weir.autoscaling()["target_groups"][0].take();
        let evaluations = group["evaluations"].as_array().map_or(0, Vec::len);
        if evaluations > 0 {
            Ok(())
        } else {
            Err(group.to_string())
        }
    });
    weir.signal(Signal::TERM);
    assert_eq!(weir.end(), 0);
    weir.line(&["last evaluations not written within 1s"]);
}

#[test]
fn the_descriptors_of_closed_outputs_are_not_used_for_sockets() {
    let shell = "exec \"$0\" \"$@\" >&- 2>&-";
    let mut weir = Unread::start_after(shell, &logs_every_request(), |_| {});
    let addresses = weir.listening();
    request(addresses.http, 10);
    for number in ["fd/1", "fd/2"] {
        let link = std::fs::read_link(weir.file(number)).unwrap();
        assert_eq!(link, PathBuf::from("/dev/null"));
    }
    assert_eq!(weir.stop(), Some(0));
}

#[test]
fn equal_failures_are_a_few_lines_and_an_exact_count() {
    const REQUESTS: u64 = 500;
    let mut weir = Weir::start(
        r#"
        workers = 1
        shutdown = { lame_duck = "0s" }
        [[listener]]
        bind = "127.0.0.1:0"
        forward = "closed"
        [target_group.closed]
        targets = ["127.0.0.1:1"]
        health = false
        "#,
    );
    let mut client = Client::connect(weir.addr());
    for _ in 0..REQUESTS {
        assert!(client.get("/").unwrap().status >= 500);
    }
    weir.signal(Signal::TERM);
    assert_eq!(weir.end(), 0);
    let failures = [r#"reason="connect_error""#, r#"group="closed""#];
    let (summaries, lines): (Vec<_>, Vec<_>) = weir
        .lines(&failures)
        .into_iter()
        .partition(|line| line.contains("more like this in the last"));
    assert!(lines.len() <= 100, "{} lines", lines.len());
    assert!(!summaries.is_empty(), "{lines:?}");
    let more: u64 = summaries.iter().map(|line| number(line, "more")).sum();
    assert_eq!(more + lines.len() as u64, REQUESTS);
}

#[test]
fn wrong_tokens_are_a_few_lines() {
    const ATTEMPTS: usize = 100;
    let mut weir = Weir::start(
        r#"
        admin = { bind = "127.0.0.1:0", token = "the-right-one-the-right-one-1234" }
        [[listener]]
        bind = "127.0.0.1:0"
        fixed_response = { status = 200 }
        "#,
    );
    let admin = weir.admin_addr();
    let mut statuses = Vec::new();
    for _ in 0..ATTEMPTS {
        let mut client = Client::connect(admin);
        let reply = client.get_as("weir.example", "/api/v1/status", "wrong");
        statuses.push(reply.unwrap().status);
    }
    let looked_at = statuses.iter().filter(|status| **status == 401).count();
    let limited = statuses.iter().filter(|status| **status == 429).count();
    assert_eq!((looked_at, limited), (20, ATTEMPTS - 20));
    weir.signal(Signal::TERM);
    assert_eq!(weir.end(), 0);
    assert_eq!(weir.lines(&["refused: wrong token"]).len(), 1);
}

#[test]
fn the_whole_access_log_is_whole() {
    let weir = Weir::start(&logs_every_request());
    request(weir.addr(), 300);
    weir.nth_line(300, &["/xxx"]);
    assert_eq!(weir.lines(&["more like this"]).len(), 0);
}

#[test]
fn without_a_thread_for_the_log_nothing_starts() {
    let output = command()
        // More than the address space.
        .env("RUST_MIN_STACK", "1000000000000000")
        .args(["run", "--config", "/dev/null"])
        .output()
        .unwrap();
    let error = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{error}");
    assert!(
        error.starts_with("weir run: cannot start the log: "),
        "{error}"
    );
}

/// Characters that must not be logged, between words that identify the line.
const HOSTILE: &str =
    "evil\0\u{7f}\u{80}\u{9b}31m\u{1b}[31m\u{202e}\u{2066}\u{200f}\u{61c}\u{2028}\r\ntext";

/// A script that prints the same, as a TOML string.
const SCRIPT: &str = concat!(
    "\"\"\"printf 'evil\\\\000\\\\177\u{80}\u{9b}31m\\\\033[31m\u{202e}\u{2066}\u{200f}",
    "\u{61c}\u{2028}\\\\r text\\\\n'; exit 3 # {port}\"\"\""
);

/// A target that fails its checks with this body.
fn hostile() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap();
    thread::spawn(move || {
        for mut stream in listener.incoming().map_while(Result::ok) {
            let length = HOSTILE.len();
            let answer = format!(
                "HTTP/1.1 503 No\r\ncontent-type: text/plain\r\ncontent-length: {length}\r\n\
                 connection: close\r\n\r\n{HOSTILE}"
            );
            // Fails if the client closes early.
            let _ = stream.read(&mut [0; 4096]);
            let _ = stream.write_all(answer.as_bytes());
        }
    });
    addr
}

fn is_hostile(text: &str) -> bool {
    text.contains(|c: char| {
        c.is_control() && c != '\n'
            || matches!(c, '\u{61c}' | '\u{200e}'..='\u{200f}' | '\u{2028}'..='\u{202e}')
            || matches!(c, '\u{2066}'..='\u{2069}')
    })
}

/// A target and replicas that write these characters.
fn hostile_config() -> String {
    format!(
        r#"
        admin = {{ bind = "127.0.0.1:0" }}
        access_log = "all"
        [[listener]]
        bind = "127.0.0.1:0"
        forward = "todo"
        [target_group.todo]
        targets = ["{}"]
        health = {{ path = "/", interval = "100ms", timeout = "90ms", unhealthy = 2 }}
        [target_group.own]
        health = false
        replicas = {{ command = ["sh", "-c", {SCRIPT}], count = 1 }}
        "#,
        hostile()
    )
}

#[test]
fn text_of_other_programs_cannot_drive_a_terminal() {
    for format in ["pretty", "json"] {
        let weir = Weir::starting_with(&hostile_config(), |run| {
            run.args(["--log-format", format]);
        });
        let admin = weir.admin_addr();
        let unhealthy = weir.line(&["target is unhealthy", "evil", "text"]);
        weir.line(&["evil", "text", "own"]);
        // Its result does not matter.
        let mut client = Client::connect(weir.addr());
        let _ = client.get("/evil\u{9b}31m\u{202e}\u{7f}?\u{2028}text");
        weir.line(&["attempts"]);
        for line in weir.log() {
            assert!(!is_hostile(&line), "{format}: {line:?}");
        }
        if format == "json" {
            let line: serde_json::Value = serde_json::from_str(&unhealthy).unwrap();
            assert_eq!(line["reason"], "Target.ResponseCodeMismatch");
        }
        for path in ["/api/v1/status", "/metrics"] {
            let body = Client::connect(admin).get(path).unwrap().body;
            assert!(!is_hostile(&body), "{path}: {body:?}");
        }
        let status = command()
            .args(["status", "--admin", &admin.to_string()])
            .output()
            .unwrap();
        let status = String::from_utf8(status.stdout).unwrap();
        assert!(
            status.contains("todo") && !is_hostile(&status),
            "{status:?}"
        );
    }
}

#[test]
fn problems_of_a_refused_reload_are_in_the_json_log() {
    let config = logs_every_request();
    let weir = Weir::starting_with(&config, |run| {
        run.args(["--log-format", "json"]);
    });
    weir.addr();
    weir.replace(&config.replace("access_log", "acess_log"));
    let line = weir.line(&["acess_log", "\"code\""]);
    weir.line(&["configuration not applied"]);
    let problem: serde_json::Value = serde_json::from_str(&line).unwrap();
    assert_eq!(problem["level"], "ERROR");
    assert_eq!(problem["code"], "unknown-key");
    assert_eq!(problem["file"], weir.file().display().to_string());
    assert_eq!(problem["line"], 5);
    assert!(problem["column"].is_number() && problem["help"].is_string());
    assert!(problem["message"].as_str().unwrap().contains("acess_log"));
    assert_eq!(weir.errors(), "", "standard error is empty");
}

/// A configuration with a target that answers and one that does not listen.
fn logs_in(log: &str, target: &Target) -> String {
    format!(
        r#"
        workers = 1
        access_log = "all"
        shutdown = {{ lame_duck = "0s" }}
        log = {{ {log} }}
        [[listener]]
        name = "web"
        bind = "127.0.0.1:0"
        forward = "app"
        [[listener.rule]]
        priority = 1
        when = {{ path = "/closed" }}
        then = {{ forward = "closed" }}
        [target_group.app]
        targets = ["{}"]
        health = false
        [target_group.closed]
        targets = ["127.0.0.1:1"]
        health = false
        "#,
        target.addr()
    )
}

#[test]
fn lines_have_the_form_that_the_file_says() {
    let target = Target::named("a");
    let weir = Weir::start(&logs_in(r#"format = "json""#, &target));
    let port = weir.addr().port();
    assert_eq!(weir.get("/json").status, 200);
    let line: serde_json::Value = serde_json::from_str(&weir.line(&["/json"])).unwrap();
    assert!(line["connect_ms"].is_number(), "{line}");
    assert!(
        line["first_byte_ms"].as_f64() <= line["ms"].as_f64(),
        "{line}"
    );
    assert_eq!(
        (&line["protocol"], &line["status"]),
        (&"http1".into(), &200.into())
    );
    assert!(weir.get("/closed").status >= 500);
    let line: serde_json::Value = serde_json::from_str(&weir.line(&["/closed"])).unwrap();
    assert_eq!(line["error"], "Connection refused (os error 111)");
    assert_eq!(line["first_byte_ms"], serde_json::Value::Null);

    weir.replace(&logs_in(r#"format = "alb""#, &target));
    weir.line(&["configuration loaded"]);
    assert_eq!(weir.get("/alb").status, 200);
    let line = weir.line(&["/alb"]);
    let request = format!("\"GET http://localhost:{port}/alb HTTP/1.1\"");
    assert!(
        line.starts_with("http ") && line.contains(&request),
        "{line}"
    );
    let end = format!("\"forward\" \"-\" \"-\" \"{}\" \"200\"", target.addr());
    assert!(line.contains(&end), "{line}");

    weir.replace(&logs_in(r#"format = "combined""#, &target));
    weir.nth_line(2, &["configuration loaded"]);
    assert_eq!(weir.get("/combined").status, 200);
    let line = weir.line(&["/combined"]);
    assert!(line.starts_with("127.0.0.1 - - ["), "{line}");
    assert!(line.contains("] \"GET /combined HTTP/1.1\" 200 "), "{line}");
}

/// A configuration whose lines about requests go to `log`.
fn logs_to(log: &str) -> String {
    format!(
        r#"
        workers = 1
        admin = {{ bind = "127.0.0.1:0" }}
        access_log = "all"
        shutdown = {{ lame_duck = "0s" }}
        log = {{ format = "json", {log} }}
        [[listener]]
        bind = "127.0.0.1:0"
        fixed_response = {{ status = 200, body = "hello" }}
        "#
    )
}

/// Waits until a file has a text.
fn until_has(file: &Path, text: &str) -> String {
    eventually(&format!("{text} in {}", file.display()), || {
        let found = std::fs::read_to_string(file).unwrap_or_default();
        if found.contains(text) {
            Ok(found)
        } else {
            Err(found)
        }
    })
}

#[test]
fn lines_about_requests_go_to_a_file_which_is_begun_anew_when_it_was_renamed() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("access.log");
    let mut weir = Weir::start(&logs_to(&format!("to = {file:?}")));
    let mut client = Client::connect(weir.addr());
    client.get("/first").unwrap();
    until_has(&file, "/first");
    let old = folder.path().join("access.log.old");
    std::fs::rename(&file, &old).unwrap();
    client.get("/second").unwrap();
    until_has(&file, "/second");
    std::fs::rename(&file, &old).unwrap();
    weir.signal(Signal::HUP);
    // Made by the signal alone.
    client.get("/third").unwrap();
    let text = until_has(&file, "/third");
    assert!(!text.contains("/second"), "{text}");
    assert_eq!(weir.lines(&["/first"]).len(), 0, "the log has events alone");
    client.get("/last").unwrap();
    weir.signal(Signal::TERM);
    assert_eq!(weir.end(), 0);
    let text = std::fs::read_to_string(&file).unwrap();
    assert!(
        text.contains("/last"),
        "the end waits for the last lines: {text}"
    );
    for line in text.lines() {
        serde_json::from_str::<serde_json::Value>(line).unwrap();
    }
}

#[test]
fn a_file_is_rotated_and_loses_no_line() {
    const REQUESTS: usize = 100;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("access.log");
    let settings = format!("to = {file:?}, max_size = \"16KiB\", keep = 100");
    let mut weir = Weir::start(&logs_to(&settings));
    request(weir.addr(), REQUESTS);
    weir.signal(Signal::TERM);
    assert_eq!(weir.end(), 0);
    let files: Vec<_> = std::fs::read_dir(folder.path()).unwrap().collect();
    assert!(files.len() > 5, "{files:?}");
    let mut lines = 0;
    for entry in files {
        let text = std::fs::read_to_string(entry.unwrap().path()).unwrap();
        assert!(text.len() <= 16 * 1024 && text.ends_with('\n'));
        lines += text.lines().filter(|line| line.contains("/xxx")).count();
    }
    assert_eq!(lines, REQUESTS);
}

#[test]
fn a_full_disk_under_the_access_log_is_said_once_and_holds_up_nothing() {
    let mut weir = Weir::start(&logs_to("to = \"/dev/full\""));
    request(weir.addr(), 1000);
    weir.line(&["the access log cannot be written", "No space left"]);
    let admin = weir.admin_addr();
    eventually("lines are dropped and counted", || {
        let page = Client::connect(admin).get("/metrics").unwrap().body;
        let series = "weir_log_lines_dropped_total{kind=\"access\"} ";
        let count = page.lines().find_map(|line| line.strip_prefix(series));
        let count: u64 = count.unwrap().parse().unwrap();
        if count > 0 { Ok(()) } else { Err(page) }
    });
    weir.signal(Signal::TERM);
    assert_eq!(weir.end(), 0);
    assert_eq!(weir.lines(&["the access log cannot be written"]).len(), 1);
}

/// The next datagram with a text.
fn datagram_with(socket: &UnixDatagram, text: &str) -> String {
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let count = socket.recv(&mut buffer).unwrap();
        let datagram = std::str::from_utf8(&buffer[..count]).unwrap();
        if datagram.contains(text) {
            return datagram.to_owned();
        }
    }
}

#[test]
fn syslog_and_the_journal_get_a_message_for_each_request_and_may_come_back() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("socket");
    for kind in ["syslog", "journald"] {
        let to = format!("to = \"{kind}:{}\"", path.display());
        let weir = Weir::start(&logs_to(&to));
        let mut client = Client::connect(weir.addr());
        // Before there is a server: the line waits for it.
        client.get("/early").unwrap();
        weir.line(&["the access log cannot be written", "No such file"]);
        let server = UnixDatagram::bind(&path).unwrap();
        let message = datagram_with(&server, "/early");
        if kind == "syslog" {
            assert!(message.starts_with("<30>1 2"), "{message}");
            assert!(message.contains(" access - {\"timestamp\""), "{message}");
        } else {
            assert!(message.contains("\nMESSAGE={\"timestamp\""), "{message}");
        }
        weir.line(&["the access log is written again", "lost=0"]);
        drop(server);
        std::fs::remove_file(&path).unwrap();
        client.get("/late").unwrap();
        let server = UnixDatagram::bind(&path).unwrap();
        datagram_with(&server, "/late");
        drop(server);
        std::fs::remove_file(&path).unwrap();
    }
}
