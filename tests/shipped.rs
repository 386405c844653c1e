//! Files that ship can be used as they are, and document every key.

use std::fs;
use std::path::{Path, PathBuf};

use weir::config::{self, Problems};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Every `.toml` below a folder that is not cargo's.
fn configurations(dir: &Path, found: &mut Vec<PathBuf>) {
    let entries = fs::read_dir(dir).expect("a readable folder");
    for entry in entries {
        let path = entry.expect("a readable folder").path();
        let cargo = path.ends_with("Cargo.toml") || path.ends_with("target");
        if path.is_dir() && !cargo {
            configurations(&path, found);
        } else if path
            .extension()
            .is_some_and(|extension| extension == "toml")
            && !cargo
        {
            found.push(path);
        }
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
        let warnings: Problems = match config::parse(&name, &text, &|_| None) {
            Ok(parsed) => parsed.warnings,
            Err(problems) => problems,
        };
        assert!(warnings.is_empty(), "{warnings}");
    }
}

#[test]
fn the_full_file_documents_every_key() {
    let text = fs::read_to_string(root().join("config/full.toml")).expect("it ships");
    let keys = config::keys();
    assert!(keys.len() > 190, "found only {} keys", keys.len());
    let documented = |key: &str| {
        let last = key.rsplit('.').next().unwrap_or(key);
        // As a key, as a header, or as a commented-out alternative.
        let word = |c: char| c.is_ascii_alphanumeric() || c == '_';
        text.match_indices(last).any(|(at, _)| {
            let before = text[..at].chars().next_back();
            let after = text[at + last.len()..].trim_start_matches(' ');
            !before.is_some_and(word) && after.starts_with(['=', ']', '.'])
        })
    };
    let missing: Vec<_> = keys.iter().filter(|key| !documented(key)).collect();
    assert!(missing.is_empty(), "not in config/full.toml: {missing:#?}");
}

#[test]
fn the_defaults_that_the_full_file_shows_are_the_defaults() {
    use config::defaults;
    let text = fs::read_to_string(root().join("config/full.toml")).expect("it ships");
    let full = config::parse("full.toml", &text, &|_| None)
        .expect("it is fine")
        .config;
    assert_eq!(full.access_log, defaults::ACCESS_LOG);
    assert_eq!(full.shutdown, defaults::SHUTDOWN);
    assert_eq!(full.admin.expect("it is shown").bind, defaults::ADMIN_BIND);
    let listener = &full.listeners[0];
    assert_eq!(listener.max_connections, defaults::MAX_CONNECTIONS);
    assert_eq!(listener.forwarded.mode, defaults::FORWARDED_MODE);
    let client = config::ClientLimits {
        max_body: None,
        max_requests: None,
        ..listener.client
    };
    assert_eq!(client, defaults::CLIENT);
    let group = &full.target_groups[0];
    assert_eq!(group.fail_open, defaults::FAIL_OPEN);
    let upstream = config::Upstream {
        request_timeout: None,
        idle_timeout: None,
        ..group.upstream
    };
    assert_eq!(upstream, defaults::UPSTREAM);
    let retry = config::Retry {
        statuses: Vec::new(),
        ..group.retry.clone()
    };
    assert_eq!(retry, defaults::RETRY);
    assert_eq!(group.outlier, Some(defaults::OUTLIER));
    assert_eq!(
        group.overload.queue_timeout,
        defaults::OVERLOAD.queue_timeout
    );
    assert_eq!(group.deregistration_delay, defaults::DEREGISTRATION_DELAY);
    let sticky = group.sticky.as_ref().expect("it is shown");
    assert_eq!(sticky.cookie, defaults::STICKY_COOKIE);
    assert_eq!(sticky.duration, defaults::STICKY_DURATION);
    assert_eq!(sticky.when_full, defaults::STICKY_FULL);
    assert_eq!(sticky.when_draining, defaults::STICKY_DRAINING);
    let limit = listener.rate_limit.as_ref().expect("it is shown");
    assert_eq!(
        (&limit.key, limit.per),
        (&config::RateKey::ClientIp, defaults::RATE_LIMIT_PER)
    );
    let health = group.health.as_ref().expect("it is shown");
    assert_eq!(health.interval, defaults::HEALTH_INTERVAL);
    assert_eq!(health.timeout, defaults::HEALTH_TIMEOUT);
    assert_eq!(health.thresholds, defaults::HEALTH_THRESHOLDS);
}

#[test]
fn the_defaults_of_elasticity_that_the_full_file_shows_are_the_defaults() {
    use config::{Runner, Timing, defaults};
    let text = fs::read_to_string(root().join("config/full.toml")).expect("it ships");
    let full = config::parse("full.toml", &text, &|_| None)
        .expect("it is fine")
        .config;
    let group = &full.target_groups[1];
    let replicas = group.replicas.as_ref().expect("they are shown");
    let Runner::Process(process) = &replicas.runner else {
        panic!("{replicas:?}");
    };
    assert_eq!(process.stop_timeout, defaults::REPLICAS_STOP_TIMEOUT);
    let warm_up = replicas.warm_up.as_ref().expect("it is shown");
    assert_eq!(warm_up.count, defaults::WARM_UP_REQUESTS);
    assert_eq!(warm_up.timeout, defaults::WARM_UP_TIMEOUT);
    let scaling = group.autoscaling.as_ref().expect("it is shown");
    assert_eq!(scaling.profile, defaults::PROFILE);
    assert_eq!(scaling.timing, Timing::of(defaults::PROFILE));
    assert!(scaling.scale_in && scaling.target_tracking[0].scale_in);
    let step = &scaling.step_scaling[0];
    assert_eq!(step.period, scaling.timing.period);
    assert_eq!(step.periods, scaling.timing.out_periods);
    assert_eq!(step.cooldown, scaling.timing.out_cooldown);
    let config::Metric::Custom(custom) = &scaling.target_tracking[2].metric else {
        panic!("{scaling:?}");
    };
    assert_eq!(
        (custom.path.as_str(), custom.rate),
        (defaults::METRICS_PATH, false)
    );
    let predictive = scaling.predictive.as_ref().expect("it is shown");
    assert_eq!(
        (predictive.buffer, predictive.scale),
        (defaults::PREDICTIVE_BUFFER, false)
    );
    // Those of other runners stand in comments.
    let interval = config::display_duration(defaults::LIST_INTERVAL);
    let commented = [
        format!("host         = \"{}\"", defaults::DOCKER_HOST),
        format!("network      = \"{}\"", defaults::DOCKER_NETWORK),
        format!("cluster      = \"{}\"", defaults::ECS_CLUSTER),
        format!("interval     = \"{interval}\""),
        format!(
            "timeout      = \"{}\"",
            config::display_duration(defaults::LIST_TIMEOUT)
        ),
        format!(
            "{{ length = {}, timeout = \"{}\" }} by default",
            defaults::ZERO_QUEUE_LENGTH,
            config::display_duration(defaults::ZERO_QUEUE_TIMEOUT)
        ),
    ];
    for line in commented {
        assert!(text.contains(&line), "{line}");
    }
}

/// The textbook's: one more at 70 % of CPU, one less at 40 %.
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

/// The textbook's: up at 18:00 on Thursday, down at noon on Sunday.
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
    let actions = scaling.schedule.into_iter();
    let actions: Vec<_> = actions
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
