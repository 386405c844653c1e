//! The configuration files that ship can be used as they are.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use rcgen::{CertifiedKey, KeyPair};

use weir::config;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Collects every `.toml` below a folder, except those of cargo.
fn configurations(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).expect("a readable folder") {
        let path = entry.expect("a readable folder").path();
        if path.ends_with("Cargo.toml") || path.ends_with("target") {
            continue;
        }
        if path.is_dir() {
            configurations(&path, found);
        } else if path.extension().is_some_and(|name| name == "toml") {
            found.push(path);
        }
    }
}

/// Those that the head of `edge.toml` says how to make.
fn certificates(path: &Path) -> std::io::Result<Vec<u8>> {
    static PAIR: LazyLock<CertifiedKey<KeyPair>> = LazyLock::new(|| {
        let hosts = ["todo.localhost", "api.localhost"].map(str::to_owned);
        rcgen::generate_simple_self_signed(hosts).expect("names of hosts")
    });
    match path.extension().and_then(|kind| kind.to_str()) {
        Some("crt") => Ok(PAIR.cert.pem().into_bytes()),
        Some("key") => Ok(PAIR.signing_key.serialize_pem().into_bytes()),
        _ => Err(std::io::ErrorKind::NotFound.into()),
    }
}

#[test]
fn every_file_that_ships_has_no_problem_and_no_warning() {
    let mut files = Vec::new();
    configurations(&root().join("config"), &mut files);
    assert!(files.len() >= 3, "found only {files:?}");
    configurations(&root().join("examples"), &mut files);
    for path in files {
        let text = fs::read_to_string(&path).expect("a text file");
        let name = path.display().to_string();
        // Without any variable: a file that ships works, or has defaults.
        let warnings = match config::parse_with_files(&name, &text, &|_| None, &certificates) {
            Ok(parsed) => parsed.warnings,
            Err(problems) => problems,
        };
        assert!(warnings.is_empty(), "{warnings}");
    }
}

/// One replica more at 70 % of CPU, one less at 40 %.
#[test]
fn the_step_file_has_the_thresholds_of_the_textbook() {
    use config::{Comparison, Metric, Step};
    let scaling = scaling_of("config/step_scaling.toml");
    assert_eq!((scaling.min, scaling.max), (1, 4));
    let policies: Vec<_> = scaling
        .step_scaling
        .iter()
        .map(|policy| {
            (
                &policy.metric,
                policy.comparison,
                policy.threshold,
                policy.steps.as_slice(),
            )
        })
        .collect();
    let step = |lower, upper, by| [Step { lower, upper, by }];
    let (up, down) = (step(Some(0.0), None, 1), step(None, Some(0.0), -1));
    let expected = [
        (
            &Metric::Cpu,
            Comparison::GreaterOrEqual,
            70.0,
            up.as_slice(),
        ),
        (&Metric::Cpu, Comparison::LessOrEqual, 40.0, down.as_slice()),
    ];
    assert_eq!(policies, expected);
}

/// Up at 18:00 on Thursday, down at noon on Sunday.
#[test]
fn the_schedule_file_is_the_entertainment_guide_of_the_textbook() {
    use config::When;
    let scaling = scaling_of("config/schedule.toml");
    let cron = |expression: &str| When::Cron {
        expression: expression.to_owned(),
        timezone: "Europe/Berlin".to_owned(),
    };
    let up = (cron("0 18 * * THU"), Some(4), Some(8));
    let down = (cron("0 12 * * SUN"), Some(1), Some(2));
    let actions: Vec<_> = scaling
        .schedule
        .into_iter()
        .map(|action| (action.when, action.min, action.max))
        .collect();
    assert_eq!(actions, [up, down]);
}

/// The `autoscaling` of a file with one group.
fn scaling_of(file: &str) -> config::Autoscaling {
    let text = fs::read_to_string(root().join(file)).expect("it ships");
    let parsed = config::parse(file, &text, &|_| None).expect("it is fine");
    let mut groups = parsed.config.target_groups;
    groups.remove(0).autoscaling.expect("it is there")
}
