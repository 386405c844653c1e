//! `weir simulate` and `weir plot`: what they print and write for small files.

use std::fs::{self, File};
use std::io::Write;
use std::process::Output;

use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::Value;
use tempfile::TempDir;

use crate::process::support::command;

/// A group of replicas that serve 500 requests per second and should run at 20 % of that.
const CONFIG: &str = r#"
[[listener]]
bind    = "127.0.0.1:0"
forward = "todo"

[target_group.todo.replicas]
command = ["todo", "--port", "{port}"]
cpus    = 0.5

[target_group.todo.autoscaling]
min = 1
max = 4
target_tracking = [{ metric = "cpu", target = 20 }]
"#;

/// A load of 16 % of a replica, and after a minute 80 %, for half an hour.
const STEP: &str = "seconds,requests_per_second\n0,80\n60,80\n60,400\n1860,400\n";

struct Files(TempDir);

impl Files {
    /// A folder with a configuration and a load.
    fn new(config: &str, load: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("weir.toml"), config).unwrap();
        fs::write(folder.path().join("load"), load).unwrap();
        Self(folder)
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.0.path().join(name)).unwrap()
    }

    fn run(&self, arguments: &[&str]) -> Output {
        command()
            .current_dir(&self.0)
            .args(arguments)
            .output()
            .unwrap()
    }

    /// Asserts that a simulation with these arguments fails with this code and message.
    fn refuses(&self, arguments: &[&str], code: i32, message: &str) {
        let output = self.simulate(arguments);
        let errors = refused(&output, code);
        assert!(errors.contains(message), "{message}: {errors}");
    }

    /// Runs `weir simulate` with the load and the configuration.
    fn simulate(&self, arguments: &[&str]) -> Output {
        let mut all = vec!["simulate", "--config", "weir.toml", "load"];
        all.extend(arguments);
        self.run(&all)
    }
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

fn succeeded(output: &Output) -> &str {
    assert!(output.status.success(), "{}", text(&output.stderr));
    text(&output.stdout)
}

/// Standard error of a run that failed with this code.
fn refused(output: &Output, code: i32) -> &str {
    assert_eq!(output.status.code(), Some(code), "{}", text(&output.stdout));
    text(&output.stderr)
}

#[test]
fn the_profiles_are_compared_in_a_table_a_csv_and_a_picture() {
    let files = Files::new(CONFIG, STEP);
    let arguments = [
        "--capacity",
        "500",
        "--csv",
        "runs.csv",
        "--svg",
        "runs.svg",
    ];
    let output = files.simulate(&arguments);
    let table = succeeded(&output);
    assert!(
        table.starts_with("todo: a load curve of 1861 s, 725200 requests"),
        "{table}"
    );
    let row = |profile: &str| {
        let mut lines = table.lines().map(|line| line.split_whitespace());
        let found = lines.find(|cells| cells.clone().next() == Some(profile));
        found.unwrap().map(str::to_owned).collect::<Vec<_>>()
    };
    // Peak, changes, and the seconds until more are desired.
    assert_eq!(row("fast")[1..4], ["4", "1", "2"]);
    assert_eq!(row("aws")[1..3], ["4", "1"]);
    assert!(row("aws")[3].parse::<u32>().unwrap() >= 180);
    assert_eq!(row("kubernetes")[1], "4");
    assert!(row("aws_high_resolution")[3].parse::<u32>().unwrap() >= 60);

    let csv = files.read("runs.csv");
    assert_eq!(csv.lines().count(), 1 + 4 * 1861);
    assert!(csv.starts_with("profile,second,requests_per_second,desired,running,"));
    assert!(csv.contains("\nfast,60,400.000,1,1,0,80.00,"), "{csv}");
    let svg = files.read("runs.svg");
    for part in [
        "<svg ",
        "fast",
        "kubernetes",
        "cpu (%)",
        "requests/s",
        "</svg>",
    ] {
        assert!(svg.contains(part), "{part}");
    }
    // A second run writes the same.
    let again = files.simulate(&arguments);
    assert_eq!(table, succeeded(&again));
    let written = text(&again.stderr);
    assert_eq!(written, "wrote runs.csv\nwrote runs.svg\n");
    assert_eq!((csv, svg), (files.read("runs.csv"), files.read("runs.svg")));
}

#[test]
fn a_compressed_load_is_the_same_load() {
    let files = Files::new(CONFIG, STEP);
    let plain = files.simulate(&["--capacity", "500"]);
    let compressed = File::create(files.0.path().join("load")).unwrap();
    let mut compressed = GzEncoder::new(compressed, Compression::default());
    compressed.write_all(STEP.as_bytes()).unwrap();
    compressed.finish().unwrap();
    let again = files.simulate(&["--capacity", "500"]);
    assert_eq!(succeeded(&plain), succeeded(&again));
    fs::write(files.0.path().join("load"), b"\x1f\x8bnot gzip").unwrap();
    let output = files.simulate(&["--capacity", "500"]);
    assert!(refused(&output, 2).starts_with("load: cannot read it: "));
}

#[test]
fn programs_get_every_change_with_its_reason() {
    let files = Files::new(CONFIG, STEP);
    // Half a core, so that 1 ms of CPU time are 500 requests per second.
    let output = files.simulate(&[
        "--service-time",
        "1ms",
        "--profile",
        "fast,configured",
        "--json",
    ]);
    let answer: Value = serde_json::from_str(succeeded(&output)).unwrap();
    assert_eq!(
        (&answer["group"], &answer["max"]),
        (&"todo".into(), &4.into())
    );
    let capacity = answer["replica"]["capacity"].as_f64().unwrap();
    assert!((capacity - 500.0).abs() < 1e-6, "{capacity}");
    let runs = answer["runs"].as_array().unwrap();
    let names: Vec<_> = runs
        .iter()
        .map(|run| run["profile"].as_str().unwrap())
        .collect();
    assert_eq!(names, ["fast", "configured"]);
    for run in runs {
        let change = &run["changes"][0];
        let numbers = (&change["second"], &change["from"], &change["to"]);
        assert_eq!(numbers, (&62.into(), &1.into(), &4.into()));
        let why = change["why"].as_str().unwrap();
        assert!(why.starts_with("target_tracking cpu 20: ceil("), "{why}");
    }
}

#[test]
fn an_error_in_the_files_is_reported() {
    let files = Files::new(CONFIG, "0,1\n1,x\n");
    files.refuses(
        &["--capacity", "500"],
        2,
        "load: line 2: expected two numbers",
    );
    files.refuses(&[], 2, "--capacity <REQUESTS>|--service-time <TIME>");
    files.refuses(&["--capacity", "0"], 2, "line 2");
    files.refuses(
        &["--capacity", "5", "--service-time", "1s"],
        2,
        "cannot be used with",
    );
    files.refuses(
        &["--capacity", "5", "--start", "2"],
        2,
        "write it like 20ms, 2s or 10m",
    );
    files.refuses(
        &["--capacity", "5", "--profile", "slow"],
        2,
        "aws_high_resolution",
    );
    files.refuses(
        &["--capacity", "5", "--group", "x"],
        2,
        "no group is named `x`",
    );
}

#[test]
fn an_error_in_the_settings_is_reported() {
    let files = Files::new(CONFIG, STEP);
    files.refuses(&["--capacity", "0"], 2, "--capacity must be above 0");
    files.refuses(
        &["--capacity", "5", "--replicas", "9"],
        2,
        "between min and max, 1 and 4",
    );
    files.refuses(
        &["--capacity", "5", "--svg", "no/such/x"],
        2,
        "cannot write no/such/x",
    );
    files.refuses(
        &["--capacity", "5", "--csv", "no/such/x"],
        2,
        "cannot write no/such/x",
    );
    let output = files.run(&[
        "simulate",
        "--config",
        "weir.toml",
        "none",
        "--capacity",
        "5",
    ]);
    assert!(refused(&output, 2).contains("cannot read none"));

    fs::write(
        files.0.path().join("weir.toml"),
        CONFIG.replace("max = 4", "max = 0"),
    )
    .unwrap();
    files.refuses(&["--capacity", "5"], 2, "weir.toml:");
    let fixed = CONFIG
        .split("[target_group.todo.autoscaling]")
        .next()
        .unwrap();
    fs::write(files.0.path().join("weir.toml"), fixed).unwrap();
    files.refuses(&["--capacity", "5"], 2, "no group has `autoscaling`");
}

#[test]
fn steps_are_not_simulated_for_kubernetes_and_memory_not_at_all() {
    let steps = CONFIG.split("target_tracking").next().unwrap().to_owned()
        + r#"
step_scaling = [
  { metric = "cpu", comparison = ">=", threshold = 70, steps = [{ lower = 0, by = 1 }] },
  { metric = "memory", comparison = "<=", threshold = 40, steps = [{ upper = 0, by = -1 }] },
]
"#;
    let files = Files::new(&steps, STEP);
    let output = files.simulate(&["--capacity", "500"]);
    let answer = succeeded(&output);
    for note in [
        "note: memory is not simulated: its policies have no data\n",
        "note: kubernetes has no target tracking to go by\n",
    ] {
        assert!(answer.contains(note), "{answer}");
    }
    assert!(!answer.contains("\nkubernetes "), "{answer}");
}

#[test]
fn a_record_is_drawn_with_the_load_of_its_time() {
    let record = "time,target_group,before,desired,running,warming,min,max,outcome,reason,formula,cpu\n\
        2026-11-22T11:40:00Z,todo,1,1,1,0,1,4,hold,in_range,,10\n\
        2026-11-22T11:40:01Z,todo,1,4,1,0,1,4,scale_out,,\"ceil(1, 2)\",65\n";
    // Seconds since 1970, as `date +%s` prints them.
    let files = Files::new(record, "1795347600,100\n1795347601,500\n");
    let output = files.run(&[
        "plot",
        "weir.toml",
        "run.svg",
        "--load",
        "load",
        "--target",
        "cpu=20",
    ]);
    assert_eq!(succeeded(&output), "");
    assert_eq!(text(&output.stderr), "wrote run.svg\n");
    let svg = files.read("run.svg");
    for part in [
        "Autoscaling of todo",
        "target 20",
        "requests per second",
        "desired",
    ] {
        assert!(svg.contains(part), "{part}");
    }
    let output = files.run(&["plot", "load", "run.svg"]);
    assert!(refused(&output, 2).starts_with("load: line 1: not a record"));
    let output = files.run(&["plot", "weir.toml", "run.svg", "--target", "cpu"]);
    assert!(refused(&output, 2).contains("write it like cpu=20"));
}
