//! `weir explain`: what it says about a request, and that it says of records what has happened.

use std::io::Write;
use std::path::PathBuf;
use std::process::{Output, Stdio};

use serde_json::Value;
use tempfile::TempDir;

use crate::process::support::{Client, Target, Weir, command, until};

const CONFIG: &str = r##"
[[listener]]
name = "web"
bind = "127.0.0.1:8080"
forward = "blue"
forwarded = { trusted_proxies = ["10.0.0.0/8"] }

[[listener.rule]]
priority = 10
when = { host = "api.example", path = "/v1/*" }
then = { forward = "green", rewrite = { prefix = { from = "/v1" } }, request_headers = { remove = ["x-debug"], set = { x-to = "#{target}" } } }

[[listener.rule]]
priority = 20
when = { header = { x-beta = "1" } }
then = { forward = "green" }

[[listener.rule]]
priority = 30
when = { source_ip = "192.0.2.0/24" }
then = { fixed_response = { status = 403, body = "no\n" } }

[[listener.rule]]
priority = 40
when = { path = "/old/*" }
then = { redirect = { path = "/new" } }

[target_group.blue]
targets = ["10.1.0.1:80", { address = "10.1.0.2:80", weight = 0 }, "blue.internal:80"]

[target_group.green]
targets = ["10.2.0.1:80", "10.2.0.2:80"]
algorithm = "consistent_hash"
hash = { header = "x-user" }
"##;

struct Site {
    _folder: TempDir,
    file: PathBuf,
}

impl Site {
    fn new(config: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("weir.toml");
        std::fs::write(&file, config).unwrap();
        Self {
            _folder: folder,
            file,
        }
    }

    fn explain(&self, arguments: &[&str]) -> (i32, String) {
        let mut run = command();
        run.arg("explain").arg(&self.file).args(arguments);
        said(&run.output().unwrap())
    }

    fn json(&self, arguments: &[&str]) -> Value {
        let arguments = [arguments, &["--json"]].concat();
        let (code, text) = self.explain(&arguments);
        assert_eq!(code, 0, "{text}");
        serde_json::from_str(&text).unwrap()
    }

    /// Gives records on standard input.
    fn records(&self, records: &str, arguments: &[&str]) -> (i32, String) {
        let mut run = command();
        run.arg("explain").arg(&self.file).args(arguments);
        run.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = run.spawn().unwrap();
        let mut input = child.stdin.take().unwrap();
        let records = records.to_owned();
        let writer = std::thread::spawn(move || input.write_all(records.as_bytes()));
        let output = child.wait_with_output().unwrap();
        writer.join().unwrap().unwrap();
        said(&output)
    }
}

fn said(output: &Output) -> (i32, String) {
    let text = [&output.stdout[..], &output.stderr[..]].concat();
    (
        output.status.code().unwrap(),
        String::from_utf8(text).unwrap(),
    )
}

#[test]
fn a_request_is_followed_from_its_listener_to_its_target() {
    let site = Site::new(CONFIG);
    let (code, text) = site.explain(&[
        "GET http://API.example:8080/v1/todos?x=1",
        "-H",
        "X-Debug: 1",
        "-H",
        "x-user: ann",
        "--from",
        "198.51.100.7",
    ]);
    assert_eq!(code, 0, "{text}");
    for part in [
        "listener  web (127.0.0.1:8080)",
        "client    198.51.100.7",
        "rule      10: all of its conditions hold",
        "action    forward to green",
        "sent      GET /todos?x=1",
        "before    GET /v1/todos?x=1",
        "filter    remove x-debug",
        "x-to: TARGET",
        "group     green, consistent_hash",
        "hash key  header x-user leads to 10.2.0.",
    ] {
        assert!(text.contains(part), "{part} in:\n{text}");
    }
    assert!(
        text.lines().all(|line| line.chars().count() <= 120),
        "{text}"
    );
}

#[test]
fn each_rule_before_says_which_condition_does_not_hold_and_what_it_saw() {
    let site = Site::new(CONFIG);
    let told = site.json(&["POST http://www.example/x", "--from", "192.0.2.9"]);
    let passed = told["passed_over"].as_array().unwrap();
    let of = |at: usize, key: &str| passed[at][key].clone();
    assert_eq!(passed.len(), 2, "{told}");
    assert_eq!(
        (of(0, "rule"), of(0, "condition")),
        (10.into(), "host".into())
    );
    assert_eq!(of(0, "seen"), serde_json::json!(["www.example"]));
    assert_eq!(of(1, "condition"), "header x-beta");
    assert_eq!(of(1, "seen"), serde_json::json!([]));
    assert_eq!(told["rule"], 30);
    assert_eq!(told["action"]["kind"], "respond");
    assert_eq!(told["action"]["status"], 403);
}

#[test]
fn a_trusted_proxy_is_believed_and_other_peers_are_not() {
    let site = Site::new(CONFIG);
    let request = "GET http://www.example/";
    let chain = ["-H", "x-forwarded-for: 192.0.2.9"];
    let by = |from| {
        let told = site.json(&[request, chain[0], chain[1], "--from", from]);
        (told["rule"].clone(), told["client"].clone())
    };
    assert_eq!(by("10.0.0.9"), (30.into(), "192.0.2.9".into()));
    assert_eq!(by("198.51.100.7"), (Value::Null, "198.51.100.7".into()));
}

#[test]
fn targets_say_why_they_are_not_eligible_and_where_others_come_from() {
    let site = Site::new(CONFIG);
    let told = site.json(&["http://www.example/"]);
    let group = &told["action"]["groups"][0];
    let targets = group["targets"].as_array().unwrap();
    assert_eq!(targets[0]["eligible"], true);
    assert_eq!(targets[1]["eligible"], false);
    assert_eq!(targets[1]["because"], "its weight is 0");
    assert_eq!(
        group["found_at_run_time"][0],
        "the addresses of blue.internal, port 80"
    );
}

#[test]
fn a_request_that_is_refused_and_one_that_cannot_be_asked_have_their_exit_codes() {
    let site = Site::new(CONFIG);
    let (code, text) = site.explain(&["TRACE http://a.example/"]);
    assert_eq!(code, 1, "{text}");
    assert!(text.contains("refuse with 405"), "{text}");
    let (code, text) = site.explain(&["not a request at all"]);
    assert_eq!(code, 2, "{text}");
    let (code, text) = site.explain(&["http://a/", "--listener", "other"]);
    assert_eq!(code, 2);
    assert!(text.contains("`web` (127.0.0.1:8080)"), "{text}");
    let broken = Site::new("[[listener]]\n");
    assert_eq!(broken.explain(&["http://a/"]).0, 2);
}

#[test]
fn what_a_record_does_not_have_is_named() {
    let site = Site::new(CONFIG);
    let record = |rule: &str, group: &str| {
        format!(
            "{{\"message\":\"request\",\"client\":\"198.51.100.7\",\"method\":\"GET\",\
             \"host\":\"www.example\",\"path\":\"/\",\"listener\":\"web\"{rule},\
             \"group\":\"{group}\"}}\n"
        )
    };
    let (code, text) = site.records(&record("", "blue"), &[]);
    assert_eq!(code, 0, "{text}");
    let unknown = "cannot be known from a record: header x-beta";
    assert!(
        text.starts_with("possible: ") && text.contains(unknown),
        "{text}"
    );
    let (code, _) = site.records(&record(",\"rule\":20", "green"), &[]);
    assert_eq!(code, 0, "the header may have been there");
    let (code, text) = site.records(&record(",\"rule\":30", "green"), &[]);
    assert_eq!(code, 1, "{text}");
    assert!(text.contains("different"), "{text}");
    let (code, text) = site.records(&record("", "green"), &["--json"]);
    let told: Value = serde_json::from_str(text.trim()).unwrap();
    assert_eq!((code, &told["verdict"]), (1, &"different".into()));
    assert_eq!(site.records("no record\n", &[]).0, 2);
}

/// A configuration whose rules look at all that a record has.
fn recorded(blue: &Target, green: &Target) -> String {
    let mut text = format!(
        "access_log = \"all\"\nshutdown = {{ lame_duck = \"0s\" }}\n\
         [target_group.blue]\ntargets = [\"{}\"]\nhealth = false\n\
         [target_group.green]\ntargets = [\"{}\"]\nhealth = false\n\
         [[listener]]\nname = \"web\"\nbind = \"127.0.0.1:0\"\nforward = \"blue\"\n",
        blue.addr(),
        green.addr()
    );
    for (priority, when, then) in [
        (
            1,
            "host = \"*.api.example\", path = \"/v1/*\"",
            "forward = \"green\"",
        ),
        (
            2,
            "path_regex = \"^/user/[0-9]+$\", method = \"POST\"",
            "forward = \"green\"",
        ),
        (
            3,
            "query = \"beta=1\"",
            "forward = [{ group = \"blue\", weight = 1 }, { group = \"green\", weight = 1 }]",
        ),
        (
            4,
            "source_ip = \"192.0.2.0/24\"",
            "fixed_response = { status = 403 }",
        ),
        (
            5,
            "path = [\"/old/*\", \"/older/?\"]",
            "redirect = { path = \"/new\" }",
        ),
        (
            6,
            "host = \"shop.example\", method = [\"PUT\", \"DELETE\"]",
            "fixed_response = { status = 405 }",
        ),
        (
            7,
            "query = { lang = [\"de*\"] }, path = \"/user/*\"",
            "forward = \"green\"",
        ),
    ] {
        let rule = format!("priority = {priority}\nwhen = {{ {when} }}\nthen = {{ {then} }}\n");
        text = text + "[[listener.rule]]\n" + &rule;
    }
    text
}

/// Method, host and target of a request that some rule may look at.
fn any_request(random: &mut fastrand::Rng) -> (&'static str, &'static str, String) {
    let mut one = |all: &'static str| {
        let all: Vec<&str> = all.split(' ').collect();
        all[random.usize(..all.len())]
    };
    let method = one("GET POST PUT DELETE OPTIONS PURGE");
    let host = one("www.example A.api.example:80 b.api.example. shop.example [::1]");
    let path = one("/ /v1/a /v1/ /x/../v1/b /user/7 /user/x /%75ser/12 /old/a /older/b /older/bc");
    let query = one(" ? ?beta=1 ?BETA=1&x ?beta=%31 ?lang=de-AT ?lang=en ?q=a+b");
    (method, host, format!("{path}{query}"))
}

#[test]
fn ten_thousand_records_of_a_running_weir_come_out_equal() {
    const COUNT: usize = 10_000;
    let (blue, green) = (Target::named("blue"), Target::named("green"));
    let weir = Weir::starting_with(&recorded(&blue, &green), |run| {
        run.args(["--log-format", "json"]);
    });
    let mut client = Client::connect(weir.addr());
    let mut random = fastrand::Rng::with_seed(13);
    for _ in 0..COUNT {
        let (method, host, target) = any_request(&mut random);
        client.ask(method, host, &target).unwrap();
    }
    let records = || weir.lines(&["\"message\":\"request\""]);
    until("all records", || records().len(), |count| *count == COUNT);
    let site = Site {
        file: weir.file(),
        _folder: tempfile::tempdir().unwrap(),
    };
    let (code, text) = site.records(&(records().join("\n") + "\n"), &[]);
    let sum = text.lines().last().unwrap();
    assert_eq!((code, sum), (0, "10000 records: 10000 equal"));
    for part in [
        "by web, rule 1 to green",
        "rule 3 to blue or green",
        "rule 5;",
        "default to blue",
    ] {
        let part = part.trim_end_matches(';');
        assert!(text.contains(part), "{part}");
    }
    // The same records do not agree with rules that lack one.
    let other = weir.file().with_file_name("other.toml");
    let changed = std::fs::read_to_string(weir.file())
        .unwrap()
        .replace("beta=1", "gamma=1");
    std::fs::write(&other, changed).unwrap();
    let site = Site {
        file: other,
        ..site
    };
    assert_eq!(site.records(&(records().join("\n") + "\n"), &[]).0, 1);
}

/// `weir explain` of a running Weir.
fn live(weir: &Weir, arguments: &[&str]) -> (i32, String) {
    let admin = weir.admin_addr().to_string();
    let mut run = command();
    run.args(["explain", "--admin", &admin]).args(arguments);
    said(&run.output().unwrap())
}

#[test]
fn a_running_weir_says_which_targets_are_eligible_and_why_others_are_not() {
    let target = Target::named("a");
    let weir = Weir::start(&format!(
        "admin = {{ bind = \"127.0.0.1:0\" }}\nshutdown = {{ lame_duck = \"0s\" }}\n\
         [[listener]]\nname = \"web\"\nbind = \"127.0.0.1:0\"\nforward = \"app\"\n\
         [target_group.app]\ntargets = [\"{}\", \"127.0.0.1:9\"]\n\
         health = {{ interval = \"1s\", timeout = \"500ms\" }}\n",
        target.addr()
    ));
    let request = ["GET http://www.example/", "-H", "x-a: b", "--json"];
    let targets = || {
        let (code, text) = live(&weir, &request);
        assert_eq!(code, 0, "{text}");
        let told: Value = serde_json::from_str(&text).unwrap();
        told["action"]["groups"][0]["targets"].clone()
    };
    let found = until("a failed check", targets, |found| {
        found[1]["state"] == "unhealthy"
    });
    assert_eq!(found[0]["eligible"], true, "{found}");
    assert_eq!(found[1]["eligible"], false, "{found}");
    let because = found[1]["because"].as_str().unwrap();
    assert!(because.contains("its checks fail"), "{found}");
    let (code, text) = live(&weir, &["http://www.example/"]);
    assert_eq!(code, 0, "{text}");
    assert!(text.contains("unhealthy  its checks fail"), "{text}");
    assert_eq!(live(&weir, &["TRACE http://a.example/"]).0, 1);
    let (code, text) = live(&weir, &["http://a/", "--listener", "other"]);
    assert_eq!(code, 2);
    assert!(text.contains("`web`"), "{text}");
    for wrong in [&["no request at all"][..], &["a.toml", "http://a/"], &[]] {
        assert_eq!(live(&weir, wrong).0, 2, "{wrong:?}");
    }
}
